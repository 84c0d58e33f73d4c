package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Candidate is an active subscription to a resource.
type Candidate struct {
	Subscription string
	Types        []string
	// Ordered says that deliveries with the same subject arrive one after the other; see JoinLines.
	Ordered bool
	// Filter is CEL, see package expr; empty for none.
	Filter string
}

// matchCache holds the candidates per resource as of a version. The version is asked for in every batch, so what the cache
// gives is never older than the batch: a subscription that was acknowledged before an event was published gets the event.
type matchCache struct {
	mu        sync.Mutex
	resources map[string]matchEntry
}

type matchEntry struct {
	version    string
	candidates []Candidate
}

// Candidates returns the active subscriptions to each of the resources, and tells which of the events were marked by MarkSeen
// within the last 24 h: one round trip while nothing changed, two after a change. A resource that does not exist is missing
// from the answer.
func (s *Store) Candidates(ctx context.Context, resources []string, events []EventKey) (map[string][]Candidate, []bool, error) {
	versions, seen, err := s.versionsAndSeen(ctx, resources, events)
	if err != nil {
		return nil, nil, err
	}
	if err := s.refresh(ctx, versions); err != nil {
		return nil, nil, err
	}
	s.match.mu.Lock()
	defer s.match.mu.Unlock()
	found := make(map[string][]Candidate, len(versions))
	for resource := range versions {
		found[resource] = s.match.resources[resource].candidates
	}
	return found, seen, nil
}

// versionsAndSeen reads the version of each resource that exists, and which events were seen.
func (s *Store) versionsAndSeen(ctx context.Context, resources []string, events []EventKey) (map[string]string, []bool, error) {
	pipe := s.rdb.Pipeline()
	marks := s.seen(ctx, pipe, events)
	exist := make([]*redis.BoolCmd, len(resources))
	version := make([]*redis.StringCmd, len(resources))
	for i, resource := range resources {
		exist[i] = pipe.HExists(ctx, s.key.resources(), resource)
		version[i] = pipe.Get(ctx, s.key.matchVersion(resource))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, nil, fmt.Errorf("reading the subscriptions' versions: %w", err)
	}
	versions := make(map[string]string, len(resources))
	for i, resource := range resources {
		// Exec tells the first error only, and a version that is not there hides what follows it.
		if err := errors.Join(exist[i].Err(), missingIsFine(version[i].Err())); err != nil {
			return nil, nil, fmt.Errorf("reading the subscriptions' versions: %w", err)
		}
		if exist[i].Val() {
			versions[resource] = version[i].Val()
		}
	}
	seen, err := marks()
	return versions, seen, err
}

func missingIsFine(err error) error {
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// refresh reads the candidates whose version moved. The version was read first: what is read now may be newer than it, and
// is then read once more the next time.
func (s *Store) refresh(ctx context.Context, versions map[string]string) error {
	stale := s.match.stale(versions)
	if len(stale) == 0 {
		return nil
	}
	pipe := s.rdb.Pipeline()
	reads := make([]*redis.MapStringStringCmd, len(stale))
	for i, resource := range stale {
		reads[i] = pipe.HGetAll(ctx, s.key.match(resource))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reading the subscriptions: %w", err)
	}
	s.match.mu.Lock()
	defer s.match.mu.Unlock()
	for i, resource := range stale {
		s.match.resources[resource] = matchEntry{versions[resource], candidatesOf(reads[i].Val())}
	}
	return nil
}

func (c *matchCache) stale(versions map[string]string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var stale []string
	for resource, version := range versions {
		if entry, ok := c.resources[resource]; !ok || entry.version != version {
			stale = append(stale, resource)
		}
	}
	return stale
}

func candidatesOf(hash map[string]string) []Candidate {
	candidates := make([]Candidate, 0, len(hash))
	for id, text := range hash {
		ordering, rest, _ := strings.Cut(text, "|")
		types, filter, _ := strings.Cut(rest, "|")
		candidates = append(candidates, Candidate{id, strings.Fields(types), ordering != "", filter})
	}
	return candidates
}
