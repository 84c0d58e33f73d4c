package rabbit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestWhatGoesThroughTheBrokerIsCounted(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	ctx := background(t)
	if err := c.Publisher().Publish(ctx, each(numbered(3), c.Names().ToCommands)...); err != nil {
		t.Fatal(err)
	}
	lost := c.Names().ToCommands(Message{ID: "lost"})
	lost.RoutingKey = "nowhere"
	if c.Publisher().Publish(ctx, lost) == nil {
		t.Fatal("nobody takes it")
	}
	got, stop := collect(t, c, c.Names().Commands, ConsumeOptions{})
	for range 3 {
		receive(t, got).Ack()
	}
	m := c.metrics
	if up := testutil.ToFloat64(m.up.WithLabelValues("commands")); up != 1 {
		t.Errorf("the consumer's connection is %v", up)
	}
	for what, c := range map[string]struct {
		counter prometheus.Collector
		want    float64
	}{
		"confirmed": {m.confirmed, 3}, "returned": {m.returned, 1}, "nacked": {m.nacked, 0}, "failed": {m.failed, 0},
		"taken": {m.taken.WithLabelValues("commands"), 3}, "redelivered": {m.redelivered.WithLabelValues("commands"), 0},
	} {
		if n := testutil.ToFloat64(c.counter); n != c.want {
			t.Errorf("%s: %v, want %v", what, n, c.want)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(m.up); n != 1 {
		t.Errorf("%d connections are told of: one that was closed is not down", n)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	testkit.LintMetrics(t, registry)
}

func TestTheDepthsOfQueuesAreWatched(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	if err := c.Publisher().Publish(background(t), each(numbered(5), func(m Message) Message { return c.Names().ToDead("a test", m) })...); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	m := NewMetrics()
	w := &watch{name: t.Name(), log: zap.New(core), metrics: m, names: c.Names()}
	w.to, _ = endpointOf(url, nil)
	ctx, cancel := context.WithCancel(background(t))
	defer w.drop()
	defer cancel()
	queues := []string{"not-there", c.Names().Dead, c.Names().Events}
	eventually(t, "the depth is known", func() bool { // the broker counts a moment later
		w.report(ctx, w.look(ctx, queues))
		return testutil.ToFloat64(m.messages.WithLabelValues("dead")) == 5
	})
	if n := testutil.CollectAndCount(m.consumers); n != 2 {
		t.Errorf("%d queues have figures, and one is not there", n)
	}
	w.report(ctx, w.look(ctx, queues))
	if logs.Len() != 1 {
		t.Errorf("logged %d times", logs.Len())
	}
	w.report(ctx, w.look(ctx, queues[1:]))
	if last := logs.All()[logs.Len()-1]; logs.Len() != 2 || last.Level != zap.InfoLevel {
		t.Errorf("the end of the fault is told by %+v", last)
	}
	w.drop()
	w.to.url = "amqp://127.0.0.1:1/"
	if w.look(ctx, queues) == nil || testutil.CollectAndCount(m.messages) != 0 {
		t.Error("without the broker there are old figures")
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	noLeaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	core, logs := observer.New(zap.WarnLevel)
	ended.Go(func() {
		if err := Watch(ctx, "amqp://127.0.0.1:1/", Options{Log: zap.New(core), Metrics: NewMetrics()}, "q"); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "it says that it can't tell", func() bool { return logs.Len() == 1 })
	cancel()
	ended.Wait()
	if Watch(context.Background(), "http://", Options{}, "q") == nil {
		t.Error("no broker has that URL")
	}
}

func TestWhenAnEventWasPublished(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_123)
	for name, c := range map[string]struct {
		message Message
		age     time.Duration
		known   bool
	}{
		"nobody says":                   {Message{}, 0, false},
		"the header":                    {Message{Headers: map[string]any{HeaderPublished: now.UnixMilli() - 7}, Timestamp: now.Add(-time.Hour)}, 7 * time.Millisecond, true},
		"whole seconds, too short":      {Message{Timestamp: now.Add(-time.Second).Truncate(time.Second)}, 0, false},
		"whole seconds":                 {Message{Timestamp: now.Add(-time.Minute)}, time.Minute, true},
		"a clock that is ahead":         {Message{Headers: map[string]any{HeaderPublished: now.UnixMilli() + 1}}, 0, false},
		"something else than that time": {Message{Timestamp: now.Add(-365 * 24 * time.Hour)}, 0, false},
		"no number":                     {Message{Headers: map[string]any{HeaderPublished: "yesterday"}}, 0, false},
	} {
		at, known := c.message.Published(now)
		if known != c.known || known && now.Sub(at) != c.age {
			t.Errorf("%s: %v, %v", name, now.Sub(at), known)
		}
	}
}

var errAny = errors.New("any")

func TestABatchThatFailedCountsAsNotPublished(t *testing.T) {
	m := NewMetrics()
	m.tried(2, time.Second, errAny)
	m.tried(3, time.Second, errors.Join(ErrNacked, errAny))
	m.tried(4, time.Second, &ReturnedError{})
	if f, n, r := testutil.ToFloat64(m.failed), testutil.ToFloat64(m.nacked), testutil.ToFloat64(m.returned); f != 2 || n != 3 || r != 4 {
		t.Errorf("failed %v, nacked %v, returned %v", f, n, r)
	}
}
