package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/semaphore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// DefaultLimits are those of a consumer who has none of its own.
var DefaultLimits = contract.Limits{RequestsPerSecond: 1000, EventsPerSecond: 20_000, MaxSubscriptions: 50_000}

// Names of the limits, in Redis and in answers.
const (
	limitRequests = "requests_per_second"
	limitEvents   = "events_per_second"

	limitSubscriptions = "max_subscriptions"
	limitBodies        = "bodies"
	limitSearches      = "searches"
)

const (
	// limitsLife is for how long a consumer's limits are remembered.
	limitsLife = 2 * time.Second
	// leaseLife is for how long tokens may be kept here, leaseShare which part of a second's is fetched ahead.
	leaseLife  = time.Second
	leaseShare = 50
	// troubleLife is for how long a failure of Redis is everybody's: who waits in line must not wait for each other's timeout.
	troubleLife = 100 * time.Millisecond
	// mostAccounts bounds the memory of consumers. When it is full all are forgotten: who is there is back at once.
	mostAccounts = 10_000
	// mostBodies bounds the bodies under way, in bytes; smallBody is what does not count.
	mostBodies = 256 << 20
	smallBody  = 64 << 10
)

// meter keeps consumers within their limits, over all replicas. Of what many calls use it fetches some ahead, so that not each costs
// a round trip.
type meter struct {
	store    *store.Store
	defaults contract.Limits
	now      func() time.Time
	bodies   *semaphore.Weighted

	mu       sync.Mutex
	accounts map[string]*account
}

// account is what is known of one consumer.
type account struct {
	mu      sync.Mutex // one question to Redis at a time: who waits finds the answer
	limits  contract.Limits
	read    time.Time
	buckets map[string]*bucket
	trouble error
	since   time.Time // of the trouble
}

// bucket is what is left of one limit.
type bucket struct {
	left, elsewhere int // tokens that are here, and that Redis had after the last question
	until           time.Time
	refused         time.Time // until when who asks for as many as need is refused
	need            int
}

func newMeter(o Options) *meter {
	return &meter{store: o.Store, now: o.Now, bodies: semaphore.NewWeighted(mostBodies), accounts: map[string]*account{},
		defaults: contract.Limits{
			RequestsPerSecond: cmp.Or(o.Limits.RequestsPerSecond, DefaultLimits.RequestsPerSecond),
			EventsPerSecond:   cmp.Or(o.Limits.EventsPerSecond, DefaultLimits.EventsPerSecond),
		},
	}
}

// forget makes a change of a consumer's limits hold for the next call to this process. For others it holds within two seconds.
func (m *meter) forget(consumer string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.accounts, consumer)
}

func (m *meter) account(consumer string) *account {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[consumer]
	if a == nil {
		if len(m.accounts) >= mostAccounts {
			clear(m.accounts)
		}
		a = &account{buckets: map[string]*bucket{limitRequests: {}, limitEvents: {}}}
		m.accounts[consumer] = a
	}
	return a
}

// verdict is what a limit says to one call.
type verdict struct {
	limit     string
	perSecond int
	left      int
	allowed   bool
	wait      time.Duration
}

// take asks for n of a limit: all or none.
func (m *meter) take(ctx context.Context, consumer, limit string, n int) (verdict, error) {
	a := m.account(consumer)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := m.now()
	if a.trouble != nil && now.Sub(a.since) < troubleLife {
		return verdict{}, a.trouble
	}
	v, err := m.takeFrom(ctx, a, consumer, limit, n, now)
	if a.trouble = nil; err != nil && ctx.Err() == nil {
		a.trouble, a.since = err, now
	}
	return v, err
}

func (m *meter) takeFrom(ctx context.Context, a *account, consumer, limit string, n int, now time.Time) (verdict, error) {
	if err := m.know(ctx, a, consumer, now); err != nil {
		return verdict{}, err
	}
	v, b := verdict{limit: limit, perSecond: m.perSecond(a.limits, limit)}, a.buckets[limit]
	switch {
	case now.Before(b.until) && b.left >= n:
		b.left -= n
		v.allowed = true
	case now.Before(b.refused) && n >= b.need:
		v.wait = b.refused.Sub(now)
	default:
		if err := m.fetch(ctx, b, &v, consumer, n, now); err != nil {
			return v, err
		}
	}
	v.left = b.left + b.elsewhere
	return v, nil
}

// know reads a consumer's limits, if that was not just done. One that is gone has the service's: its calls end by themselves.
func (m *meter) know(ctx context.Context, a *account, consumer string, now time.Time) error {
	if now.Sub(a.read) < limitsLife && !a.read.IsZero() {
		return nil
	}
	found, err := m.store.Consumer(ctx, consumer)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	a.limits, a.read = found.Limits, now
	return nil
}

func (m *meter) perSecond(own contract.Limits, limit string) int {
	if limit == limitEvents {
		return cmp.Or(own.EventsPerSecond, m.defaults.EventsPerSecond)
	}
	return cmp.Or(own.RequestsPerSecond, m.defaults.RequestsPerSecond)
}

// fetch asks Redis for n and some ahead, or else for n alone.
func (m *meter) fetch(ctx context.Context, b *bucket, v *verdict, consumer string, n int, now time.Time) error {
	ahead := v.perSecond / leaseShare
	spent, err := m.spend(ctx, v, consumer, n+ahead)
	if err == nil && !spent.Allowed && ahead > 0 {
		ahead = 0
		spent, err = m.spend(ctx, v, consumer, n)
	}
	if err != nil {
		return err
	}
	b.elsewhere = spent.Left
	if v.allowed = spent.Allowed; !v.allowed {
		v.wait, b.refused, b.need = spent.Wait, now.Add(min(spent.Wait, leaseLife)), n
		return nil
	}
	if !now.Before(b.until) {
		b.left = 0 // what was fetched long ago is spent
	}
	b.left, b.until = b.left+ahead, now.Add(leaseLife)
	return nil
}

func (m *meter) spend(ctx context.Context, v *verdict, consumer string, n int) (store.Spent, error) {
	burst := v.perSecond
	if v.limit == limitEvents {
		burst = max(burst, contract.MaxBatch) // any batch fits a full bucket
	}
	return m.store.Spend(ctx, store.Spend{Of: v.limit, Consumer: consumer, PerSecond: v.perSecond, Burst: burst, N: n})
}

// tell writes the RateLimit headers (draft-ietf-httpapi-ratelimit-headers-10).
func (v verdict) tell(h http.Header) {
	h.Set("RateLimit-Policy", fmt.Sprintf(`"%s";q=%d;w=1`, v.limit, v.perSecond))
	h.Set("RateLimit", fmt.Sprintf(`"%s";r=%d`, v.limit, v.left))
	if !v.allowed {
		h.Set("Retry-After", strconv.Itoa(wholeSeconds(v.wait)))
	}
}

// wholeSeconds is a wait as Retry-After says it: long enough, and at least one.
func wholeSeconds(wait time.Duration) int { return max(1, int(math.Ceil(wait.Seconds()))) }

func (v verdict) detail() string {
	return fmt.Sprintf("the limit %s, which is %d, is used up: wait for as long as Retry-After says, or ask the administrator for more", v.limit, v.perSecond)
}

// payer is whose limits a call uses up: the consumer's, or where anybody may call the address's.
func payer(ctx context.Context) string {
	caller := callerOf(ctx)
	return cmp.Or(caller.Consumer, "from "+caller.From)
}

// metered lets a consumer's call through within its rate. A call that publishes counts as an event; publish takes for the others.
func (m *meter) metered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := limitRequests
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/events") {
			limit = limitEvents
		}
		v, err := m.take(r.Context(), payer(r.Context()), limit, 1)
		if err != nil {
			rec := recordOf(r.Context())
			rec.err = err
			writeProblem(w, contract.KindStoreUnavailable.Problem(storeAway(rec)))
			return
		}
		if v.tell(w.Header()); !v.allowed {
			refuse(w, r, v.limit, contract.KindRateLimited.Problem(v.detail()))
			return
		}
		m.bounded(w, r, next)
	})
}

// bounded serves a call while the bodies under way have room for its own.
func (m *meter) bounded(w http.ResponseWriter, r *http.Request, next http.Handler) {
	size := r.ContentLength
	if size < 0 || size > contract.MaxEvent {
		size = contract.MaxEvent // no more is read
	}
	if size <= smallBody {
		next.ServeHTTP(w, r)
		return
	}
	if !m.bodies.TryAcquire(size) {
		w.Header().Set("Retry-After", "1")
		refuse(w, r, limitBodies, contract.KindBusy.Problem("too many large requests are under way: try again"))
		return
	}
	defer m.bodies.Release(size)
	next.ServeHTTP(w, r)
}

// refuse answers one of too many calls, which leaves no audit entry.
func refuse(w http.ResponseWriter, r *http.Request, limit string, p contract.Problem) {
	recordOf(r.Context()).limited = limit
	entryOf(r.Context()).skip = true
	writeProblem(w, p)
}

// further takes for the events of a batch beyond its first.
func (m *meter) further(ctx context.Context, n int) error {
	if n <= 0 {
		return nil
	}
	v, err := m.take(ctx, payer(ctx), limitEvents, n)
	if err != nil || v.allowed {
		return err
	}
	recordOf(ctx).limited = limitEvents
	header := http.Header{}
	v.tell(header)
	return huma.ErrorWithHeaders(problem(contract.KindRateLimited, v.detail()), header)
}
