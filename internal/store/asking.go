package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// nextAsked is when a subscription's endpoint is to be asked for its consent, in ms; "" if it is not.
func nextAsked(sub contract.Subscription) string {
	if at := sub.NextAsked(); !at.IsZero() {
		return strconv.FormatInt(at.UnixMilli(), 10)
	}
	return ""
}

// ToAsk returns up to n subscriptions whose endpoints are to be asked for their consent by now, the longest due first. Each is
// the caller's for the lease; who has not written the subscription by then has died, and another one is told of it.
func (s *Store) ToAsk(ctx context.Context, now time.Time, lease time.Duration, n int) ([]string, error) {
	ids, err := s.claim(ctx, s.key.asking(), now, lease, n)
	if err != nil {
		return nil, fmt.Errorf("reading who is to be asked for consent: %w", err)
	}
	return ids, nil
}

// claim takes what is due by now of a set under its times, for the lease.
func (s *Store) claim(ctx context.Context, key string, now time.Time, lease time.Duration, n int) ([]string, error) {
	return claim.Run(ctx, s.rdb, []string{key}, now.UnixMilli(), now.Add(lease).UnixMilli(), n).StringSlice()
}

// claim
// KEYS 1 set. ARGV 1 now in ms, 2 end of the lease in ms, 3 most. Output: ids.
var claim = redis.NewScript(`
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do redis.call('ZADD', KEYS[1], ARGV[2], id) end
return due`)

// PostponeAsking puts off when a subscription's endpoint is asked. One that is not to be asked any more stays so.
func (s *Store) PostponeAsking(ctx context.Context, id string, until time.Time) error {
	if err := s.rdb.ZAddXX(ctx, s.key.asking(), redis.Z{Score: float64(until.UnixMilli()), Member: id}).Err(); err != nil {
		return fmt.Errorf("postponing a question for consent: %w", err)
	}
	return nil
}

// ForgetAsking takes out a subscription that is gone.
func (s *Store) ForgetAsking(ctx context.Context, id string) error {
	if err := s.rdb.ZRem(ctx, s.key.asking(), id).Err(); err != nil {
		return fmt.Errorf("forgetting a question for consent: %w", err)
	}
	return nil
}

// Nobody has these services ask an endpoint for its consent more often, over all processes: so they can't be used to flood
// somebody. A host counts with all of its ports, a consumer with all of its subscriptions.
var (
	asksOfConsumer = redis_rate.Limit{Rate: 60, Burst: 20, Period: time.Minute}
	asksToHost     = redis_rate.Limit{Rate: 120, Burst: 40, Period: time.Minute}
)

// MayAsk takes one question for a consent from the bucket of its consumer and that of the host, and returns how long to wait if
// one of them is empty.
func (s *Store) MayAsk(ctx context.Context, consumer, host string) (wait time.Duration, err error) {
	for _, of := range []struct {
		whom  string
		limit redis_rate.Limit
	}{{"consumer:" + consumer, asksOfConsumer}, {"host:" + host, asksToHost}} {
		result, err := redis_rate.NewLimiter(&bucket{s.rdb}).AllowN(ctx, s.key.askRate(of.whom), of.limit, 1)
		if err != nil {
			return 0, fmt.Errorf("asking whether a question for consent is allowed: %w", err)
		}
		if result.Allowed == 0 {
			return max(shortestWait, result.RetryAfter), nil
		}
	}
	return 0, nil
}
