package delivery

import (
	"sync"
	"time"
)

const (
	// busy is how many attempts are under way when batches are worth waiting for.
	busy = 64
	// lingerStart and lingerSettle are how far batches then lie apart at least. What waits longer is gathered meanwhile, so that
	// a round trip serves tens of deliveries; with so many attempts under way none of them ends sooner without.
	lingerStart, lingerSettle = 5 * time.Millisecond, 10 * time.Millisecond
)

// linger spaces batches out while there is much to do.
type linger struct {
	apart time.Duration
	busy  func() bool

	mu   sync.Mutex
	last time.Time
}

// wait returns when the next batch may be gathered: at once, unless the last one was just now and there is much to do.
func (l *linger) wait(stop <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rest := l.apart - time.Since(l.last); rest > 0 && l.busy() {
		timer := time.NewTimer(rest)
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
		}
	}
	l.last = time.Now()
}
