package listener

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/index"
)

// patience is how long a test waits for what should happen.
const patience = 30 * time.Second

func TestListenerOverRedisAndRabbitMQ(t *testing.T) {
	behaves(t, func(t *testing.T) harness { return newReal(t) })
}

// real is a listener over a real Redis and a real RabbitMQ, in a namespace of its own.
type real struct {
	t      *testing.T
	store  *store.Store
	conn   *rabbit.Conn
	taken  chan rabbit.Message
	bulky  chan rabbit.Message
	buried chan rabbit.Message
	packs  chan rabbit.Message
}

func newReal(t *testing.T) *real {
	t.Helper()
	r := newIdle(t)
	l := r.listener(r.store)
	r.background(func(ctx context.Context) error { return l.Run(ctx, r.conn, patience) })
	return r
}

// newIdle has no listener yet.
func newIdle(t *testing.T) *real {
	t.Helper()
	namespace := testkit.Namespace(t)
	kept, err := store.Open(store.Options{URL: testkit.Redis(t), Namespace: namespace, Keyring: keyring.Ephemeral()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = kept.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := rabbit.Open(ctx, testkit.Rabbit(t), rabbit.Options{Namespace: namespace, Name: t.Name(), Log: zaptest.NewLogger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	r := &real{t: t, store: kept, conn: conn, taken: make(chan rabbit.Message, 10000), bulky: make(chan rabbit.Message, 10000), buried: make(chan rabbit.Message, 100), packs: make(chan rabbit.Message, 1000)}
	r.background(func(ctx context.Context) error { return drain(ctx, conn, conn.Names().Commands, r.taken) })
	r.background(func(ctx context.Context) error { return drain(ctx, conn, conn.Names().Bulk, r.bulky) })
	r.background(func(ctx context.Context) error { return drain(ctx, conn, conn.Names().Dead, r.buried) })
	r.background(func(ctx context.Context) error {
		return conn.ReadStream(ctx, conn.Names().Archive, rabbit.StreamOffset{First: true}, func(_ context.Context, batch []rabbit.StreamMessage) error {
			for _, m := range batch {
				r.packs <- m.Message
			}
			return nil
		})
	})
	return r
}

func (r *real) listener(kept index.Store) *Listener {
	return &Listener{
		Store: r.store, Index: index.New(kept, zaptest.NewLogger(r.t)), Publisher: r.conn.Publisher(), Names: r.conn.Names(), Filters: expr.NewCache(10), Log: zaptest.NewLogger(r.t), Metrics: NewMetrics(prometheus.NewRegistry()), Now: time.Now,
	}
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

func (r *real) names() rabbit.Names { return r.conn.Names() }

func (r *real) resource(name string) {
	r.t.Helper()
	_, err := r.store.PutResource(context.Background(), contract.Resource{Name: name})
	require.NoError(r.t, err)
}

func (r *real) subscribe(id, resource string, types ...string) {
	r.t.Helper()
	r.create(contract.Subscription{ID: id, Resource: resource, Types: types})
}

func (r *real) subscribeIf(id, resource, filter string) {
	r.t.Helper()
	r.create(contract.Subscription{ID: id, Resource: resource, Filter: filter})
}

func (r *real) subscribeInOrder(id, resource string) {
	r.t.Helper()
	r.create(contract.Subscription{ID: id, Resource: resource, Ordering: contract.OrderingSubject})
}

func (r *real) create(sub contract.Subscription) {
	r.t.Helper()
	sub.Consumer, sub.CallbackURL, sub.Status, sub.CreatedAt = "con", "https://consumer.example/"+sub.ID, contract.StatusActive, time.Now()
	_, created, err := r.store.CreateSubscription(context.Background(), sub)
	require.NoError(r.t, err)
	require.True(r.t, created)
}

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

func (r *real) send(messages ...rabbit.Message) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, m := range messages {
		messages[i] = r.conn.Names().ToEvents(m.RoutingKey, m)
	}
	require.NoError(r.t, r.conn.Publisher().Publish(ctx, messages...))
}

func (r *real) commands(n int) []rabbit.Message { return r.take(r.taken, n) }
func (r *real) bulk(n int) []rabbit.Message     { return r.take(r.bulky, n) }
func (r *real) listed(id string) contract.DeadLetter {
	var found []contract.DeadLetter
	require.Eventually(r.t, func() bool {
		var err error
		found, err = r.store.DeadLettersOf(context.Background(), []string{id})
		return err == nil && len(found) == 1
	}, patience, 5*time.Millisecond, id)
	return found[0]
}

func (r *real) dead(n int) []rabbit.Message { return r.take(r.buried, n) }

func (r *real) take(from <-chan rabbit.Message, n int) []rabbit.Message {
	r.t.Helper()
	deadline := time.After(patience)
	found := make([]rabbit.Message, 0, n)
	for len(found) < n {
		select {
		case m := <-from:
			found = append(found, m)
		case <-deadline:
			r.t.Fatalf("%d of %d came", len(found), n)
		}
	}
	select {
	case m := <-from:
		r.t.Fatalf("one too many came: %v", m.RoutingKey)
	default:
	}
	return found
}

func (r *real) archived(resource string, n int) []contract.Archived {
	r.t.Helper()
	var found []contract.Archived
	for deadline := time.After(patience); len(found) < n; {
		select {
		case m := <-r.packs:
			found = append(found, ofResource(r.t, m, resource)...)
		case <-deadline:
			r.t.Fatalf("%d of %d are archived", len(found), n)
		}
	}
	require.Equal(r.t, n, len(found))
	return found
}

// away is a store that can't be asked.
type away struct{ *store.Store }

func (away) Look(context.Context, store.Anchor, []string, []store.EventKey) (store.Look, error) {
	return store.Look{}, errors.New("away")
}

func TestTheNextListenerGetsTheEventsInOrder(t *testing.T) {
	const n = 3 * maxBatch
	r := newIdle(t)
	r.resource("orders")
	r.subscribe("sub_1", "orders")
	var events []rabbit.Message
	for i := range n {
		events = append(events, someEvent(i))
	}
	r.send(events...)
	first, stop := context.WithCancel(context.Background())
	stuck := r.listener(away{r.store})
	stuck.Wait = func(context.Context, int) { stop() } // with a batch under way, and another one fetched
	require.NoError(t, stuck.Run(first, r.conn, patience))

	l := r.listener(r.store)
	r.background(func(ctx context.Context) error { return l.Run(ctx, r.conn, patience) })
	for i, c := range decode(t, r.commands(n)) {
		require.Equal(t, fmt.Sprint("e", i), c.Event.ID())
	}
}

// blocked is a broker that takes messages and confirms none.
type blocked struct{ taken func() }

func (b blocked) Publish(ctx context.Context, _ ...rabbit.Message) error {
	b.taken()
	<-ctx.Done()
	return ctx.Err()
}

func TestTheEndDoesNotWaitForABrokerThatBlocks(t *testing.T) {
	r := newIdle(t)
	r.resource("orders")
	r.subscribe("sub_1", "orders")
	r.send(someEvent(1))
	first, stop := context.WithCancel(context.Background())
	stuck := r.listener(r.store)
	stuck.Publisher = blocked{stop}
	begin := time.Now()
	require.NoError(t, stuck.Run(first, r.conn, 10*time.Millisecond))
	require.Less(t, time.Since(begin), publishTimeout)

	l := r.listener(r.store)
	r.background(func(ctx context.Context) error { return l.Run(ctx, r.conn, patience) })
	r.commands(1)
}
