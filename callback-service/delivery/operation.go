package delivery

import (
	"bytes"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// operation makes the message of an operational event: a structured CloudEvent, with the resource and the type as its key.
func (e *Engine) operation(kind, occasion string, o contract.Operation) rabbit.Message {
	operation := contract.NewOperation(kind, occasion, e.Now(), o)
	var body bytes.Buffer
	_ = event.WriteJson(operation, &body) // of our own making: never fails
	return e.names.ToOperations(o.Resource+"."+kind, rabbit.Message{
		ID: operation.ID(), ContentType: event.ApplicationCloudEventsJSON, Timestamp: operation.Time(), Body: body.Bytes(),
	})
}

// exhausted tells that a delivery was given up.
func (e *Engine) exhausted(t *task, d contract.Delivery) rabbit.Message {
	return e.operation(contract.OperationExhausted, fmt.Sprint(d.AttemptCount), contract.Operation{
		Subscription: d.Subscription, Resource: t.cmd.Resource, Delivery: d.ID,
		EventID: d.EventID, EventSource: d.EventSource, EventType: d.EventType, Attempts: d.AttemptCount, Reason: d.Reason,
	})
}
