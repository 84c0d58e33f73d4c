package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// isolation is figure c: healthy traffic beside as much again, whose endpoints once answer and once hang. Both times the same
// number of events is on its way; healthy traffic alone is shown beside them.
func (b *bench) isolation(ctx context.Context) error {
	half, err := b.halfLoad(ctx)
	if err != nil {
		return err
	}
	t := table{Figure: "c", Title: fmt.Sprintf("latency of healthy endpoints in ms: alone, and with as much traffic again to %d other endpoints which "+
		"all answer, or all hang %v; median of %d windows of %v", b.hangingSubs, hangFor, b.rounds, b.window),
		Columns: []string{"p50 alone", "others answer", "others hang", "p99 alone", "others answer", "others hang", "hang/answer"}}
	for _, rate := range []float64{float64(b.healthyRate), half / 2} {
		p50, p99, err := b.compareIsolation(ctx, rate)
		if err != nil {
			return err
		}
		ratio := p99[2] / p99[1]
		t.Rows = append(t.Rows, row{fmt.Sprintf("%.0f healthy events/s", rate), slices.Concat(p50, p99, []float64{ratio})})
		b.report.atMost("c", fmt.Sprintf("p99 with hanging / without, %.0f healthy events/s", rate), ratio, 1.25)
	}
	b.report.add(t)
	return nil
}

// compareIsolation returns the figures of the healthy traffic alone, beside others that answer, and beside others that hang.
func (b *bench) compareIsolation(ctx context.Context, rate float64) (p50, p99 []float64, err error) {
	healthy := load{"healthy", b.pipelines()[0], rate}
	beside := func(path string) func() (window, error) {
		return func() (window, error) { return b.steadyBeside(ctx, healthy, path) }
	}
	ways := []func() (window, error){
		func() (window, error) { return b.steady(ctx, healthy) }, beside(pathOther), beside(pathHang),
	}
	windows := make([][]window, len(ways))
	for range b.rounds {
		for i, measure := range ways {
			w, err := measure()
			if err != nil {
				return nil, nil, err
			}
			windows[i] = append(windows[i], w)
		}
		last := func(i int) float64 { return windows[i][len(windows[i])-1].p99 }
		fmt.Fprintf(os.Stderr, "  %4.0f healthy/s  p99 %6.1f ms alone, %6.1f ms with others, %6.1f ms with others that hang\n", rate, last(0), last(1), last(2))
	}
	for _, w := range windows {
		m := medianOf(w)
		p50, p99 = append(p50, m[0]), append(p99, m[1])
	}
	return p50, p99, nil
}

// steadyBeside runs a window with as much traffic again to other subscriptions, then ends those and their calls.
func (b *bench) steadyBeside(ctx context.Context, healthy load, path string) (w window, err error) {
	others, err := b.subscribeOthers(ctx, b.hangingSubs, path, nil)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, b.endOthers(ctx, others)) }()
	round := b.newRound()
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := publishPaced(both, b.loadTo(others, healthy.rate), round, b.window)
		return err
	})
	group.Go(func() (err error) {
		w, err = b.steady(both, healthy)
		return err
	})
	return w, group.Wait()
}

// loadTo is steady traffic to some subscriptions alone.
func (b *bench) loadTo(subs []subscription, rate float64) load {
	p := pipeline{name: "others", publish: b.producer.Publish, message: func(round string, n int) (rabbit.Message, error) {
		return b.producer.Message(b.event(round, n, subs[n%len(subs)])), nil
	}}
	return load{p.name, p, rate}
}

// subscribeOthers makes subscriptions with endpoints of their own.
func (b *bench) subscribeOthers(ctx context.Context, count int, path string, wish map[string]any) ([]subscription, error) {
	subs := make([]subscription, count)
	for i := range subs {
		b.typesUsed++
		endpoint := b.receiver.Endpoints[len(b.subs)+i%b.hangingSubs]
		sub, err := b.newSubscription(ctx, b.typesUsed, endpoint+path, wish)
		if err != nil {
			return nil, err
		}
		subs[i] = sub
	}
	return subs, nil
}

// endOthers unsubscribes, so that nothing more is sent, and lets the calls under way end.
func (b *bench) endOthers(ctx context.Context, subs []subscription) error {
	for _, sub := range subs {
		if err := b.unsubscribe(ctx, sub); err != nil {
			return err
		}
	}
	return poll(ctx, time.Minute, "calls still hang", func() (bool, error) {
		if err := b.receiver.releaseAll(ctx); err != nil {
			return false, err
		}
		inFlight, err := scrape(ctx, b.stack.CallbackMetricsURL, "webhook_attempts_in_flight")
		return inFlight == 0, err
	})
}
