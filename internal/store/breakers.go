package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// BreakersLife is how long a replica's report holds: one that lives reports again before.
const BreakersLife = 15 * time.Second

// ReportBreakers keeps which breakers of a replica are open, in the place of what it reported before. With none it takes the
// replica off the list.
func (s *Store) ReportBreakers(ctx context.Context, replica string, open []contract.Breaker) error {
	pipe := s.rdb.TxPipeline()
	if len(open) == 0 {
		pipe.Del(ctx, s.key.breakersOf(replica))
		pipe.ZRem(ctx, s.key.breakers(), replica)
	} else {
		now := time.Now()
		pipe.Set(ctx, s.key.breakersOf(replica), encode(open), BreakersLife)
		pipe.ZAdd(ctx, s.key.breakers(), redis.Z{Score: float64(now.Add(BreakersLife).UnixMilli()), Member: replica})
		pipe.ZRemRangeByScore(ctx, s.key.breakers(), "-inf", strconv.FormatInt(now.UnixMilli(), 10))
		pipe.Expire(ctx, s.key.breakers(), time.Hour)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("reporting open breakers: %w", err)
	}
	return nil
}

// Breakers returns the open breakers of all replicas, the oldest first, without those of subscriptions that are gone.
func (s *Store) Breakers(ctx context.Context) ([]contract.Breaker, error) {
	all, err := s.reported(ctx)
	if err != nil || len(all) == 0 {
		return []contract.Breaker{}, err
	}
	pipe := s.rdb.Pipeline()
	there := make([]*redis.IntCmd, len(all))
	for i, b := range all {
		there[i] = pipe.Exists(ctx, s.key.subscription(b.Subscription))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading open breakers: %w", err)
	}
	open := make([]contract.Breaker, 0, len(all))
	for i, b := range all {
		if there[i].Val() == 1 {
			open = append(open, b)
		}
	}
	slices.SortStableFunc(open, func(a, b contract.Breaker) int { return a.Since.Compare(b.Since) })
	return open, nil
}

func (s *Store) reported(ctx context.Context) ([]contract.Breaker, error) {
	replicas, err := s.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{Key: s.key.breakers(), Start: time.Now().UnixMilli(), Stop: "+inf", ByScore: true}).Result()
	if err != nil {
		return nil, fmt.Errorf("reading who reports breakers: %w", err)
	}
	names := make([]string, len(replicas))
	for i, replica := range replicas {
		names[i] = s.key.breakersOf(replica)
	}
	texts, err := s.texts(ctx, names)
	if err != nil {
		return nil, err
	}
	var all []contract.Breaker
	for i, text := range texts {
		var open []contract.Breaker
		if text == "" || json.Unmarshal([]byte(text), &open) != nil { // it ended meanwhile; or it is another version's, which reports again
			continue
		}
		for _, b := range open {
			b.Replica = replicas[i]
			all = append(all, b)
		}
	}
	return all, nil
}
