package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	fanOutType = "bench.fanout"
	// fanOutWriters make the subscriptions, which would take minutes one by one through the gateway.
	fanOutWriters = 32
	// fanOutAtMost is how long the commands of a fan-out may take.
	fanOutAtMost = 5 * time.Minute
)

// fanOut is figure i: what an event that very many want does to others. Other events come at a steady rate, alone and while the
// commands of the large one are published.
func (b *bench) fanOut(ctx context.Context) error {
	resource, err := b.crowd(ctx)
	if err != nil {
		return err
	}
	others := load{"others", b.pipelines()[0], steadyRate}
	alone, err := b.publishTimes(ctx, func(ctx context.Context) error { return b.keepOn(ctx, others, b.window) })
	if err != nil {
		return err
	}
	var took time.Duration
	beside, err := b.publishTimes(ctx, func(ctx context.Context) (err error) {
		took, err = b.beside(ctx, others, resource)
		return err
	})
	if err != nil {
		return err
	}
	p99 := [2]float64{quantile(alone, .99) * 1e3, quantile(beside, .99) * 1e3}
	b.report.add(table{Figure: "i", Title: fmt.Sprintf("from match to publish of other events, %d/s, ms; the commands of a fan-out to %d took %.1f s", steadyRate, b.crowdSize, took.Seconds()),
		Columns: []string{"p50", "p99"}, Rows: []row{
			{"alone", []float64{quantile(alone, .5) * 1e3, p99[0]}}, {"beside the fan-out", []float64{quantile(beside, .5) * 1e3, p99[1]}},
		}})
	b.report.atMost("i", "p99 of other events' match to publish, beside a fan-out / alone", p99[1]/p99[0], 2)
	return nil
}

// crowd makes a resource with very many subscriptions to one type.
func (b *bench) crowd(ctx context.Context) (resource string, err error) {
	resource = b.grants[0] + "-crowd"
	if _, err := b.stack.Admin().Want(ctx, http.StatusCreated, http.MethodPut, "/admin/v1/resources/"+resource, map[string]any{}); err != nil {
		return "", err
	}
	keys, err := keyring.Load("", filepath.Join(b.runDir, "keyring"))
	if err != nil {
		return "", err
	}
	kept, err := store.Open(store.Options{URL: b.stack.RedisURL, Timeout: time.Minute, Keyring: keys})
	if err != nil {
		return "", err
	}
	defer func() { _ = kept.Close() }() // nothing is under way
	writing, writes := errgroup.WithContext(ctx)
	for w := range fanOutWriters {
		writing.Go(func() error {
			for i := w; i < b.crowdSize; i += fanOutWriters {
				if _, _, err := kept.CreateSubscription(writes, b.member(resource, i)); err != nil {
					return fmt.Errorf("making subscriptions: %w", err)
				}
			}
			return nil
		})
	}
	return resource, writing.Wait()
}

func (b *bench) member(resource string, i int) contract.Subscription {
	return contract.Subscription{
		ID: contract.NewID("sub"), Consumer: "con_bench", Resource: resource, Types: []string{fanOutType}, Format: contract.FormatStructured,
		CallbackURL: fmt.Sprintf("%s%s?%d", b.receiver.Endpoints[i%b.subscriptions], pathOther, i), Status: contract.StatusActive,
		Confidential: contract.Confidential{Secrets: []contract.Secret{{Value: "whsec_" + strings.Repeat("YWJj", 10)}}}, CreatedAt: time.Now(),
	}
}

// keepOn publishes steadily.
func (b *bench) keepOn(ctx context.Context, l load, window time.Duration) error {
	if err := b.receiver.forget(ctx); err != nil {
		return err
	}
	_, err := publishPaced(ctx, l, b.newRound(), window)
	return err
}

// beside publishes the large event and keeps the others coming until its commands are out.
func (b *bench) beside(ctx context.Context, others load, resource string) (took time.Duration, err error) {
	before, err := scrape(ctx, b.stack.ListenerMetricsURL, "webhook_commands_published_total")
	if err != nil {
		return 0, err
	}
	event := world.Event{Resource: resource, Type: fanOutType, ID: b.newRound(), Data: []byte(`{"n":1}`)}
	if err := b.producer.Publish(ctx, b.producer.Message(event)); err != nil {
		return 0, err
	}
	begin, both := time.Now(), errgroup.Group{}
	steady, stop := context.WithCancel(ctx)
	both.Go(func() error {
		if err := b.keepOn(steady, others, fanOutAtMost); steady.Err() == nil {
			return err
		}
		return nil // it was stopped
	})
	both.Go(func() error {
		defer stop()
		return poll(ctx, fanOutAtMost, "the fan-out does not end", func() (bool, error) {
			now, err := scrape(ctx, b.stack.ListenerMetricsURL, "webhook_commands_published_total")
			return now-before >= float64(b.crowdSize), err
		})
	})
	err = both.Wait()
	fmt.Fprintf(os.Stderr, "  fan-out to %d: %v\n", b.crowdSize, time.Since(begin).Round(time.Millisecond))
	return time.Since(begin), err
}

// publishTimes is what the listener's histogram counts while something is done.
func (b *bench) publishTimes(ctx context.Context, do func(context.Context) error) (map[float64]float64, error) {
	const name = "webhook_match_to_publish_seconds"
	before, err := world.Buckets(ctx, b.stack.ListenerMetricsURL, name)
	if err != nil {
		return nil, err
	}
	if err := do(ctx); err != nil {
		return nil, err
	}
	after, err := world.Buckets(ctx, b.stack.ListenerMetricsURL, name)
	for bound := range after {
		after[bound] -= before[bound]
	}
	return after, err
}

// quantile of a histogram whose buckets count all below their bounds, as Prometheus estimates it.
func quantile(buckets map[float64]float64, q float64) float64 {
	bounds := slices.Sorted(maps.Keys(buckets))
	rank := q * buckets[math.Inf(1)]
	lower, below := 0.0, 0.0
	for _, bound := range bounds {
		if count := buckets[bound]; count >= rank && count > below {
			if math.IsInf(bound, 1) {
				return lower
			}
			return lower + (bound-lower)*(rank-below)/(count-below)
		}
		lower, below = bound, buckets[bound]
	}
	return math.NaN()
}
