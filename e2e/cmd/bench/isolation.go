package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// isolation is figure c: the same healthy traffic without, and with as much again to endpoints that hang.
func (b *bench) isolation(ctx context.Context) error {
	half, err := b.halfLoad(ctx)
	if err != nil {
		return err
	}
	t := table{Figure: "c", Title: fmt.Sprintf("latency of healthy endpoints in ms, without and with as much traffic again to %d endpoints that hang %v; "+
		"median of %d windows of %v", b.hangingSubs, hangFor, b.rounds, b.window),
		Columns: []string{"p50 without", "p50 with", "p99 without", "p99 with", "p99 with/without"}}
	for _, rate := range []float64{float64(b.healthyRate), half / 2} {
		without, with, err := b.compareIsolation(ctx, rate)
		if err != nil {
			return err
		}
		ratio := with[1] / without[1]
		t.Rows = append(t.Rows, row{fmt.Sprintf("%.0f healthy events/s", rate), []float64{without[0], with[0], without[1], with[1], ratio}})
		b.report.atMost("c", fmt.Sprintf("p99 with / without, %.0f healthy events/s", rate), ratio, 1.25)
	}
	b.report.add(t)
	return nil
}

func (b *bench) compareIsolation(ctx context.Context, rate float64) (without, with []float64, err error) {
	healthy := load{"healthy", b.pipelines()[0], rate}
	var calm, troubled []window
	for range b.rounds {
		w, err := b.steady(ctx, healthy)
		if err != nil {
			return nil, nil, err
		}
		calm = append(calm, w)
		h, err := b.steadyWithHanging(ctx, healthy)
		if err != nil {
			return nil, nil, err
		}
		troubled = append(troubled, h)
		fmt.Fprintf(os.Stderr, "  %4.0f healthy/s  p99 %6.1f ms without, %6.1f ms with\n", rate, w.p99, h.p99)
	}
	return medianOf(calm), medianOf(troubled), nil
}

// steadyWithHanging runs a window with the other half of the traffic, then ends that half's subscriptions and calls.
func (b *bench) steadyWithHanging(ctx context.Context, healthy load) (w window, err error) {
	hanging, err := b.subscribeHanging(ctx, b.hangingSubs, nil)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, b.endHanging(ctx, hanging)) }()
	round := b.newRound()
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := publishPaced(both, b.loadTo(hanging, healthy.rate), round, b.window)
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
	p := pipeline{name: "hanging", publish: b.producer.Publish, message: func(round string, n int) (rabbit.Message, error) {
		return b.producer.Message(b.event(round, n, subs[n%len(subs)])), nil
	}}
	return load{p.name, p, rate}
}

// subscribeHanging makes subscriptions whose endpoints hang.
func (b *bench) subscribeHanging(ctx context.Context, count int, wish map[string]any) ([]subscription, error) {
	subs := make([]subscription, count)
	for i := range subs {
		b.typesUsed++
		endpoint := b.receiver.Endpoints[len(b.subs)+i%b.hangingSubs]
		sub, err := b.newSubscription(ctx, b.typesUsed, endpoint+"/hang", wish)
		if err != nil {
			return nil, err
		}
		subs[i] = sub
	}
	return subs, nil
}

// endHanging unsubscribes, so that nothing more is sent, and lets the calls under way end.
func (b *bench) endHanging(ctx context.Context, subs []subscription) error {
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
