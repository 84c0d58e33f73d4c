package delivery

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// reportEvery is how often Redis is told of open breakers at most, where there is something new; heartbeat is how often it is
	// told again where nothing is.
	reportEvery = time.Second
	heartbeat   = store.BreakersLife / 3
	// mostReported bounds one report.
	mostReported = 1000
)

// breakers knows of the open ones what their lanes do not.
type breakers struct {
	mu    sync.Mutex
	about map[string]contract.Breaker
}

func newBreakers() *breakers { return &breakers{about: map[string]contract.Breaker{}} }

// learn keeps why a breaker opened, or stays open.
func (b *breakers) learn(sub *contract.Subscription, v Verdict, opened bool) {
	if v.Health != lane.Dead {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.about[sub.ID]; known || opened {
		b.about[sub.ID] = contract.Breaker{Subscription: sub.ID, Resource: sub.Resource, Consumer: sub.Consumer, Reason: v.Reason}
	}
}

// describe adds what is known to what is open, the oldest first, and forgets the rest.
func (b *breakers) describe(lanes func() []lane.Open) []contract.Breaker {
	b.mu.Lock()
	defer b.mu.Unlock() // what opens from here on is learned after it
	open := lanes()
	slices.SortFunc(open, func(x, y lane.Open) int { return x.Since.Compare(y.Since) })
	about := make(map[string]contract.Breaker, len(open))
	all := make([]contract.Breaker, 0, min(len(open), mostReported))
	for _, o := range open {
		one := b.about[o.ID]
		about[o.ID] = one
		if one.Subscription != "" && len(all) < mostReported {
			one.Since, one.ProbeAt, one.Failures, one.Parked = o.Since.UTC(), o.Until.UTC(), o.Failures, o.Parked
			all = append(all, one)
		}
	}
	b.about = about
	return all
}

// report tells Redis which breakers are open until background ends, and then that none is. It is no delivery's business:
// what fails is tried again with the next one.
func (e *Engine) report(background context.Context) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	var told []contract.Breaker
	var at time.Time
	for {
		select {
		case <-background.Done():
			if len(told) > 0 {
				e.reportThat(nil)
			}
			return
		case <-ticker.C:
		}
		open := e.breakers.describe(e.lanes.Open)
		if sameBreakers(told, open) && (len(open) == 0 || time.Since(at) < heartbeat) {
			continue
		}
		if e.reportThat(open) {
			told, at = open, time.Now()
		}
	}
}

func (e *Engine) reportThat(open []contract.Breaker) bool {
	err := e.Store.ReportBreakers(noContext, e.Replica, open)
	if err != nil {
		e.Log.Warn("telling which circuit breakers are open", zap.Error(err))
	}
	return err == nil
}

// sameBreakers leaves out what changes all the time: how many deliveries are parked waits for the heartbeat.
func sameBreakers(a, b []contract.Breaker) bool {
	return slices.EqualFunc(a, b, func(x, y contract.Breaker) bool {
		return x.Subscription == y.Subscription && x.Since.Equal(y.Since) && x.ProbeAt.Equal(y.ProbeAt)
	})
}
