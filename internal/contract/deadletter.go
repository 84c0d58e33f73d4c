package contract

import (
	"fmt"
	"strings"
	"time"
)

// DeadKind is what a dead letter was to be.
type DeadKind string

// The kinds of dead letters.
const (
	DeadEvent    DeadKind = "event"    // an event that could not be processed
	DeadDelivery DeadKind = "delivery" // a delivery that was given up
)

// DeadLetter is what waits in the queue of dead letters for somebody to look, without its data.
type DeadLetter struct {
	ID       string    `json:"id" doc:"the delivery's id, or the event's as a dead letter"`
	Kind     DeadKind  `json:"kind" enum:"event,delivery"`
	Resource string    `json:"resource,omitempty" doc:"left out where the routing key names none"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at" doc:"when it was given up"`
	// Created is when the delivery came to be; zero for an event.
	Created      time.Time `json:"created_at,omitzero" doc:"when the delivery came to be"`
	Subscription string    `json:"subscription_id,omitempty"`
	EventID      string    `json:"event_id,omitempty"`
	EventSource  string    `json:"event_source,omitempty"`
	EventType    string    `json:"event_type,omitempty"`
	RoutingKey   string    `json:"routing_key,omitempty" doc:"of the event, as it was published"`
	Attempts     int       `json:"attempts,omitempty"`
}

// DeadEventID names a dead event by what it is, so that one that is given up twice is one: what comes back from the broker has the
// same routing key, content type and body, and the same event's attributes among its headers.
func DeadEventID(routingKey, contentType string, headers map[string]any, body []byte) string {
	parts := []string{routingKey, contentType, string(body)}
	for _, name := range []string{"id", "source", "type", "subject"} {
		for _, prefix := range []string{"cloudEvents_", "cloudEvents:"} {
			if value, ok := headers[prefix+name]; ok {
				parts = append(parts, fmt.Sprint(name, value))
			}
		}
	}
	return "dev_" + digest(parts...)
}

// ResourceOf is the resource that a routing key names; "" if it names none.
func ResourceOf(routingKey string) string {
	resource, _, _ := strings.Cut(routingKey, ".")
	if ValidateResource(resource) != nil {
		return ""
	}
	return resource
}
