package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// traffic is figure e: what a delivery costs in messages to Redis and to the broker at full load. The services reach the
// broker through a counter of frames, where the stack is ours to start again.
func (b *bench) traffic(ctx context.Context) error {
	counter, err := b.throughCounter(ctx)
	if err != nil {
		return err
	}
	if counter != nil {
		defer counter.close()
	}
	var samples []map[string]float64
	for range b.rounds {
		s, err := b.trafficOnce(ctx, counter)
		if err != nil {
			return err
		}
		samples = append(samples, s)
	}
	b.reportTraffic(samples)
	if counter == nil {
		return nil
	}
	return b.restart(ctx) // without the counter
}

// throughCounter starts the services with the counter before the broker.
func (b *bench) throughCounter(ctx context.Context) (*frameCounter, error) {
	if os.Getenv("E2E_STACK") == "" {
		return nil, nil
	}
	broker, err := url.Parse(b.stack.AMQPURL)
	if err != nil {
		return nil, errors.New("the broker's URL cannot be read") // the error would quote it, and with it the password
	}
	counter, err := countFrames(ctx, broker.Host)
	if err != nil {
		return nil, err
	}
	if err := b.restart(ctx, "STACK_VIA_AMQP="+counter.address()); err != nil {
		return nil, err
	}
	return counter, nil
}

// restart takes the stack down and up again with other settings.
func (b *bench) restart(ctx context.Context, settings ...string) error {
	control, err := world.NewControl()
	if err != nil {
		return err
	}
	if err := b.disconnect(); err != nil {
		return err
	}
	control = control.With(settings...)
	for _, verb := range []string{"down", "up"} {
		if err := control.Do(ctx, verb); err != nil {
			return err
		}
	}
	return b.connectBroker(ctx)
}

// Names of the samples.
const (
	redisExecuted = "Redis: commands executed, those inside scripts included"
	redisSent     = "Redis: sent by the services, commands"
	redisTrips    = "Redis: sent by the services, round trips"
	redisReads    = "Redis: socket reads, at least one per round trip"
	amqpMessages  = "AMQP: messages"
	amqpFrames    = "AMQP: frames"
	amqpReads     = "AMQP: reads of the sockets"
	attempts      = "attempts"
	parked        = "parked at the broker to wait for a turn"
)

// trafficOnce counts over one round, per delivery.
func (b *bench) trafficOnce(ctx context.Context, counter *frameCounter) (map[string]float64, error) {
	whole := b.pipelines()[0]
	if _, err := b.runThrough(ctx, whole, warmUp); err != nil {
		return nil, err
	}
	before, err := b.counts(ctx, counter)
	if err != nil {
		return nil, err
	}
	if _, err := b.runThrough(ctx, whole, b.events); err != nil {
		return nil, err
	}
	after, err := b.counts(ctx, counter)
	for name := range after {
		after[name] = (after[name] - before[name]) / float64(b.events)
	}
	return after, err
}

func (b *bench) counts(ctx context.Context, counter *frameCounter) (map[string]float64, error) {
	info, err := redisInfo(ctx, b.stack.RedisURL)
	if err != nil {
		return nil, err
	}
	counts := map[string]float64{redisReads: info["total_reads_processed"], redisExecuted: 0}
	for name, calls := range info {
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
			counts["Redis: of them, "+command] += calls
			counts[redisExecuted] += calls
		}
	}
	if err := b.countOwn(ctx, counts); err != nil {
		return nil, err
	}
	if counter != nil {
		counts[amqpMessages] = float64(counter.sent.messages.Load() + counter.received.messages.Load())
		counts[amqpFrames] = float64(counter.sent.all.Load() + counter.received.all.Load())
		counts[amqpReads] = float64(counter.sent.reads.Load() + counter.received.reads.Load())
	}
	return counts, nil
}

// countOwn adds what the services say of themselves; nothing where one of those that take part in a delivery does not.
func (b *bench) countOwn(ctx context.Context, counts map[string]float64) error {
	both := []string{b.stack.CallbackMetricsURL, b.stack.ListenerMetricsURL}
	for _, c := range []struct {
		name, metric string
		services     []string
	}{
		{redisSent, "webhook_redis_commands_total", both},
		{redisTrips, "webhook_redis_round_trips_total", both},
		{attempts, "webhook_attempts_total", both[:1]},
		{parked, "webhook_parked_total", both[:1]},
	} {
		values := make([]float64, len(c.services))
		for i, url := range c.services {
			var err error
			if values[i], err = scrape(ctx, url, c.metric); err != nil {
				return err
			}
		}
		if !slices.Contains(values, 0) {
			for _, n := range values {
				counts[c.name] += n
			}
		}
	}
	return nil
}

func (b *bench) reportTraffic(samples []map[string]float64) {
	found := map[string]float64{}
	for _, name := range namesOf(samples) {
		found[name] = median(valuesOf(samples, func(s map[string]float64) float64 { return s[name] }))
	}
	t := table{Figure: "e", Title: fmt.Sprintf("messages to Redis and to the broker per delivery at full load, median of %d rounds of %d", b.rounds, b.events),
		Columns: []string{"per delivery"}, Notes: []string{"AMQP: of the services alone, both ways, without heartbeats"}}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if found[name] >= 0.001 {
			t.Rows = append(t.Rows, row{name, []float64{found[name]}})
		}
	}
	b.report.add(t)
	b.report.atMost("e", redisExecuted, found[redisExecuted], 4)
	b.report.atMost("e", "Redis: round trips", max(found[redisTrips], tripsSeen(found)), 0.1)
}

// tripsSeen is what Redis itself knows of round trips, where the services do not count theirs.
func tripsSeen(found map[string]float64) float64 {
	if found[redisSent] > 0 {
		return 0
	}
	return found[redisReads]
}

func namesOf(samples []map[string]float64) []string {
	names := map[string]float64{}
	for _, s := range samples {
		maps.Copy(names, s)
	}
	return slices.Collect(maps.Keys(names))
}
