package contract

import "time"

// ReplayState of a replay.
type ReplayState string

// The states of a replay.
const (
	ReplayRunning  ReplayState = "running"
	ReplayDone     ReplayState = "done"
	ReplayCanceled ReplayState = "canceled" // the subscription ended or is not active any more
)

// Replay asks for deliveries of one subscription again: of events that were published from Since until Until.
type Replay struct {
	ID           string `json:"id"`
	Subscription string `json:"subscription_id"`
	Resource     string `json:"resource"`
	// Since and Until bound when an event was published; the archive knows it to within a second or so.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Status asks only for deliveries in that state; empty: for every event that the subscription wants.
	Status DeliveryStatus `json:"status,omitempty"`
	// Delivery asks for this one only.
	Delivery string      `json:"delivery_id,omitempty"`
	State    ReplayState `json:"state"`
	Reason   string      `json:"reason,omitempty"`
	// Scanned counts the archive's events that were looked at, Sent the deliveries that were asked for again.
	Scanned   int64     `json:"scanned"`
	Sent      int64     `json:"sent"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// Next is the archive's offset to go on from; zero: from Since.
	Next int64 `json:"next,omitempty"`
	// Widened counts how often the search for Delivery has begun further back.
	Widened int `json:"widened,omitempty"`
}
