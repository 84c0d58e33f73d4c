package replay

import (
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// again decides whether a delivery is asked for again, and as which attempt. record is nil where there is none; taken is
// when the listener took the event.
//
// A record that was written since the replay was asked for says that the delivery was attempted since, by the replay itself
// as a rule: so a replay that goes over the same events twice, as after a crash, sends nothing twice.
func again(r contract.Replay, record *contract.Delivery, taken time.Time) (attempt int, ok bool) {
	switch {
	case record == nil && (r.Delivery != "" || r.Status == "" && within(r, taken)):
		return 1, true
	case record == nil:
	case record.Status == contract.DeliveryPending: // it is on its way
	case record.UpdatedAt.After(r.CreatedAt):
	case r.Status != "" && r.Status != record.Status:
	case r.Delivery == "" && !within(r, record.CreatedAt):
	default:
		return record.AttemptCount + 1, true
	}
	return 0, false
}

// within: no replay goes beyond its own beginning.
func within(r contract.Replay, at time.Time) bool {
	return !at.Before(r.Since) && !at.After(r.Until) && !at.After(r.CreatedAt)
}
