package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

const (
	publishBatch = 100
	publishers   = 4
	warmUp       = 500
	// stuckAfter is how long a round may take before it is given up.
	stuckAfter = 3 * time.Minute
)

// pipeline is one way from a message on the broker to the endpoint.
type pipeline struct {
	name    string
	message func(round string, n int) (rabbit.Message, error)
	publish func(ctx context.Context, messages ...rabbit.Message) error
	// settled says how many messages the pipeline is done with; nil where the endpoint's count tells.
	settled func(ctx context.Context) (float64, error)
	// bare is the helper to start for the pipeline; nil for the stack's own services.
	bare *bare
}

// sample is what one round showed.
type sample struct {
	perSecond float64
	// cpu is the CPU time per delivery by process, in milliseconds; foreign is what others on the machine used.
	cpu     map[string]float64
	foreign float64
}

func (b *bench) pipelines() []pipeline {
	targets := make([]string, len(b.subs))
	for i, sub := range b.subs {
		targets[i] = sub.endpoint
	}
	straight := &bare{AMQPURL: b.stack.AMQPURL, Key: b.key, Prefetch: b.prefetch, Targets: targets}
	through := &bare{AMQPURL: b.stack.AMQPURL, Key: b.key, Prefetch: b.prefetch, Targets: targets, Gateway: b.stack.GatewayURL + contract.CallbackPath}
	toBare := func(round string, n int) (rabbit.Message, error) { return b.toBare(round, n), nil }
	toEvents := func(round string, n int) (rabbit.Message, error) { return b.toEvents(round, n), nil }
	own, other := b.producer.Publish, b.queue.Publisher().Publish
	return []pipeline{
		{name: "whole", message: toEvents, publish: own, settled: b.deliveriesSettled},
		{name: "bare through gateway", message: toBare, publish: other, bare: through},
		{name: "from commands on", message: b.toCommands, publish: own, settled: b.deliveriesSettled},
		{name: "bare without gateway", message: toBare, publish: other, bare: straight},
	}
}

// throughput is figure a.
func (b *bench) throughput(ctx context.Context) error {
	pipelines := b.pipelines()
	samples := make([][]sample, len(pipelines))
	stop := b.startProfiles(ctx)
	defer stop()
	for range b.rounds {
		for i, p := range pipelines {
			s, err := b.measureOnce(ctx, p, b.events)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			fmt.Fprintf(os.Stderr, "  %-22s %6.0f/s\n", p.name, s.perSecond)
			samples[i] = append(samples[i], s)
		}
	}
	b.reportThroughput(pipelines, samples)
	return nil
}

// measureOnce runs one round: the pipeline warm, published as fast as the broker confirms, until the last callback.
func (b *bench) measureOnce(ctx context.Context, p pipeline, events int) (s sample, err error) {
	running, err := b.processes()
	if err != nil {
		return s, err
	}
	if p.bare != nil {
		helper, err := startChild(roleBare, p.bare, new(bool))
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, helper.stop()) }()
		running = running.with("bench: bare", helper.pid())
	}
	if _, err := b.runThrough(ctx, p, warmUp); err != nil {
		return s, err
	}
	before, machine := running.cpu(), machineCPU()
	took, err := b.runThrough(ctx, p, events)
	if err != nil {
		return s, err
	}
	return newSample(events, took, before, running.cpu(), machineCPU()-machine), nil
}

// processes are those of the stack and of the bench.
func (b *bench) processes() (processes, error) {
	running, err := findProcesses(b.runDir)
	if err != nil {
		return nil, err
	}
	return running.with("bench: receiver", b.receiver.pid()).with("bench: producer", os.Getpid()), nil
}

func newSample(events int, took time.Duration, before, after map[string]time.Duration, machine time.Duration) sample {
	s := sample{perSecond: float64(events) / took.Seconds(), cpu: map[string]float64{}, foreign: machine.Seconds()}
	for name, used := range after {
		s.cpu[name] = (used - before[name]).Seconds() * 1e3 / float64(events)
		s.foreign -= (used - before[name]).Seconds()
	}
	s.foreign *= 1e3 / float64(events)
	return s
}

// runThrough publishes and waits until all has arrived and is settled. It returns the time from the first publish to
// the last callback.
func (b *bench) runThrough(ctx context.Context, p pipeline, events int) (time.Duration, error) {
	if err := b.receiver.forget(ctx); err != nil {
		return 0, err
	}
	settled, err := p.settledNow(ctx)
	if err != nil {
		return 0, err
	}
	round, begin := b.newRound(), time.Now()
	if err := publishAll(ctx, p, round, events); err != nil {
		return 0, err
	}
	got, err := b.receiver.wait(ctx, events, stuckAfter)
	if err != nil {
		return 0, err
	}
	return time.Unix(0, got.Last).Sub(begin), p.awaitSettled(ctx, settled+float64(events))
}

func publishAll(ctx context.Context, p pipeline, round string, events int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(publishers)
	for first := 0; first < events; first += publishBatch {
		group.Go(func() error {
			messages := make([]rabbit.Message, min(publishBatch, events-first))
			for i := range messages {
				m, err := p.message(round, first+i)
				if err != nil {
					return err
				}
				messages[i] = m
			}
			return p.publish(ctx, messages...)
		})
	}
	return group.Wait()
}

func (p pipeline) settledNow(ctx context.Context) (float64, error) {
	if p.settled == nil {
		return 0, nil
	}
	return p.settled(ctx)
}

// awaitSettled waits for what follows the callbacks: its cost belongs to the round, and not to the next one.
func (p pipeline) awaitSettled(ctx context.Context, n float64) error {
	if p.settled == nil {
		return nil
	}
	return poll(ctx, 30*time.Second, "deliveries are not settled", func() (bool, error) {
		now, err := p.settled(ctx)
		return now >= n, err
	})
}

// deliveriesSettled is the callback service's own count.
func (b *bench) deliveriesSettled(ctx context.Context) (float64, error) {
	return scrape(ctx, b.stack.CallbackMetricsURL, "webhook_deliveries_total")
}

func (b *bench) reportThroughput(pipelines []pipeline, samples [][]sample) {
	rate := make([]float64, len(pipelines))
	for i := range pipelines {
		rate[i] = median(valuesOf(samples[i], func(s sample) float64 { return s.perSecond }))
	}
	whole, bareGateway, bareStraight := rate[0], rate[1], rate[3]
	b.perSecond = whole
	rows := make([]row, len(pipelines))
	for i, p := range pipelines {
		rows[i] = row{p.name, []float64{rate[i], rate[i] / bareGateway, rate[i] / bareStraight}}
	}
	b.report.add(table{Figure: "a", Title: fmt.Sprintf("throughput, %d events, median of %d alternating rounds", b.events, b.rounds),
		Columns: []string{"per second", "of bare through gateway", "of bare without gateway"}, Rows: rows,
		Notes: []string{
			"whole: event → listener → command → callback service → gateway → endpoint; from commands on: without the listener",
			fmt.Sprintf("bare: consume → POST → ack, a statement where the gateway demands one, nothing else; same queue arguments, prefetch %d", b.prefetch),
		}})
	b.report.add(costTable(pipelines, samples))
	b.report.atLeast("a", "throughput of the whole pipeline / bare through the gateway", whole/bareGateway, 0.7)
	b.report.atLeast("a", "deliveries per second, 2.5 times Outpost's 1,536", whole, 2.5*1536)
}

// costTable shows where the time goes.
func costTable(pipelines []pipeline, samples [][]sample) table {
	t := table{Figure: "a", Title: "CPU per delivery, in milliseconds, by process"}
	names := map[string]bool{}
	for i, p := range pipelines {
		t.Columns = append(t.Columns, p.name)
		for name := range samples[i][0].cpu {
			names[name] = true
		}
	}
	var total, project, foreign row
	for _, name := range slices.Sorted(maps.Keys(names)) {
		r := row{Name: name}
		for i := range pipelines {
			r.Values = append(r.Values, median(valuesOf(samples[i], func(s sample) float64 { return s.cpu[name] })))
		}
		total.add(r.Values)
		if slices.Contains(ours, name) {
			project.add(r.Values)
		}
		t.Rows = append(t.Rows, r)
	}
	for i := range pipelines {
		foreign.Values = append(foreign.Values, median(valuesOf(samples[i], func(s sample) float64 { return s.foreign })))
	}
	total.Name, project.Name, foreign.Name = "all of them", "of them, this project's", "others on this machine"
	t.Rows = append(t.Rows, total, project, foreign, row{"bare through gateway / this", ratios(total.Values[min(1, len(pipelines)-1)], total.Values)})
	t.Notes = []string{"the last row is what throughput tends to where the CPU is the limit; it is steadier than throughput on a machine that others use"}
	return t
}

func ratios(of float64, to []float64) []float64 {
	all := make([]float64, len(to))
	for i, v := range to {
		all[i] = of / v
	}
	return all
}

func (r *row) add(values []float64) {
	if r.Values == nil {
		r.Values = make([]float64, len(values))
	}
	for i, v := range values {
		r.Values[i] += v
	}
}

func valuesOf[T any](of []T, value func(T) float64) []float64 {
	values := make([]float64, 0, len(of))
	for _, x := range of {
		if v := value(x); !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	return values
}
