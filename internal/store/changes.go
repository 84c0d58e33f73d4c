package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Every change of a resource's active subscriptions is told in one stream, by the script that makes it: t a token, r the
// resource, s the subscription, c the candidate, "" if it is none any more. Who has read the hashes and follows the stream
// from before that knows all that has been acknowledged.

const (
	// mostChanges is about how many changes the stream keeps. Who falls behind reads the hashes again.
	mostChanges = 100_000
	// changesAtOnce is how many changes one look brings at most.
	changesAtOnce = 2000
)

// Candidate is an active subscription to a resource.
type Candidate struct {
	Subscription string
	Types        []string
	// Ordered says that deliveries with the same subject arrive one after the other; see JoinLines.
	Ordered bool
	// Pulls says that deliveries wait to be collected.
	Pulls bool
	// Filter is CEL, see package expr; empty for none.
	Filter string
}

// Anchor is a place in the stream of changes. The token tells it from another that has its ID after Redis lost data.
type Anchor struct{ ID, Token string }

// Change tells what became of a subscription. Candidate is nil if it is not active any more.
type Change struct {
	Resource, Subscription string
	Candidate              *Candidate
}

// Look is what is to be known of a batch of events.
type Look struct {
	// Changes since the anchor, in order, up to Next. More says that there are more.
	Changes []Change
	Next    Anchor
	More    bool
	// Lost says that the stream does not reach back to the anchor: nothing that was known before holds any more.
	Lost bool
	// Exists are the resources that exist, of those asked for.
	Exists map[string]bool
	// Seen tells of each event, in the order asked, whether it was marked as seen within 24 h.
	Seen []bool
}

// Anchor returns the newest place of the stream, and makes one if there is none: so its loss can be noticed.
func (s *Store) Anchor(ctx context.Context) (Anchor, error) {
	for {
		newest, err := s.rdb.XRevRangeN(ctx, s.key.changes(), "+", "-", 1).Result()
		if err != nil {
			return Anchor{}, fmt.Errorf("reading the changes: %w", err)
		}
		if len(newest) > 0 {
			return anchorOf(newest[0]), nil
		}
		added := &redis.XAddArgs{Stream: s.key.changes(), Values: []any{"t", contract.NewID("v"), "r", "", "s", "", "c", ""}}
		if err := s.rdb.XAdd(ctx, added).Err(); err != nil {
			return Anchor{}, fmt.Errorf("beginning the changes: %w", err)
		}
	}
}

func anchorOf(m redis.XMessage) Anchor { return Anchor{m.ID, text(m, "t")} }

func text(m redis.XMessage, field string) string {
	s, _ := m.Values[field].(string)
	return s
}

// Look reads, in one round trip, what changed since the anchor, which of the resources exist and which of the events were seen.
// The zero anchor is a lost one. The look is never older than the call: a subscription that was acknowledged before is among
// what was known or what changed.
func (s *Store) Look(ctx context.Context, from Anchor, resources []string, events []EventKey) (Look, error) {
	pipe := s.rdb.Pipeline()
	changes := pipe.XRangeN(ctx, s.key.changes(), cmp.Or(from.ID, "-"), "+", changesAtOnce+1)
	marks := s.seen(ctx, pipe, events)
	exist := make([]*redis.BoolCmd, len(resources))
	for i, resource := range resources {
		exist[i] = pipe.HExists(ctx, s.key.resources(), resource)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return Look{}, fmt.Errorf("looking at subscriptions and events: %w", err)
	}
	look := Look{Exists: make(map[string]bool, len(resources))}
	look.follow(from, changes.Val())
	for i, resource := range resources {
		look.Exists[resource] = exist[i].Val()
	}
	var err error
	look.Seen, err = marks()
	return look, err
}

// follow takes the changes, of which the first must be the anchor itself.
func (l *Look) follow(from Anchor, found []redis.XMessage) {
	if len(found) == 0 || anchorOf(found[0]) != from {
		l.Lost = true
		return
	}
	l.Next, l.More = anchorOf(found[len(found)-1]), len(found) > changesAtOnce
	for _, m := range found[1:] {
		if id := text(m, "s"); id != "" {
			l.Changes = append(l.Changes, Change{text(m, "r"), id, candidateOf(id, text(m, "c"))})
		}
	}
}

// scanStep is how many candidates are read at a time: Redis answers others in between.
const scanStep = 1000

// EachCandidate tells all active subscriptions of a resource that are there from beginning to end; one that changes meanwhile
// may be told once, twice or not at all.
func (s *Store) EachCandidate(ctx context.Context, resource string, tell func(Candidate)) error {
	for cursor := uint64(0); ; {
		found, next, err := s.rdb.HScan(ctx, s.key.match(resource), cursor, "", scanStep).Result()
		if err != nil {
			return fmt.Errorf("reading the subscriptions to %s: %w", resource, err)
		}
		for i := 0; i+1 < len(found); i += 2 {
			if c := candidateOf(found[i], found[i+1]); c != nil {
				tell(*c)
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// ResourceNames returns the names of all resources, in no order.
func (s *Store) ResourceNames(ctx context.Context) ([]string, error) {
	names, err := s.rdb.HKeys(ctx, s.key.resources()).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the resources: %w", err)
	}
	return names, nil
}

// candidateOf reads what candidate wrote; nil for "".
func candidateOf(id, text string) *Candidate {
	how, wants, ok := strings.Cut(text, "|")
	if !ok {
		return nil
	}
	types, filter, _ := strings.Cut(wants, "|")
	return &Candidate{
		Subscription: id, Types: strings.Fields(types), Filter: filter,
		Ordered: strings.Contains(how, candidateOrdered), Pulls: strings.Contains(how, candidatePulls),
	}
}

// FanOut returns the subscription up to which an event's commands were published, "" if there is none.
func (s *Store) FanOut(ctx context.Context, event EventKey) (string, error) {
	last, err := s.rdb.Get(ctx, s.key.fanOut(event.digest())).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("reading how far an event is: %w", err)
	}
	return last, nil
}

// KeepFanOut remembers for a day up to which subscription, by id, an event's commands were published.
func (s *Store) KeepFanOut(ctx context.Context, event EventKey, last string) error {
	if err := s.rdb.Set(ctx, s.key.fanOut(event.digest()), last, seenLife).Err(); err != nil {
		return fmt.Errorf("keeping how far an event is: %w", err)
	}
	return nil
}
