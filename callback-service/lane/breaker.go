package lane

import "time"

// breaker keeps deliveries from an endpoint that fails. Closed, it lets everything through; after a number of failures in a
// row it opens for a time; then a single attempt probes, and closes it or opens it for twice as long.
type breaker struct {
	failures int
	openFor  time.Duration // zero: closed
	since    time.Time
	until    time.Time
	probing  bool
}

func (b *breaker) closed() bool { return b.openFor == 0 }

// ripe reports whether it is time for a probe.
func (b *breaker) ripe(now time.Time) bool {
	return b.openFor > 0 && !b.probing && !now.Before(b.until)
}

// begin notes that an attempt starts: with an open breaker it is the probe.
func (b *breaker) begin() { b.probing = b.openFor > 0 }

// learn takes an attempt's result.
func (b *breaker) learn(result Result, now time.Time, o Options) (opened, recovered bool) {
	probed := b.probing
	b.probing = false
	switch result {
	case Unknown:
		return false, false
	case Alive:
		recovered = b.openFor > 0
		*b = breaker{}
		return false, recovered
	case Dead: // see below
	}
	b.failures++
	switch {
	case b.openFor == 0 && b.failures >= o.Threshold:
		b.openFor, b.since, opened = o.OpenFor, now, true
	case probed:
		b.openFor = min(2*b.openFor, o.OpenMost)
	default:
		return false, false // one that was under way when the breaker opened, or not enough yet
	}
	b.until = now.Add(b.openFor)
	return opened, false
}
