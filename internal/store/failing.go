package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// failingLife is how long it is known that a subscription fails: longer than anybody waits before one is disabled.
const failingLife = 400 * 24 * time.Hour

// FailingSince returns since when each subscription has had nothing but failures: now, if it had none before.
func (s *Store) FailingSince(ctx context.Context, subs []string, now time.Time) (map[string]time.Time, error) {
	since := make(map[string]time.Time, len(subs))
	if len(subs) == 0 {
		return since, nil
	}
	marks, err := failingSince.Run(ctx, s.rdb, s.failingKeys(subs), now.UnixMilli(), int64(failingLife/time.Second)).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("marking subscriptions as failing: %w", err)
	}
	for i, sub := range subs {
		ms, err := strconv.ParseInt(marks[i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading since when a subscription fails: %w: %w", ErrDamaged, err)
		}
		since[sub] = time.UnixMilli(ms).UTC()
	}
	return since, nil
}

// failingSince
// KEYS marks. ARGV 1 now in ms, 2 life in seconds. Output: the marks.
var failingSince = redis.NewScript(`
local since = redis.call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
  if not since[i] then
    redis.call('SET', key, ARGV[1], 'EX', ARGV[2])
    since[i] = ARGV[1]
  end
end
return since`)

// Healthy forgets that subscriptions have been failing.
func (s *Store) Healthy(ctx context.Context, subs []string) error {
	if len(subs) == 0 {
		return nil
	}
	if err := s.rdb.Del(ctx, s.failingKeys(subs)...).Err(); err != nil {
		return fmt.Errorf("forgetting that subscriptions failed: %w", err)
	}
	return nil
}

func (s *Store) failingKeys(subs []string) []string {
	names := make([]string, len(subs))
	for i, sub := range subs {
		names[i] = s.key.failing(sub)
	}
	return names
}
