package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

const (
	// leadIn is how much of a window is not counted: connections are opened and caches filled in it.
	leadIn = 2 * time.Second
	// steadyRate is the load, in events per second, of a system that has little to do.
	steadyRate = 100
	// burst is how far two publishes lie apart at least: a producer of a thousand events per second publishes several at a time.
	burst = 5 * time.Millisecond
)

// window is what one stretch of steady traffic showed, in milliseconds.
type window struct {
	p50, p99, achieved float64
	sample             // the CPU time of its deliveries
}

// latency is figure b.
func (b *bench) latency(ctx context.Context) error {
	half, err := b.halfLoad(ctx)
	if err != nil {
		return err
	}
	loads := []load{
		{"whole, 100/s", b.pipelines()[0], steadyRate}, {"bare through gateway, 100/s", b.pipelines()[1], steadyRate},
		{"whole, half load", b.pipelines()[0], half}, {"bare through gateway, as many", b.pipelines()[1], half},
	}
	windows := make([][]window, len(loads))
	for range b.rounds {
		for i, l := range loads {
			w, err := b.steady(ctx, l)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			fmt.Fprintf(os.Stderr, "  %-30s p50 %6.1f ms  p99 %6.1f ms\n", l.name, w.p50, w.p99)
			windows[i] = append(windows[i], w)
		}
	}
	b.reportLatency(loads, windows)
	return nil
}

func (b *bench) reportLatency(loads []load, windows [][]window) {
	t := table{Figure: "b", Title: fmt.Sprintf("latency publish → callback in ms, median of %d windows of %v", b.rounds, b.window),
		Columns: []string{"p50", "p99", "events per second"}}
	for i, l := range loads {
		t.Rows = append(t.Rows, row{l.name, medianOf(windows[i])})
	}
	b.report.add(t)
	b.report.add(windowCosts(loads, windows))
	b.report.atMost("b", "p50 at 100/s, ms", t.Rows[0].Values[0], 5)
	b.report.atMost("b", "p99 at 100/s, ms", t.Rows[0].Values[1], 20)
	b.report.atMost("b", "p99 at half load, ms", t.Rows[2].Values[1], 50)
}

// windowCosts shows whether a load's latency is that of a machine which has nothing left to give.
func windowCosts(loads []load, windows [][]window) table {
	pipelines, samples := make([]pipeline, len(loads)), make([][]sample, len(loads))
	for i, l := range loads {
		pipelines[i] = pipeline{name: l.name}
		for _, w := range windows[i] {
			samples[i] = append(samples[i], w.sample)
		}
	}
	t := costTable(pipelines, samples)
	t.Figure = "b"
	return t
}

func medianOf(windows []window) []float64 {
	return []float64{
		median(valuesOf(windows, func(w window) float64 { return w.p50 })),
		median(valuesOf(windows, func(w window) float64 { return w.p99 })),
		median(valuesOf(windows, func(w window) float64 { return w.achieved })),
	}
}

// halfLoad is half of what figure a found; without figure a it is found here.
func (b *bench) halfLoad(ctx context.Context) (float64, error) {
	if b.perSecond == 0 {
		s, err := b.measureOnce(ctx, b.pipelines()[0], b.events)
		if err != nil {
			return 0, err
		}
		b.perSecond = s.perSecond
	}
	return b.perSecond / 2, nil
}

// load is steady traffic through a pipeline.
type load struct {
	name string
	pipeline
	rate float64
}

// steady runs one window and waits until the pipeline is empty again.
func (b *bench) steady(ctx context.Context, l load) (w window, err error) {
	running, err := b.processes()
	if err != nil {
		return w, err
	}
	if l.bare != nil {
		helper, err := startChild(roleBare, l.bare, new(bool))
		if err != nil {
			return w, err
		}
		defer func() { _ = helper.stop() }() // it has nothing left to do
		running = running.with("bench: bare", helper.pid())
	}
	before, machine := running.cpu(), machineCPU()
	if err := b.receiver.forget(ctx); err != nil {
		return w, err
	}
	sent, err := publishPaced(ctx, l, b.newRound(), b.window)
	if err != nil {
		return w, err
	}
	got, err := b.receiver.wait(ctx, sent, stuckAfter)
	if err != nil {
		return w, err
	}
	counted := got.Latencies[min(int(l.rate*leadIn.Seconds()), len(got.Latencies)/2):]
	cost := newSample(sent, b.window, before, running.cpu(), machineCPU()-machine)
	return window{percentile(counted, 0.5), percentile(counted, 0.99), float64(sent) / b.window.Seconds(), cost}, nil
}

// publishPaced publishes at a rate, whether or not what was published before has been confirmed: a pipeline that is slow
// for a moment does not slow its producers down, and so does not hide it.
func publishPaced(ctx context.Context, l load, round string, window time.Duration) (sent int, err error) {
	var publishing sync.WaitGroup
	failed := make(chan error, 1)
	begin := time.Now()
	for pace := newPace(begin, l.rate, window); pace.next(ctx); {
		messages := make([]rabbit.Message, 0, 8)
		for ; sent < pace.due; sent++ {
			m, err := l.message(round, sent)
			if err != nil {
				return sent, err
			}
			messages = append(messages, m)
		}
		publishing.Go(func() {
			if err := l.publish(ctx, messages...); err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	publishing.Wait()
	select {
	case err = <-failed:
	default:
		err = ctx.Err()
	}
	return sent, err
}

// pace tells how many events are due.
type pace struct {
	begin time.Time
	rate  float64
	total int
	due   int
	last  time.Time
}

func newPace(begin time.Time, rate float64, window time.Duration) *pace {
	return &pace{begin: begin, rate: rate, total: int(rate * window.Seconds())}
}

// next waits until more events are due; false when there are no more.
func (p *pace) next(ctx context.Context) bool {
	if p.due >= p.total {
		return false
	}
	at := p.begin.Add(time.Duration(float64(p.due) / p.rate * float64(time.Second)))
	if soonest := p.last.Add(burst); at.Before(soonest) {
		at = soonest
	}
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	p.last = time.Now()
	p.due = min(p.total, p.dueAt(p.last))
	return true
}

func (p *pace) dueAt(now time.Time) int { return int(now.Sub(p.begin).Seconds()*p.rate) + 1 }
