package delivery

import (
	"fmt"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// operation makes the message of an operational event.
func (e *Engine) operation(kind, occasion string, o contract.Operation) rabbit.Message {
	return e.names.ToOperators(o.Resource, contract.NewOperation(kind, occasion, e.Now(), o))
}

// exhausted tells that a delivery was given up.
func (e *Engine) exhausted(t *task, d contract.Delivery) rabbit.Message {
	return e.operation(contract.OperationExhausted, fmt.Sprint(d.AttemptCount), contract.Operation{
		Subscription: d.Subscription, Resource: t.cmd.Resource, Delivery: d.ID,
		EventID: d.EventID, EventSource: d.EventSource, EventType: d.EventType, Attempts: d.AttemptCount, Reason: d.Reason,
	})
}
