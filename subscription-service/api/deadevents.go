package api

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/time/rate"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// eventsPerSecond is how fast dead events are published anew: they must not crowd out those that come.
const eventsPerSecond = 500

// sieve takes dead events out of the broker's queue and puts everything else back to its end.
type sieve struct {
	deadLetters

	body   deadReplayBody
	wanted map[string]bool // dead events by their ids; the others are not asked for unless body is open
	pace   *rate.Limiter
	events int
}

// replayEvents looks for the events that are asked for, in as much of the queue as there is time for.
func (d deadLetters) replayEvents(ctx context.Context, body deadReplayBody, begun *deadReplayView) error {
	s := &sieve{deadLetters: d, body: body, wanted: map[string]bool{}, pace: rate.NewLimiter(eventsPerSecond, eventsPerSecond)}
	if err := d.each(ctx, body, contract.DeadEvent, func(l contract.DeadLetter) { s.wanted[l.ID] = true }); err != nil {
		return err
	}
	n, err := d.toScan(ctx, body, len(s.wanted))
	if err != nil || n == 0 {
		return err
	}
	looking, cancel := context.WithTimeout(ctx, sifting)
	defer cancel()
	begun.Scanned, err = d.queues.Sift(looking, d.replays.names.Dead, n, s.handle)
	begun.Events, begun.Remaining = s.events, n-begun.Scanned
	if begun.Scanned == 0 && err == nil {
		begun.Remaining = 0 // somebody else is at it, or there is nothing any more
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	return nil
}

// toScan is how many messages there are to look at: none where neither the list nor the queue can have what is asked for.
func (d deadLetters) toScan(ctx context.Context, body deadReplayBody, wanted int) (int, error) {
	depths, err := d.queues.Depths(ctx, d.replays.names.Dead)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errBroker, err)
	}
	n := depths[d.replays.names.Dead]
	if body.Remaining > 0 {
		return min(n, body.Remaining), nil
	}
	if wanted > 0 {
		return n, nil
	}
	listed, err := d.store.CountDead(ctx)
	if err != nil || !body.open() || int64(n) <= listed {
		return 0, err
	}
	return n, nil
}

// handle publishes the events that are asked for anew, and the rest to the end of the queue; only then are they gone from its head.
// What comes twice by a crash in between is the same event, of which one delivery follows.
func (s *sieve) handle(ctx context.Context, batch []rabbit.Message) error {
	risen, err := s.risen(ctx, batch)
	if err != nil {
		return err
	}
	var out []rabbit.Message
	var anew []string
	for _, m := range batch {
		id := contract.DeadEventID(m.RoutingKey, m.ContentType, m.Headers, m.Body)
		delivery := contract.DeliveryOf(m.Headers)
		switch {
		case delivery == "" && s.wants(id, m):
			out, anew = append(out, s.replays.names.Again(m)), append(anew, id)
		case delivery == "" || !risen[delivery]:
			out = append(out, s.replays.names.StillDead(m))
		}
	}
	if err := s.pace.WaitN(ctx, min(len(anew), eventsPerSecond)); err != nil {
		return err //nolint:wrapcheck // the end of the time
	}
	if err := s.replays.publisher.Publish(ctx, out...); err != nil {
		return err
	}
	s.events += len(anew)
	return s.store.Exhume(ctx, anew)
}

// wants reports whether an event is asked for. One that is not on the list is so where nothing but a resource is.
func (s *sieve) wants(id string, m rabbit.Message) bool {
	return s.wanted[id] || s.body.open() && (s.body.Resource == "" || s.body.Resource == contract.ResourceOf(m.RoutingKey))
}

// risen are the deliveries of a batch that are not dead any more: they were delivered, or are on their way.
func (s *sieve) risen(ctx context.Context, batch []rabbit.Message) (map[string]bool, error) {
	deliveries := map[string]bool{}
	for _, m := range batch {
		if id := contract.DeliveryOf(m.Headers); id != "" {
			deliveries[id] = true
		}
	}
	ids := slices.Collect(maps.Keys(deliveries))
	records, err := s.store.Statuses(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		deliveries[id] = records[i] != nil && records[i].Status != contract.DeliveryFailed
	}
	return deliveries, nil
}
