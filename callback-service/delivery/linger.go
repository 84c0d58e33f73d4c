package delivery

import "time"

const (
	// pace is how far batches lie apart at least: what comes one by one at a moderate rate would otherwise cost a round trip
	// each. Who comes later than that after the last batch does not wait.
	pace = 4 * time.Millisecond
	// muchToDo is how many attempts are under way when batches are worth waiting for: then a round trip serves tens of
	// deliveries, and with so many under way none of them ends sooner without.
	muchToDo = 64
	// worthwhile is how large a batch is that is not waited for any longer, and longestLinger for how long at most.
	worthwhile    = 32
	longestLinger = 20 * time.Millisecond
)

// busy reports whether batches are worth waiting for.
func (e *Engine) busy() bool { return e.underWay.Load() >= muchToDo }

// pacer keeps batches apart.
type pacer struct{ last time.Time }

func (p *pacer) wait(stop <-chan struct{}) {
	if rest := pace - time.Since(p.last); rest > 0 {
		timer := time.NewTimer(rest)
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
		}
	}
	p.last = time.Now()
}

// linger waits until the inbox holds a worthwhile batch, if there is much to do.
func (e *Engine) linger(stop <-chan struct{}) {
	if e.inbox.size() == 0 {
		return
	}
	e.starting.wait(stop)
	if !e.busy() {
		return
	}
	timer := time.NewTimer(longestLinger)
	defer timer.Stop()
	for e.inbox.size() < worthwhile {
		select {
		case <-e.inbox.more:
		case <-timer.C:
			return
		case <-stop:
			return
		}
	}
}

// gather takes settlements that are ready and, if there is much to do, waits a little for a worthwhile batch. One gathers at
// a time.
func (e *Engine) gather(stop <-chan struct{}) []settlement {
	e.gathering.Lock()
	defer e.gathering.Unlock()
	first, open := <-e.settled
	if !open {
		return nil
	}
	e.settling.wait(stop)
	batch := ready(e.settled, []settlement{first})
	if len(batch) >= worthwhile || !e.busy() {
		return batch
	}
	timer := time.NewTimer(longestLinger)
	defer timer.Stop()
	for len(batch) < worthwhile {
		select {
		case s, open := <-e.settled:
			if !open {
				return batch
			}
			batch = append(batch, s)
		case <-timer.C:
			return batch
		case <-stop:
			return batch
		}
	}
	return ready(e.settled, batch)
}

// ready adds what can be had without waiting.
func ready(from <-chan settlement, batch []settlement) []settlement {
	for len(batch) < mostSettled {
		select {
		case s, open := <-from:
			if !open {
				return batch
			}
			batch = append(batch, s)
		default:
			return batch
		}
	}
	return batch
}
