package store

import (
	"context"
	"errors"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

var errSoon = errors.New("not written yet")

// Record is the state of a delivery that is to be kept, with the attempts that are new.
type Record struct {
	contract.Delivery

	// Line is where the delivery stands; it leaves it unless its status is pending. Empty unless it is ordered.
	Line string
}

// Record keeps the state of deliveries.
func (s *Store) Record(ctx context.Context, records []Record) error {
	deliveries := make([]contract.Delivery, len(records))
	for i, r := range records {
		deliveries[i] = r.Delivery
	}
	return s.RecordDeliveries(ctx, deliveries)
}

// Statuses returns the records of deliveries, without attempts; nil where there is none.
func (s *Store) Statuses(context.Context, []string) ([]*contract.Delivery, error) {
	return nil, errSoon
}

// Place is a delivery's place in a line.
type Place struct{ Line, Delivery string }

// JoinLines lets deliveries join their lines, in the order given. One that stands in its line already keeps its place.
func (s *Store) JoinLines(context.Context, []Place) error { return errSoon }

// LeaveLine takes a delivery out of a line.
func (s *Store) LeaveLine(_ context.Context, _, _ string) error { return errSoon }

// LineChanges tells each line that a delivery left, until ctx ends. What happens while Redis is out of reach is not told.
func (s *Store) LineChanges(ctx context.Context, _ func(line string)) error {
	<-ctx.Done()
	return nil
}

// EventKey is what makes an event the same as another.
type EventKey struct{ Resource, Source, ID string }

// Seen tells which of the events were marked within the last 24 h.
func (s *Store) Seen(_ context.Context, events []EventKey) ([]bool, error) {
	return make([]bool, len(events)), nil
}

// MarkSeen marks events as seen.
func (s *Store) MarkSeen(context.Context, []EventKey) error { return nil }

// Ask is for up to N attempts now, of a subscription that allows Rate per second.
type Ask struct {
	Subscription string
	Rate         float64
	N            int
}

// Grant answers an Ask.
type Grant struct {
	Allowed int
	// Wait is how long it takes until one more is allowed.
	Wait time.Duration
}

// Take takes from the subscriptions' token buckets.
func (s *Store) Take(context.Context, []Ask) ([]Grant, error) { return nil, errSoon }

// FailingSince returns since when each subscription has had nothing but failures: now, if it had none before.
func (s *Store) FailingSince(context.Context, []string, time.Time) (map[string]time.Time, error) {
	return nil, errSoon
}

// Healthy forgets that subscriptions have been failing.
func (s *Store) Healthy(context.Context, []string) error { return errSoon }

// CreateReplay keeps a new replay, or returns the one that runs and asks for the same.
func (s *Store) CreateReplay(_ context.Context, r contract.Replay) (kept contract.Replay, created bool, err error) {
	return r, false, errSoon
}

// Replay returns one replay of a subscription, or ErrNotFound.
func (s *Store) Replay(_ context.Context, _, _ string) (contract.Replay, error) {
	return contract.Replay{}, errSoon
}

// SaveReplay keeps how far a replay got.
func (s *Store) SaveReplay(context.Context, contract.Replay) error { return errSoon }

// Writable reports whether Redis takes writes.
func (s *Store) Writable(ctx context.Context) error { return s.Ping(ctx) }

// Traffic returns how many commands were sent to Redis, and in how many round trips.
func (s *Store) Traffic() (commands, roundTrips uint64) { return 0, 0 }
