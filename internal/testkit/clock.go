package testkit

import (
	"sync/atomic"
	"time"
)

// Clock is a clock that only the test moves. Its zero value stands at the beginning of Unix time.
type Clock struct{ ns atomic.Int64 }

// NewClock makes a clock that stands at a time.
func NewClock(at time.Time) *Clock {
	c := &Clock{}
	c.ns.Store(at.UnixNano())
	return c
}

// Now is what the code under test takes for time.Now.
func (c *Clock) Now() time.Time { return time.Unix(0, c.ns.Load()) }

// Advance moves the clock.
func (c *Clock) Advance(by time.Duration) { c.ns.Add(int64(by)) }
