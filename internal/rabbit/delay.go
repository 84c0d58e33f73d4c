package rabbit

import "time"

// delaySteps is the ladder of delay queues. A factor of four keeps the queues few and needs at most
// three hops a rung: any delay up to the top rung is met in about 25 hops, and one of days in a few more.
var delaySteps = [...]time.Duration{
	250 * time.Millisecond,
	1 * time.Second,
	4 * time.Second,
	16 * time.Second,
	64 * time.Second,
	256 * time.Second,
	1024 * time.Second,
	4096 * time.Second,
	16384 * time.Second,
	65536 * time.Second,
}

// DelaySteps returns the ladder, shortest first.
func DelaySteps() []time.Duration { return append([]time.Duration(nil), delaySteps[:]...) }

// DelayStep is the longest step that doesn't overshoot d; the shortest where every one does.
func DelayStep(d time.Duration) time.Duration {
	step := delaySteps[0]
	for _, s := range delaySteps[1:] {
		if s > d {
			break
		}
		step = s
	}
	return step
}
