package delivery

import (
	"context"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// deadLetter is a delivery that was given up, for the list of dead letters.
func deadLetter(t *task, d contract.Delivery) *contract.DeadLetter {
	return &contract.DeadLetter{
		ID: d.ID, Kind: contract.DeadDelivery, Resource: t.cmd.Resource, Reason: d.Reason, At: d.UpdatedAt, Created: d.CreatedAt,
		Subscription: d.Subscription, EventID: d.EventID, EventSource: d.EventSource, EventType: d.EventType, Attempts: d.AttemptCount,
	}
}

// bury lists what was given up, once its record says so: the list leaves out what is not failed.
func (e *Engine) bury(stop context.Context, batch []settlement) {
	var letters []contract.DeadLetter
	for _, s := range batch {
		if s.letter != nil {
			letters = append(letters, *s.letter)
		}
	}
	if len(letters) == 0 {
		return
	}
	if err := e.insist(stop, "listing dead letters", func() error { return e.Store.Bury(noContext, letters) }); err != nil {
		e.Log.Error("dead letters were not listed; the broker's queue has them", zap.Int("count", len(letters)), zap.Error(err))
	}
}
