package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// seenLife is how long an event is known again.
const seenLife = 24 * time.Hour

// EventKey is what makes an event the same as another.
type EventKey struct{ Resource, Source, ID string }

// digest is short, since there is a key for each event of a day.
func (e EventKey) digest() string { return digest(e.Resource, e.Source, e.ID) }

// digest is the same for the same parts: 16 bytes of their SHA-256.
func digest(parts ...string) string {
	var text []byte
	for _, part := range parts {
		text = append(append(text, part...), 0)
	}
	sum := sha256.Sum256(text)
	return string(sum[:16])
}

// seen asks which of the events were marked within the last 24 h; the answer can be had once the pipeline has been executed.
func (s *Store) seen(ctx context.Context, pipe redis.Pipeliner, events []EventKey) (answer func() ([]bool, error)) {
	if len(events) == 0 {
		return func() ([]bool, error) { return nil, nil }
	}
	asked := pipe.MGet(ctx, s.seenKeys(events)...)
	return func() ([]bool, error) {
		marks, err := asked.Result()
		if err != nil {
			return nil, fmt.Errorf("looking for events that were seen: %w", err)
		}
		seen := make([]bool, len(events))
		for i, mark := range marks {
			seen[i] = mark != nil
		}
		return seen, nil
	}
}

// MarkSeen marks events as seen; Candidates tells.
func (s *Store) MarkSeen(ctx context.Context, events []EventKey) error {
	for chunk := range slices.Chunk(events, mostPerScript) {
		if err := markSeen.Run(ctx, s.rdb, s.seenKeys(chunk), int64(seenLife/time.Second)).Err(); err != nil {
			return fmt.Errorf("marking events as seen: %w", err)
		}
	}
	return nil
}

func (s *Store) seenKeys(events []EventKey) []string {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = s.key.seen(e.digest())
	}
	return names
}

// markSeen
// KEYS events. ARGV 1 life in seconds. Output: 1.
var markSeen = redis.NewScript(`
for _, key in ipairs(KEYS) do redis.call('SET', key, 1, 'EX', ARGV[1]) end
return 1`)
