package store

import (
	"context"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
)

// Spend asks for N of what a consumer may use of something per second, over all processes.
type Spend struct {
	// Of is the name of the limit.
	Of, Consumer string
	// PerSecond is how many come back each second, Burst how many there are at most. Both are positive.
	PerSecond, Burst int
	N                int
}

// Spent answers a Spend: all of N, or none.
type Spent struct {
	Allowed bool
	// Left is how many could be had right after it.
	Left int
	// Wait is how long it takes until N can be had, if they were not.
	Wait time.Duration
}

// Spend takes from a consumer's bucket, in one round trip.
func (s *Store) Spend(ctx context.Context, ask Spend) (Spent, error) {
	limit := redis_rate.Limit{Rate: ask.PerSecond, Burst: ask.Burst, Period: time.Second}
	limiter := redis_rate.NewLimiter(&bucket{s.rdb})
	result, err := limiter.AllowN(ctx, s.key.quota(ask.Of, ask.Consumer), limit, ask.N)
	if err != nil {
		return Spent{}, fmt.Errorf("taking from a quota: %w", err)
	}
	spent := Spent{Allowed: result.Allowed > 0 || ask.N == 0, Left: max(0, result.Remaining)}
	if !spent.Allowed {
		spent.Wait = max(result.RetryAfter, shortestWait)
	}
	return spent, nil
}
