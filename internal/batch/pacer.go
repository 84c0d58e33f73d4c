// Package batch decides when a batch is worth taking.
package batch

import "time"

// worthwhile is how many members a batch should have to be waited for.
const worthwhile = 3

// memory is over how many waits the rate is averaged.
const memory = 5

// Pacer keeps batches apart as soon as so much comes that it pays: at a low rate nobody waits, and above it a round trip serves
// several. It is for one goroutine at a time.
type Pacer struct {
	// Most is how far apart batches are kept.
	Most time.Duration

	last time.Time
	rate float64 // per second, smoothed
}

// Wait returns when the next batch may be taken, or at once when stop or urgent, either of which may be nil, can be read from.
func (p *Pacer) Wait(stop, urgent <-chan struct{}) {
	if p.rate*p.Most.Seconds() < worthwhile {
		return
	}
	if rest := p.Most - time.Since(p.last); rest > 0 {
		timer := time.NewTimer(rest)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-stop:
		case <-urgent:
		}
	}
}

// Taken notes a batch's size.
func (p *Pacer) Taken(size int) {
	now := time.Now()
	if !p.last.IsZero() && p.Most > 0 {
		apart := max(now.Sub(p.last), time.Millisecond).Seconds()
		p.rate += min(1, apart/p.Most.Seconds()/memory) * (float64(size)/apart - p.rate)
	}
	p.last = now
}
