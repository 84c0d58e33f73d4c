package delivery

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// gateThreshold failures of the gateway in a row close the gate: one bad request does not.
	gateThreshold = 3
	// gateLeast and gateMost bound how long the gate stays closed before the next try.
	gateLeast, gateMost = 250 * time.Millisecond, 2 * time.Second
)

var errGateway = errors.New("the gateway makes no calls")

// gate holds everything back while the gateway itself fails, so that nothing circulates meanwhile: the broker keeps what is
// not taken.
type gate struct {
	now func() time.Time

	mu       sync.Mutex
	failures int
	until    time.Time
}

func (g *gate) works() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures, g.until = 0, time.Time{}
}

func (g *gate) fails() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures++; g.failures >= gateThreshold {
		wait := min(gateMost, gateLeast<<min(g.failures-gateThreshold, 8))
		if until := g.now().Add(wait); until.After(g.until) {
			g.until = until
		}
	}
}

func (g *gate) closedFor() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until.Sub(g.now())
}

// wait blocks while the gate is closed, or until stop.
func (g *gate) wait(stop <-chan struct{}) {
	for d := g.closedFor(); d > 0; d = g.closedFor() {
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return
		}
	}
}

// Ready is nil unless the gateway failed lately, several times in a row.
func (g *gate) Ready(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures >= gateThreshold {
		return errGateway
	}
	return nil
}
