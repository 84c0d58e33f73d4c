package contract

import (
	"encoding/json"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Types of operational events, on the exchange webhook.operations.
const (
	// OperationDisabled: the service itself ended a subscription's deliveries.
	OperationDisabled = "subscription.disabled"
	// OperationRecovered: an endpoint whose circuit breaker was open answers again.
	OperationRecovered = "subscription.recovered"
	// OperationVerified: a callback URL consented, and its subscription is active.
	OperationVerified = "subscription.verified"
	// OperationUnverified: a callback URL is asked for its consent no more, and its subscription stays pending.
	OperationUnverified = "subscription.unverified"
	// OperationExhausted: a delivery was given up.
	OperationExhausted = "delivery.exhausted"
)

// Operation is what an operational event says. It never holds a secret, the callback's address or the event's data.
type Operation struct {
	Subscription string `json:"subscription_id"`
	Resource     string `json:"resource"`
	Consumer     string `json:"consumer,omitempty"`
	Delivery     string `json:"delivery_id,omitempty"`
	EventID      string `json:"event_id,omitempty"`
	EventSource  string `json:"event_source,omitempty"`
	EventType    string `json:"event_type,omitempty"`
	Attempts     int    `json:"attempts,omitempty"`
	Reason       string `json:"reason"`
}

// NewOperation makes the CloudEvent of an operation. The same occasion has the same id, so that a repeated one can be told.
func NewOperation(kind, occasion string, at time.Time, o Operation) *event.Event {
	e := event.New()
	e.SetID("op_" + digest(kind, o.Subscription, o.Delivery, occasion))
	e.SetSource("/apisix-webhooks/callback-service")
	e.SetType(kind)
	e.SetSubject(o.Subscription)
	e.SetTime(at.UTC())
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded, _ = json.Marshal(o) // strings and a number: never fails
	return &e
}
