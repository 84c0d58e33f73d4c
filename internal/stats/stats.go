// Package stats counts what happens, in memory, and adds it to the statistics in Redis from time to time. It is beside what it
// counts and never in its way: what can't be added is kept for the next time, within bounds, and lost with the process.
package stats

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// every is how often what was counted is added.
	every = 5 * time.Second
	// mostCounted bounds the subscriptions that are counted at a time, each by itself; resources are bounded by their admins.
	mostCounted = 50_000
	// lastWords bounds what is added at the end.
	lastWords = time.Second
)

// Store keeps the statistics.
type Store interface {
	AddStats(ctx context.Context, stats []store.Stat) error
}

// Counter counts. It is safe for concurrent use; a nil one counts nothing.
type Counter struct {
	store Store
	log   *zap.Logger
	now   func() time.Time

	mu     sync.Mutex
	counts map[series]*contract.Counts
}

// series is what is counted by itself, in one step of time.
type series struct {
	resource, subscription string
	at                     int64
}

// New makes a counter; Run adds what it counts. now is the clock, time.Now in production.
func New(s Store, log *zap.Logger, now func() time.Time) *Counter {
	return &Counter{store: s, log: log, now: now, counts: map[series]*contract.Counts{}}
}

// Attempt counts an attempt to call a subscription's endpoint, and how long it took.
func (c *Counter) Attempt(resource, subscription string, succeeded bool, took time.Duration) {
	if c == nil {
		return
	}
	c.count(func(n *contract.Counts) { n.Attempt(succeeded, took) }, series{resource: resource, subscription: subscription}, series{resource: resource}, series{})
}

// Events counts events of a resource that were taken in.
func (c *Counter) Events(resource string, n int) {
	if c == nil || n == 0 {
		return
	}
	c.count(func(counts *contract.Counts) { counts.Events += int64(n) }, series{resource: resource}, series{})
}

func (c *Counter) count(add func(*contract.Counts), all ...series) {
	at := c.now().Truncate(contract.StatsFine).Unix()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range all {
		s.at = at
		counts := c.counts[s]
		if counts == nil {
			if s.subscription != "" && len(c.counts) >= mostCounted {
				continue
			}
			counts = &contract.Counts{}
			c.counts[s] = counts
		}
		add(counts)
	}
}

// Run adds what is counted until ctx ends, and then what is left.
func (c *Counter) Run(ctx context.Context) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			c.flush(last)
			return nil
		case <-ticker.C:
			c.flush(ctx)
		}
	}
}

// flush adds what was counted. What was added and not confirmed is added again: better a little too much than a gap.
func (c *Counter) flush(ctx context.Context) {
	c.mu.Lock()
	counted := c.counts
	c.counts = make(map[series]*contract.Counts, len(counted))
	c.mu.Unlock()
	if len(counted) == 0 {
		return
	}
	stats := make([]store.Stat, 0, len(counted))
	for s, n := range counted {
		stats = append(stats, store.Stat{Resource: s.resource, Subscription: s.subscription, At: time.Unix(s.at, 0), Counts: *n})
	}
	if err := c.store.AddStats(ctx, stats); err != nil {
		c.log.Warn("the statistics wait", zap.Error(err))
		c.takeBack(counted)
	}
}

func (c *Counter) takeBack(counted map[series]*contract.Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s, n := range counted {
		if since := c.counts[s]; since != nil {
			n.Add(*since)
		} else if s.subscription != "" && len(c.counts) >= mostCounted {
			continue
		}
		c.counts[s] = n
	}
}
