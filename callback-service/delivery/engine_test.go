package delivery

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// brokerNamespace is one for all tests here: the queues are many and slow to make. What a test leaves in them is for
// subscriptions that the next one does not know.
const brokerNamespace = "test-callback-service"

// bench is an engine over real Redis and RabbitMQ; only the gateway is scripted.
type bench struct {
	Options
	store  *store.Store
	broker *rabbit.Conn
	engine *Engine
	calls  chan gateway.Call
	sub    contract.Subscription
	stop   context.CancelFunc
	done   chan error
	tag    string
}

// scripted answers the n-th call, counted from 1.
type scripted struct {
	mu     sync.Mutex
	n      int
	calls  chan gateway.Call
	answer func(ctx context.Context, n int) (gateway.Answer, error)
}

func (g *scripted) Do(ctx context.Context, call gateway.Call) (gateway.Answer, error) {
	g.mu.Lock()
	g.n++
	n := g.n
	g.mu.Unlock()
	g.calls <- call
	return g.answer(ctx, n)
}

func status(codes ...int) func(context.Context, int) (gateway.Answer, error) {
	return func(_ context.Context, n int) (gateway.Answer, error) {
		return gateway.Answer{Outcome: contract.OutcomeResponse, Status: codes[min(n, len(codes))-1]}, nil
	}
}

func start(t *testing.T, answer func(context.Context, int) (gateway.Answer, error)) *bench {
	t.Helper()
	kept, err := store.Open(store.Options{URL: testkit.Redis(t), Namespace: testkit.Namespace(t), Keyring: keyring.Ephemeral()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = kept.Close() })
	broker, err := rabbit.Open(t.Context(), testkit.AMQP(t), rabbit.Options{Namespace: brokerNamespace, Name: t.Name()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = broker.Close() })
	b := &bench{store: kept, broker: broker, calls: make(chan gateway.Call, 1000), done: make(chan error, 1), tag: contract.NewID("")}
	b.Options = Options{
		Store: kept, Gateway: &scripted{calls: b.calls, answer: answer}, Transforms: expr.NewCache(10), Log: zaptest.NewLogger(t), InFlight: 100,
		Policy: contract.DeliveryPolicy{
			RetrySchedule: []contract.Duration{contract.Duration(10 * time.Millisecond), contract.Duration(20 * time.Millisecond)},
			Timeouts:      contract.Timeouts{Total: contract.Duration(time.Second)},
		},
		DisableAfter: time.Hour, Drain: 5 * time.Second, Now: time.Now, Origin: "webhooks.example",
	}
	b.subscribe(t)
	b.run(t)
	return b
}

func (b *bench) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	b.Metrics = NewMetrics(prometheus.NewRegistry())
	engine := New(b.Options)
	b.engine = engine
	go func() { b.done <- engine.Run(ctx, b.broker) }()
	t.Cleanup(func() { b.halt(t) })
}

// restart runs another engine with changed options.
func (b *bench) restart(t *testing.T, change func(*Options)) {
	t.Helper()
	b.halt(t)
	change(&b.Options)
	b.run(t)
}

// replica runs a second engine with the same options.
func (b *bench) replica(t *testing.T) {
	t.Helper()
	o := b.Options
	o.Metrics = NewMetrics(prometheus.NewRegistry())
	engine, done := New(o), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- engine.Run(ctx, b.broker) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
}

func (b *bench) change(t *testing.T, change func(*contract.Subscription)) {
	t.Helper()
	_, err := b.store.ChangeSubscription(t.Context(), b.sub.ID, func(s *contract.Subscription) error { change(s); return nil })
	require.NoError(t, err)
}

// halt stops the engine; a second halt is harmless.
func (b *bench) halt(t *testing.T) {
	t.Helper()
	if b.stop == nil {
		return
	}
	b.stop()
	b.stop = nil
	require.NoError(t, <-b.done)
}

func (b *bench) subscribe(t *testing.T) {
	t.Helper()
	_, err := b.store.PutResource(t.Context(), contract.Resource{Name: "orders"})
	require.NoError(t, err)
	b.sub, _, err = b.store.CreateSubscription(t.Context(), contract.Subscription{
		ID: contract.NewID("sub"), Consumer: "con_1", Resource: "orders", CallbackURL: "https://consumer.example/hooks",
		Format: contract.FormatData, Status: contract.StatusActive, Confidential: contract.Confidential{Secrets: []contract.Secret{{Value: secretOne}}}, CreatedAt: time.Now(),
	})
	require.NoError(t, err)
}

const secretOne = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // #nosec G101 -- the example of the specification

func command(contentType, data string) contract.Command {
	e := event.New()
	e.SetID("id-1")
	e.SetSource("/shop")
	e.SetType("order.created")
	e.SetDataContentType(contentType)
	e.DataEncoded = []byte(data)
	return contract.Command{Delivery: "dlv_1", Subscription: "sub_1", Resource: "orders", Attempt: 1, Created: noon, Event: &e}
}

// id is that of one of this test's deliveries: the queue is shared with other tests.
func (b *bench) id(name string) string { return "dlv_" + name + b.tag }

func (b *bench) message(id string, attempt int) rabbit.Message {
	cmd := command("application/json", `{"id":"`+id+`"}`)
	cmd.Delivery, cmd.Subscription, cmd.Attempt = b.id(id), b.sub.ID, attempt
	return b.broker.Names().ToCommands(rabbit.CommandMessage(cmd))
}

func (b *bench) send(t *testing.T, messages ...rabbit.Message) {
	t.Helper()
	require.NoError(t, b.broker.Publisher().Publish(t.Context(), messages...))
}

func (b *bench) call(t *testing.T) gateway.Call {
	t.Helper()
	select {
	case c := <-b.calls:
		return c
	case <-time.After(20 * time.Second):
		t.Fatal("no call was made")
		return gateway.Call{}
	}
}

func (b *bench) settledAs(t *testing.T, id string, want contract.DeliveryStatus) contract.Delivery {
	t.Helper()
	var d contract.Delivery
	require.Eventually(t, func() bool {
		var err error
		d, err = b.store.Delivery(t.Context(), b.sub.ID, id)
		return err == nil && d.Status == want
	}, 20*time.Second, 5*time.Millisecond, "%s does not become %s", id, want)
	return d
}

// deadLetter takes this test's dead letter, and drops those that others left.
func (b *bench) deadLetter(t *testing.T, id string) rabbit.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var letter *rabbit.Message
	err := b.broker.Consume(ctx, b.broker.Names().Dead, rabbit.ConsumeOptions{Prefetch: 1}, func(_ context.Context, batch []*rabbit.Delivery) {
		if batch[0].ID == id {
			letter = &batch[0].Message
			cancel()
		}
		rabbit.AckAll(batch)
	})
	require.NoError(t, err)
	require.NotNil(t, letter, "no dead letter came")
	return *letter
}

func TestACommandBecomesOneCall(t *testing.T) {
	b := start(t, status(204))
	b.send(t, b.message("a", 1))
	call := b.call(t)
	require.Equal(t, "https://consumer.example/hooks", call.Target)
	require.Equal(t, `{"id":"a"}`, string(call.Body))
	d := b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	require.Len(t, d.Attempts, 1)
	require.Equal(t, 204, d.Attempts[0].Status)
	require.Equal(t, 1, d.AttemptCount)
}

func TestFailuresAreRetriedOnTheScheduleThenDead(t *testing.T) {
	b := start(t, status(500))
	b.send(t, b.message("a", 1))
	first := b.call(t)
	for range 2 {
		require.Equal(t, first.Delivery, b.call(t).Delivery)
	}
	d := b.settledAs(t, b.id("a"), contract.DeliveryFailed)
	require.Len(t, d.Attempts, 3)
	require.Equal(t, "given up after 3 attempts: the endpoint answered 500", d.Reason)
	letter := b.deadLetter(t, b.id("a"))
	require.Equal(t, d.Reason, letter.Headers[rabbit.HeaderReason])
	require.Equal(t, `{"id":"a"}`, string(letter.Body))
}

func TestAFailingGatewayUsesNoAttemptUp(t *testing.T) {
	b := start(t, func(_ context.Context, n int) (gateway.Answer, error) {
		if n == 1 {
			return gateway.Answer{}, errors.New("no gateway")
		}
		return gateway.Answer{Outcome: contract.OutcomeResponse, Status: 200}, nil
	})
	b.send(t, b.message("a", 1))
	b.call(t)
	b.call(t)
	d := b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	require.Len(t, d.Attempts, 1)
	require.Equal(t, 1, d.Attempts[0].Number)
}

func TestTheSameDeliveryIsNotMadeTwice(t *testing.T) {
	b := start(t, status(200))
	b.send(t, b.message("a", 1))
	b.call(t)
	b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	b.send(t, b.message("a", 1), b.message("a", 2), b.message("b", 1))
	require.Equal(t, b.id("b"), b.call(t).Delivery)
	b.settledAs(t, b.id("b"), contract.DeliverySucceeded)
	require.Empty(t, b.calls)
}

// What a crash between the record and the acknowledgement leaves behind: the command again, and a record of its attempt.
func TestARecordedAttemptIsFollowedWithoutACall(t *testing.T) {
	b := start(t, status(200))
	require.NoError(t, b.store.Record(t.Context(), []store.Record{{Delivery: contract.Delivery{
		ID: b.id("a"), Subscription: b.sub.ID, Status: contract.DeliveryPending, AttemptCount: 1, CreatedAt: noon,
		NextAttempt: time.Now(), Attempts: []contract.Attempt{{Number: 1, Status: 500}},
	}}}))
	b.send(t, b.message("a", 1))
	b.call(t)
	d := b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	require.Equal(t, 2, d.AttemptCount, "the one call was the second attempt")
	require.Empty(t, b.calls)
}

func TestADeliveryNamesTheOrigin(t *testing.T) {
	b := start(t, status(200))
	b.send(t, b.message("a", 1))
	require.Equal(t, "webhooks.example", b.call(t).Header.Get("WebHook-Request-Origin"))
}

func TestNobodyIsCalledForASubscriptionThatIsNotActive(t *testing.T) {
	b := start(t, status(200))
	for _, status := range []contract.Status{contract.StatusPaused, contract.StatusPending} {
		b.change(t, func(s *contract.Subscription) { s.Status = status })
		name := string(status)
		b.send(t, b.message(name, 1))
		d := b.settledAs(t, b.id(name), contract.DeliveryCanceled)
		require.Equal(t, "the subscription is "+name, d.Reason)
		require.Empty(t, b.calls)
	}

	require.NoError(t, b.store.DeleteSubscription(t.Context(), b.sub.ID))
	gone := b.message("b", 1)
	b.subscribe(t)
	b.send(t, gone, b.message("c", 1))
	require.Equal(t, b.id("c"), b.call(t).Delivery)
}

func TestAnEndpointThatIsGoneDisablesItsSubscription(t *testing.T) {
	b := start(t, status(410))
	b.send(t, b.message("a", 1))
	b.call(t)
	b.settledAs(t, b.id("a"), contract.DeliveryFailed)
	sub, err := b.store.Subscription(t.Context(), b.sub.ID)
	require.NoError(t, err)
	require.Equal(t, contract.StatusDisabled, sub.Status)
}

func TestWhatIsNoCommandIsADeadLetter(t *testing.T) {
	b := start(t, status(200))
	b.send(t, b.broker.Names().ToCommands(rabbit.Message{ID: b.sub.ID, Body: []byte("hello")}))
	require.Contains(t, b.deadLetter(t, b.sub.ID).Headers[rabbit.HeaderReason], contract.ErrCommand.Error())
	require.Empty(t, b.calls)
}

func TestASecretThatCanNotSignIsADeadLetterAndNoCall(t *testing.T) {
	b := start(t, status(200))
	_, err := b.store.ChangeSubscription(t.Context(), b.sub.ID, func(s *contract.Subscription) error {
		s.Secrets = []contract.Secret{{Value: "whsec_damaged!"}}
		return nil
	})
	require.NoError(t, err)
	b.send(t, b.message("a", 1))
	reason, _ := b.deadLetter(t, b.id("a")).Headers[rabbit.HeaderReason].(string)
	require.Contains(t, reason, "rotate")
	require.NotContains(t, reason, "damaged")
	require.Empty(t, b.calls)
}

func TestATransformMakesTheBody(t *testing.T) {
	b := start(t, status(204))
	b.change(t, func(s *contract.Subscription) { s.Transform = `{"order": data.id, "of": type}` })
	b.send(t, b.message("a", 1))
	call := b.call(t)
	require.Equal(t, `{"of":"order.created","order":"a"}`, string(call.Body))
	require.Equal(t, "application/json", call.Header.Get("Content-Type"))
	b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
}

func TestATransformThatFailsIsADeadLetterWithTheReasonAndNoCall(t *testing.T) {
	b := start(t, status(204))
	b.change(t, func(s *contract.Subscription) { s.Transform = `{"total": data.total}` })
	b.send(t, b.message("a", 1))
	letter := b.deadLetter(t, b.id("a"))
	require.Contains(t, letter.Headers[rabbit.HeaderReason], "transform: the expression can't be evaluated: no such key: total")
	d := b.settledAs(t, b.id("a"), contract.DeliveryFailed)
	require.Contains(t, d.Reason, "no such key: total")
	require.Empty(t, b.calls)
}

func TestTheEndWaitsForCallsUnderWay(t *testing.T) {
	release := make(chan struct{})
	b := start(t, func(context.Context, int) (gateway.Answer, error) {
		<-release
		return gateway.Answer{Outcome: contract.OutcomeResponse, Status: 200}, nil
	})
	b.send(t, b.message("a", 1))
	b.call(t)
	b.stop()
	close(release)
	b.halt(t)
	d, err := b.store.Delivery(t.Context(), b.sub.ID, b.id("a"))
	require.NoError(t, err)
	require.Equal(t, contract.DeliverySucceeded, d.Status)
}

func TestACallCutOffByTheEndIsMadeAgainByTheNextProcess(t *testing.T) {
	b := start(t, func(ctx context.Context, n int) (gateway.Answer, error) {
		if n == 1 {
			<-ctx.Done()
			return gateway.Answer{}, ctx.Err()
		}
		return gateway.Answer{Outcome: contract.OutcomeResponse, Status: 200}, nil
	})
	b.halt(t)
	b.Drain = time.Millisecond
	b.run(t)
	b.send(t, b.message("a", 1))
	b.call(t)
	b.stop()
	b.stop = nil
	require.ErrorIs(t, <-b.done, rabbit.ErrDrain)
	b.run(t)
	b.call(t)
	d := b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	require.Equal(t, 1, d.AttemptCount)
}

// flaky is a store that can be cut off.
type flaky struct {
	*store.Store
	away  atomic.Bool
	asked atomic.Int64
}

var errAway = errors.New("no Redis")

func (f *flaky) Standings(ctx context.Context, asked []store.Pending) ([]store.Standing, error) {
	f.asked.Add(1)
	if f.away.Load() {
		return nil, errAway
	}
	return f.Store.Standings(ctx, asked)
}

func (f *flaky) Record(ctx context.Context, records []store.Record) error {
	f.asked.Add(1)
	if f.away.Load() {
		return errAway
	}
	return f.Store.Record(ctx, records)
}

func (f *flaky) awaitRefusals(t *testing.T, n int64) {
	t.Helper()
	from := f.asked.Load()
	require.Eventually(t, func() bool { return f.asked.Load() >= from+n }, 20*time.Second, time.Millisecond)
}

func TestWithoutRedisNobodyIsCalledAndNothingIsLost(t *testing.T) {
	b := start(t, status(200))
	b.halt(t)
	redis := &flaky{Store: b.store}
	redis.away.Store(true)
	b.Store = redis
	b.run(t)
	b.send(t, b.message("a", 1), b.message("b", 1))
	redis.awaitRefusals(t, 2)
	require.Empty(t, b.calls)
	redis.away.Store(false)
	b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	b.settledAs(t, b.id("b"), contract.DeliverySucceeded)
	require.Len(t, b.calls, 2)
}

// startThatLosesRedisInACall returns with one call made, and Redis away since.
func startThatLosesRedisInACall(t *testing.T) (*bench, *flaky) {
	t.Helper()
	b := start(t, status(200))
	b.halt(t)
	redis := &flaky{Store: b.store}
	b.Store = redis
	b.Gateway = &scripted{calls: b.calls, answer: func(context.Context, int) (gateway.Answer, error) {
		redis.away.Store(true)
		return gateway.Answer{Outcome: contract.OutcomeResponse, Status: 200}, nil
	}}
	b.run(t)
	b.send(t, b.message("a", 1))
	b.call(t)
	return b, redis
}

func TestARecordThatCanNotBeWrittenIsWrittenLaterWithoutASecondCall(t *testing.T) {
	b, redis := startThatLosesRedisInACall(t)
	redis.awaitRefusals(t, 2)
	redis.away.Store(false)
	b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	require.Empty(t, b.calls)
}

func TestTheEndDoesNotWaitForRedis(t *testing.T) {
	b, redis := startThatLosesRedisInACall(t)
	redis.awaitRefusals(t, 1)
	b.halt(t)
}
