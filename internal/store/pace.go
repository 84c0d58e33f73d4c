package store

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

// Ask is for up to N attempts now, of a subscription that allows Rate per second, as a whole number per minute; zero: any number.
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

// shortestWait keeps callers from asking again and again over what the clock can't tell apart.
const shortestWait = time.Millisecond

// Take takes from the subscriptions' token buckets, which all processes share: one round trip, two if a bucket holds less
// than is asked for. A bucket holds what a second brings, and at least one.
func (s *Store) Take(ctx context.Context, asks []Ask) ([]Grant, error) {
	grants, err := s.take(ctx, asks)
	if err != nil {
		return nil, err
	}
	var rest []Ask
	var of []int
	for i, ask := range asks {
		if left := grants[i].left; ask.N > 0 && grants[i].Allowed == 0 && left >= 1 { // the library gives all or nothing; its "at most" loses parts of tokens
			rest = append(rest, Ask{ask.Subscription, ask.Rate, int(left)})
			of = append(of, i)
		}
	}
	again, err := s.take(ctx, rest)
	if err != nil {
		return nil, err
	}
	for i, g := range again {
		grants[of[i]] = g
	}
	out := make([]Grant, len(grants))
	for i, g := range grants {
		out[i] = g.Grant
	}
	return out, nil
}

// taken is a grant, and what the bucket holds after it.
type taken struct {
	Grant

	left float64
}

// take asks for each N or nothing, in one round trip.
func (s *Store) take(ctx context.Context, asks []Ask) ([]taken, error) {
	if len(asks) == 0 {
		return nil, nil
	}
	b := &bundle{bucket: bucket{s.rdb}, pipe: s.rdb.Pipeline()}
	limiter := redis_rate.NewLimiter(b)
	for _, ask := range asks {
		if _, err := s.takeOne(ctx, limiter, ask); err != nil {
			return nil, err
		}
	}
	b.send(ctx)
	grants := make([]taken, len(asks))
	for i, ask := range asks {
		var err error
		if grants[i], err = s.takeOne(ctx, limiter, ask); err != nil {
			return nil, fmt.Errorf("taking from a bucket: %w", err)
		}
	}
	return grants, nil
}

func (s *Store) takeOne(ctx context.Context, limiter *redis_rate.Limiter, ask Ask) (taken, error) {
	if ask.Rate <= 0 {
		return taken{Grant: Grant{Allowed: ask.N}}, nil
	}
	perMinute := max(1, math.Round(ask.Rate*60)) // in tenths per second or per minute, it is a whole number
	limit := redis_rate.Limit{Rate: int(perMinute), Burst: int(math.Ceil(perMinute / 60)), Period: time.Minute}
	n := min(max(0, ask.N), limit.Burst)
	result, err := limiter.AllowN(ctx, s.key.rate(ask.Subscription), limit, n)
	if err != nil {
		return taken{}, err
	}
	left := float64(limit.Burst) - result.ResetAfter.Seconds()*perMinute/60
	wait := time.Duration((1 - left) / perMinute * float64(time.Minute))
	if left < 1 || result.Allowed < n {
		wait = max(wait, shortestWait)
	}
	return taken{Grant{result.Allowed, max(0, wait)}, left}, nil
}

// bundle lets the limiter's calls go in one pipeline. The limiter is asked twice: while there is a pipeline its calls are
// collected and answered with nothing, then it gets the answers in the same order.
type bundle struct {
	bucket

	pipe    redis.Pipeliner
	answers []*redis.Cmd
}

// EvalSha collects a call, or gives the answer to it.
func (b *bundle) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if b.pipe != nil {
		b.answers = append(b.answers, b.pipe.EvalSha(ctx, sha, ours(keys), args...))
		return redis.NewCmdResult([]any{int64(0), int64(0), "0", "0"}, nil)
	}
	answer := b.answers[0]
	b.answers = b.answers[1:]
	return answer
}

// send leaves errors to the answers.
func (b *bundle) send(ctx context.Context) {
	_, _ = b.pipe.Exec(ctx)
	b.pipe = nil
}

// bucket lets the limiter ask at once.
type bucket struct{ *redis.Client }

// EvalSha asks under our own key.
func (b *bucket) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return b.Client.EvalSha(ctx, sha, ours(keys), args...)
}

// Eval is what the library does where Redis does not know the script.
func (b *bucket) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return b.Client.Eval(ctx, script, ours(keys), args...)
}

// ours takes the library's prefix from a key: all of our keys begin with the namespace.
func ours(keys []string) []string {
	return []string{strings.TrimPrefix(keys[0], "rate:")}
}
