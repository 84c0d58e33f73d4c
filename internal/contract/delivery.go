package contract

import "time"

// DeliveryStatus of a delivery.
type DeliveryStatus string

// The states of a delivery.
const (
	DeliveryPending   DeliveryStatus = "pending"   // an attempt is due now or later
	DeliverySucceeded DeliveryStatus = "succeeded" // the endpoint answered 2xx
	DeliveryFailed    DeliveryStatus = "failed"    // given up; see Reason
	DeliveryCanceled  DeliveryStatus = "canceled"  // the subscription was paused or ended before an attempt
)

// Delivery is one event on its way to one subscription, as the deliveries calls show it.
type Delivery struct {
	ID           string         `json:"id"`
	Subscription string         `json:"subscription_id"`
	EventID      string         `json:"event_id"`
	EventSource  string         `json:"event_source"`
	EventType    string         `json:"event_type"`
	Status       DeliveryStatus `json:"status"`
	Reason       string         `json:"reason,omitempty"`
	CreatedAt    time.Time      `json:"created_at"`
	UpdatedAt    time.Time      `json:"updated_at"`
	NextAttempt  time.Time      `json:"next_attempt_at,omitzero"`
	// AttemptCount is the number of the last attempt that was made.
	AttemptCount int       `json:"attempt_count"`
	Attempts     []Attempt `json:"attempts,omitempty"`
}
