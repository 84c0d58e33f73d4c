// Package batch decides when a batch is worth taking.
package batch

import "time"

const (
	// least is how far batches lie apart at least: what comes one by one at a moderate rate would otherwise cost a round trip
	// each.
	least = 4 * time.Millisecond
	// each member of a batch lets the next one wait that much longer: the more comes, the more is worth gathering, while at a
	// low rate nobody waits.
	each = 2 * time.Millisecond
)

// Pacer keeps batches apart, the further the larger they are. What comes later than that after the last batch does not wait.
// It is for one goroutine at a time.
type Pacer struct {
	// Most is how far apart batches are kept at most.
	Most time.Duration

	last time.Time
	size int
}

// Wait returns when the next batch may be taken, or stop is closed.
func (p *Pacer) Wait(stop <-chan struct{}) {
	apart := min(max(least, time.Duration(p.size)*each), p.Most)
	if rest := apart - time.Since(p.last); rest > 0 {
		timer := time.NewTimer(rest)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-stop:
		}
	}
}

// Taken notes a batch's size.
func (p *Pacer) Taken(size int) { p.last, p.size = time.Now(), size }
