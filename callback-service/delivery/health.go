package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// tellEvery is how often Redis is told that a subscription works: other processes may have seen failures only.
	tellEvery = time.Minute
	// mostTold bounds the memory of that.
	mostTold = 100000
)

// health knows since when which subscription works, as far as Redis was told.
type health struct {
	now func() time.Time

	mu   sync.Mutex
	told map[string]time.Time
}

func newHealth(now func() time.Time) *health { return &health{now: now, told: map[string]time.Time{}} }

// sort returns the subscriptions of a batch that Redis must hear of. One success outweighs all failures.
func (h *health) sort(batch []settlement) (working, failing []string) {
	succeeded := map[string]bool{}
	for _, s := range batch {
		if s.result == resultAttempt {
			succeeded[s.sub.ID] = succeeded[s.sub.ID] || s.succeeded
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.told) > mostTold {
		clear(h.told)
	}
	now := h.now()
	for id, ok := range succeeded {
		switch {
		case !ok:
			delete(h.told, id)
			failing = append(failing, id)
		case now.Sub(h.told[id]) >= tellEvery:
			h.told[id] = now
			working = append(working, id)
		}
	}
	return working, failing
}

// watch keeps since when subscriptions fail, and disables those that did nothing else for too long. It returns what to
// publish of it. It is not worth holding deliveries up: without Redis it is left to the next batch.
func (e *Engine) watch(stop context.Context, batch []settlement) []rabbit.Message {
	working, failing := e.health.sort(batch)
	if len(working) > 0 {
		if err := e.Store.Healthy(noContext, working); err != nil {
			e.Log.Warn("noting that subscriptions work", zap.Error(err))
		}
	}
	if len(failing) == 0 {
		return nil
	}
	since, err := e.Store.FailingSince(noContext, failing, e.Now())
	if err != nil {
		e.Log.Warn("noting that subscriptions fail", zap.Error(err))
		return nil
	}
	var messages []rabbit.Message
	for id, at := range since {
		if e.Now().Sub(at) >= e.DisableAfter {
			messages = append(messages, e.disable(stop, id, fmt.Sprintf("nothing but failures since %s", at.UTC().Format(time.RFC3339)))...)
		}
	}
	return messages
}

// disable ends a subscription's deliveries and returns the operational event, unless it is so already.
func (e *Engine) disable(stop context.Context, id, reason string) []rabbit.Message {
	changed := false
	var sub contract.Subscription
	err := e.insist(stop, "disabling a subscription", func() (err error) {
		sub, err = e.Store.ChangeSubscription(noContext, id, func(sub *contract.Subscription) error {
			changed = sub.Status != contract.StatusDisabled
			if changed {
				sub.Status, sub.StatusReason, sub.UpdatedAt = contract.StatusDisabled, reason, e.Now().UTC()
			}
			return nil
		})
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && !changed {
		return nil
	}
	if err != nil {
		e.Log.Error("a subscription was not disabled", zap.String("subscription", id), zap.Error(err))
		return nil
	}
	e.Metrics.disabled.Inc()
	return []rabbit.Message{e.operation(contract.OperationDisabled, fmt.Sprint(sub.Revision), contract.Operation{
		Subscription: id, Resource: sub.Resource, Consumer: sub.Consumer, Reason: reason,
	})}
}
