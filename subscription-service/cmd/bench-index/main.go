// Command bench-index measures the index of subscriptions by itself, for `make bench`: how long a match takes among many
// subscriptions and among few, what a subscription takes in memory, and how long reading all of them from Redis takes. It prints one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/index"
)

// types is over how many types the subscriptions are spread; the few are as many as have one of them.
const types = 1000

// figures are what is printed.
type figures struct {
	Subscriptions int `json:"subscriptions"`
	// MatchMany and MatchFew are nanoseconds per event with the same number of matches, Matches.
	Matches   int     `json:"matches"`
	MatchMany float64 `json:"match_many_ns"`
	MatchFew  float64 `json:"match_few_ns"`
	// Bytes is the index's memory per subscription.
	Bytes float64 `json:"bytes_per_subscription"`
	// Rebuild is in seconds, zero where there is no Redis.
	Rebuild float64 `json:"rebuild_seconds"`
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	n := flag.Int("subscriptions", 1_000_000, "subscriptions, a multiple of 1000")
	flag.Parse()
	if err := run(ctx, *n); err != nil {
		fmt.Fprintln(os.Stderr, "bench-index:", err)
		cancel()
		os.Exit(1)
	}
}

func run(ctx context.Context, n int) error {
	f := figures{Subscriptions: n, Matches: n / types}
	if err := f.match(ctx); err != nil {
		return err
	}
	if url := os.Getenv("REDIS_URL"); url != "" {
		if err := f.rebuild(ctx, url); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

// memory is a store without Redis.
type memory struct {
	n    int
	kind func(i int) string
}

func (memory) Anchor(context.Context) (store.Anchor, error) { return store.Anchor{ID: "1"}, nil }

func (memory) Look(_ context.Context, from store.Anchor, resources []string, _ []store.EventKey) (store.Look, error) {
	return store.Look{Next: from, Exists: map[string]bool{resources[0]: true}}, nil
}

func (m memory) EachCandidate(_ context.Context, _ string, tell func(store.Candidate)) error {
	for i := range m.n {
		tell(store.Candidate{Subscription: contract.NewID("sub"), Types: []string{m.kind(i)}})
	}
	return nil
}

func (memory) ResourceNames(context.Context) ([]string, error) { return nil, nil }

func kind(i int) string { return fmt.Sprintf("order.n%d.changed", i%types) }

// match compares the same number of matches among many and among few subscriptions, and weighs the many.
func (f *figures) match(ctx context.Context) error {
	few, err := f.load(ctx, memory{f.Matches, func(int) string { return kind(0) }})
	if err != nil {
		return err
	}
	before := heap()
	many, err := f.load(ctx, memory{f.Subscriptions, kind})
	if err != nil {
		return err
	}
	f.Bytes = (heap() - before) / float64(f.Subscriptions)
	var manyTook, fewTook []float64
	for range 5 { // in turn, of which the medians count
		manyTook = append(manyTook, f.time(many, kind))
		fewTook = append(fewTook, f.time(few, func(int) string { return kind(0) }))
	}
	f.MatchMany, f.MatchFew = median(manyTook), median(fewTook)
	return nil
}

func (f *figures) load(ctx context.Context, from memory) (*index.View, error) {
	return index.New(from, zap.NewNop()).Look(ctx, []string{"orders"}, nil)
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// time is nanoseconds per event.
func (f *figures) time(view *index.View, kind func(int) string) float64 {
	const events = 2 * types
	kinds := make([]string, events)
	for i := range kinds {
		kinds[i] = kind(i)
	}
	runtime.GC()
	begin := time.Now()
	for _, kind := range kinds {
		if found, _ := view.Match("orders", kind, f.Matches); len(found) != f.Matches {
			panic(fmt.Sprintf("%d match, not %d", len(found), f.Matches)) // what is measured would be something else
		}
	}
	return float64(time.Since(begin).Nanoseconds()) / events
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

const resources, writers = 10, 32

// rebuild fills a namespace of its own as consumers would, and times what a listener does that starts.
func (f *figures) rebuild(ctx context.Context, url string) error {
	kept, err := store.Open(store.Options{URL: url, Namespace: contract.NewID("bench"), Timeout: time.Minute, Keyring: keyring.Ephemeral()})
	if err != nil {
		return err
	}
	defer func() { _ = kept.Close() }() // nothing is under way
	names := make([]string, resources)
	for i := range names {
		names[i] = fmt.Sprint("orders-", i)
		if _, err := kept.PutResource(ctx, contract.Resource{Name: names[i]}); err != nil {
			return err
		}
	}
	if err := f.subscribe(ctx, kept, names); err != nil {
		return err
	}
	begin := time.Now()
	x := index.New(kept, zap.NewNop())
	if _, err := x.Look(ctx, names, nil); err != nil {
		return err
	}
	f.Rebuild = time.Since(begin).Seconds()
	if n, _ := x.Size(); n != f.Subscriptions {
		return fmt.Errorf("%d of %d subscriptions were read", n, f.Subscriptions)
	}
	return nil
}

func (f *figures) subscribe(ctx context.Context, kept *store.Store, names []string) error {
	writing, ctx := errgroup.WithContext(ctx)
	for w := range writers {
		writing.Go(func() error {
			for i := w; i < f.Subscriptions; i += writers {
				_, _, err := kept.CreateSubscription(ctx, contract.Subscription{
					ID: contract.NewID("sub"), Consumer: fmt.Sprint("con_", i%types), Resource: names[i%len(names)], Types: []string{kind(i)},
					CallbackURL: fmt.Sprint("https://consumer.example/", i), Status: contract.StatusActive, CreatedAt: time.Now(),
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return writing.Wait()
}
