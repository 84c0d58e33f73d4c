package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// patience is how long a test waits for what should happen.
const patience = 30 * time.Second

func TestReplayOverRedisAndRabbitMQ(t *testing.T) {
	behaves(t, func(t *testing.T) harness { return newReal(t) })
}

// real is a Redis and a RabbitMQ, in a namespace of its own, and what came out of it.
type real struct {
	t         *testing.T
	url       string
	namespace string
	store     *store.Store
	conn      *rabbit.Conn
	slice     int // commands
	working   bool
	sent      chan rabbit.Message
	buried    chan rabbit.Message
}

func newReal(t *testing.T) *real {
	t.Helper()
	namespace := testkit.Namespace(t)
	kept, err := store.Open(store.Options{URL: testkit.Redis(t), Namespace: namespace, Keyring: keyring.Ephemeral()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = kept.Close() })
	_, err = kept.PutResource(context.Background(), contract.Resource{Name: "orders"})
	require.NoError(t, err)
	r := &real{t: t, url: testkit.Rabbit(t), namespace: namespace, store: kept, slice: 2000, sent: make(chan rabbit.Message, 10000), buried: make(chan rabbit.Message, 10)}
	r.conn = r.open()
	r.background(func(ctx context.Context) error { return drain(ctx, r.conn, r.conn.Names().Commands, r.sent) })
	r.background(func(ctx context.Context) error { return drain(ctx, r.conn, r.conn.Names().Dead, r.buried) })
	return r
}

func (r *real) open() *rabbit.Conn {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := rabbit.Open(ctx, r.url, rabbit.Options{Namespace: r.namespace, Name: r.t.Name(), Log: zaptest.NewLogger(r.t)})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// start runs a worker until the test ends.
func (r *real) start(conn *rabbit.Conn, kept Store) {
	w := &Worker{
		Store: kept, Publisher: conn.Publisher(), Names: conn.Names(), Filters: expr.NewCache(10), Log: zaptest.NewLogger(r.t), Metrics: NewMetrics(prometheus.NewRegistry()),
		Rate: 2000, Now: time.Now,
	}
	w.limits = newLimits(w.Rate)
	w.limits.chunk = 5
	w.limits.commands = r.slice
	r.working = true
	r.background(func(ctx context.Context) error {
		if err := w.Run(ctx, conn, patience); !errors.Is(err, rabbit.ErrClosed) {
			return err
		}
		return nil
	})
}

func (r *real) background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		require.NoError(r.t, <-ended)
	})
}

func drain(ctx context.Context, conn *rabbit.Conn, queue string, into chan<- rabbit.Message) error {
	return conn.Consume(ctx, queue, rabbit.ConsumeOptions{}, func(_ context.Context, batch []*rabbit.Delivery) {
		for _, d := range batch {
			into <- d.Message
		}
		rabbit.AckAll(batch)
	})
}

func (r *real) subscribe(sub contract.Subscription) {
	r.t.Helper()
	sub.Resource, sub.Consumer, sub.CallbackURL, sub.Status, sub.CreatedAt = "orders", "con", "https://consumer.example/", contract.StatusActive, time.Now()
	_, created, err := r.store.CreateSubscription(context.Background(), sub)
	require.NoError(r.t, err)
	require.True(r.t, created)
}

func (r *real) change(id string, status contract.Status) {
	r.t.Helper()
	_, err := r.store.ChangeSubscription(context.Background(), id, func(s *contract.Subscription) error {
		s.Status = status
		return nil
	})
	require.NoError(r.t, err)
}

func (r *real) unsubscribe(id string) {
	require.NoError(r.t, r.store.DeleteSubscription(context.Background(), id))
}

func (r *real) archive(events ...contract.Archived) {
	r.t.Helper()
	r.publish(packs(r.t, r.conn.Names(), 150, events)...)
}

func (r *real) publish(messages ...rabbit.Message) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(r.t, r.conn.Publisher().Publish(ctx, messages...))
}

func (r *real) record(d contract.Delivery) {
	require.NoError(r.t, r.store.Record(context.Background(), []store.Record{{Delivery: d}}))
}

func (r *real) limit(commands int) { r.slice = commands }

func (r *real) ask(asked contract.Replay) {
	r.t.Helper()
	_, created, err := r.store.CreateReplay(context.Background(), asked)
	require.NoError(r.t, err)
	require.True(r.t, created)
	body, err := json.Marshal(job{asked.ID, asked.Subscription})
	require.NoError(r.t, err)
	r.job(rabbit.Message{ID: asked.ID, Body: body})
}

func (r *real) replay(asked contract.Replay) (ended contract.Replay) {
	r.t.Helper()
	r.ask(asked)
	return r.await(asked)
}

func (r *real) await(asked contract.Replay) (ended contract.Replay) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		var err error
		ended, err = r.store.Replay(context.Background(), asked.Subscription, asked.ID)
		return err == nil && ended.State != contract.ReplayRunning
	}, patience, 5*time.Millisecond)
	return ended
}

// all are the commands until now: those before a message that comes last.
func (r *real) all() []contract.Command {
	r.t.Helper()
	last := contract.NewID("last")
	r.publish(r.conn.Names().ToCommands(rabbit.Message{ID: last}))
	commands := []contract.Command{}
	for {
		m := r.take(r.sent)
		if m.ID == last {
			return commands
		}
		c, err := contract.DecodeCommand(m.ContentType, m.Headers, m.Body)
		require.NoError(r.t, err)
		require.Equal(r.t, c.Delivery, m.ID)
		commands = append(commands, c)
	}
}

func (r *real) commands(n int) []contract.Command {
	r.t.Helper()
	commands := r.all()
	require.Len(r.t, ids(commands), n)
	return commands
}

func (r *real) take(from <-chan rabbit.Message) rabbit.Message {
	r.t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(patience):
		r.t.Fatal("nothing came")
		return rabbit.Message{}
	}
}

func (r *real) job(m rabbit.Message) {
	r.t.Helper()
	if !r.working {
		r.start(r.conn, r.store)
	}
	r.publish(r.conn.Names().ToReplays(m))
}

func (r *real) dead() rabbit.Message { return r.take(r.buried) }

func (r *real) ahead(c contract.Command) string {
	r.t.Helper()
	pending := store.Pending{Delivery: c.Delivery, Subscription: c.Subscription, Resource: c.Resource, Line: c.Line()}
	standings, err := r.store.Standings(context.Background(), []store.Pending{pending})
	require.NoError(r.t, err)
	if standings[0].Ahead == nil {
		return ""
	}
	return standings[0].Ahead.ID
}

// mortal is the store of a worker that can die: nothing of it reaches Redis any more.
type mortal struct {
	*store.Store
	dead atomic.Bool
}

func (m *mortal) SaveReplay(ctx context.Context, r contract.Replay) error {
	if m.dead.Load() {
		return errors.New("dead")
	}
	return m.Store.SaveReplay(ctx, r)
}

func TestAfterACrashAnotherWorkerGoesOn(t *testing.T) {
	const n, slice = 400, 50
	r := newReal(t)
	r.limit(slice)
	r.subscribe(contract.Subscription{ID: "sub_1"})
	var events []contract.Archived
	for i := range n {
		events = append(events, event("orders", fmt.Sprint(i), "a"))
	}
	r.archive(events...)

	first, kept := r.open(), &mortal{Store: r.store}
	r.start(first, kept)
	asked := asked("sub_1")
	r.ask(asked)
	require.Eventually(t, func() bool { return len(r.sent) > n/3 }, patience, time.Millisecond)
	kept.dead.Store(true)
	require.NoError(t, first.Close())
	middle, err := r.store.Replay(context.Background(), "sub_1", asked.ID)
	require.NoError(t, err)
	require.Equal(t, contract.ReplayRunning, middle.State)
	require.Positive(t, middle.Next)

	r.start(r.conn, r.store)
	require.Equal(t, contract.ReplayDone, r.await(asked).State)
	times := map[string]int{}
	commands := r.all()
	for _, c := range commands {
		times[c.Event.ID()]++
		require.Equal(t, 1, c.Attempt, "of two with the same attempt the engine drops one")
	}
	require.Len(t, times, n, "all of them")
	require.LessOrEqual(t, len(commands)-n, slice+5, "what was sent twice is what the crash kept from being noted")
	t.Logf("%d of %d were sent twice", len(commands)-n, n)
}
