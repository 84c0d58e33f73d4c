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

// Replay asks for deliveries of one subscription again: of events that were taken from Since until Until.
type Replay struct {
	ID           string `json:"id"`
	Subscription string `json:"subscription_id"`
	Resource     string `json:"resource"`
	// Since and Until bound when the listener took an event, which is when its deliveries came to be.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Status asks only for deliveries in that state; empty: for every event that the subscription wants.
	Status DeliveryStatus `json:"status,omitempty"`
	// Delivery asks for this one only.
	Delivery string      `json:"delivery_id,omitempty"`
	State    ReplayState `json:"state"`
	Reason   string      `json:"reason,omitempty"`
	// Scanned counts the archive's events that were looked at, Sent the deliveries that were asked for again.
	Scanned int64 `json:"scanned"`
	Sent    int64 `json:"sent"`
	// Reached is when the last event that was looked at was taken: how far between Since and Until the replay is.
	Reached   time.Time `json:"reached_at,omitzero"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// Next is where in the archive to go on, as Position has it; zero: from Since.
	Next int64 `json:"next,omitempty"`
}

// replayStep is how far two packs of the archive lie apart in Replay.Next; a pack has fewer events.
const replayStep = 1024

// Position is an event's place in the archive as one number: its pack's offset * 1024 + its index in the pack.
func Position(offset int64, index int) int64 { return offset*replayStep + int64(index) }

// Place is where Next lies: a pack's offset and an event's index in it.
func (r Replay) Place() (offset int64, index int) {
	return r.Next / replayStep, int(r.Next % replayStep)
}
