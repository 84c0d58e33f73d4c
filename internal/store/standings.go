package store

import "github.com/apisix-webhooks/apisix-webhooks/internal/contract"

// Pending names a delivery that is about to be attempted.
type Pending struct {
	Delivery, Subscription, Resource string
	// Line is where the delivery stands; empty unless it is ordered.
	Line string
}

// Standing is what is known of a pending delivery now.
type Standing struct {
	// Subscription is nil if it is gone. It is shared between calls and goroutines: never change it.
	Subscription *contract.Subscription
	// Policy is the resource's; zero if it has none or one that can't be read.
	Policy contract.DeliveryPolicy
	// Recorded is the delivery as of its last record, without attempts; nil before the first.
	Recorded *contract.Delivery
	// Ahead is the delivery that is first in the line, or just its ID if it has no record yet; nil: it is this one's turn.
	Ahead *contract.Delivery
	// Err is ErrDamaged if the subscription or the delivery can't be read.
	Err error
}
