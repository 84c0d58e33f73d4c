package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func answered(status int) (gateway.Answer, error) {
	return gateway.Answer{Outcome: contract.OutcomeResponse, Status: status}, nil
}

// byCall is a gateway that answers by what is called.
type byCall func(ctx context.Context, call gateway.Call) (gateway.Answer, error)

func (f byCall) Do(ctx context.Context, call gateway.Call) (gateway.Answer, error) {
	return f(ctx, call)
}

// another subscribes once more, with another endpoint.
func (b *bench) another(t *testing.T, target string) contract.Subscription {
	t.Helper()
	sub := b.sub
	sub.ID, sub.CallbackURL, sub.CreatedAt = contract.NewID("sub"), target, time.Now()
	sub, _, err := b.store.CreateSubscription(t.Context(), sub)
	require.NoError(t, err)
	return sub
}

func (b *bench) messages(sub contract.Subscription, n int) []rabbit.Message {
	all := make([]rabbit.Message, n)
	for i := range all {
		cmd := command("application/json", `{}`)
		cmd.Delivery, cmd.Subscription, cmd.Attempt, cmd.First = contract.NewID("dlv"), sub.ID, 1, 1
		all[i] = b.broker.Names().ToCommands(rabbit.CommandMessage(cmd))
	}
	return all
}

func TestAnEndpointThatHangsHoldsNobodyElseUp(t *testing.T) {
	b := start(t, status(204))
	var hanging, most, healthy atomic.Int64
	b.restart(t, func(o *Options) {
		o.InFlight = 1000
		o.Gateway = byCall(func(ctx context.Context, call gateway.Call) (gateway.Answer, error) {
			if call.Target != "https://hangs.example" {
				healthy.Add(1)
				return answered(204)
			}
			most.Store(max(most.Load(), hanging.Add(1)))
			defer hanging.Add(-1)
			<-ctx.Done()
			return gateway.Answer{}, ctx.Err()
		})
		o.Drain = 10 * time.Millisecond
	})
	dead := b.another(t, "https://hangs.example")
	b.send(t, b.messages(dead, 3000)...)
	b.send(t, b.messages(b.sub, 500)...)
	require.Eventually(t, func() bool { return healthy.Load() == 500 }, 20*time.Second, time.Millisecond)
	require.EqualValues(t, contract.DefaultMaxInFlight, most.Load())
	b.stop()
	b.stop = nil
	require.ErrorIs(t, <-b.done, rabbit.ErrDrain, "those ten were still under way")
}

func TestAnOpenBreakerParksWithoutUsingAttemptsUpAndTellsOfTheRecovery(t *testing.T) {
	var works atomic.Bool
	b := start(t, func(context.Context, int) (gateway.Answer, error) {
		if works.Load() {
			return answered(204)
		}
		return answered(500)
	})
	b.restart(t, func(o *Options) {
		o.Lanes = lane.Options{OpenFor: 300 * time.Millisecond, OpenMost: 300 * time.Millisecond}
		o.Policy.RetrySchedule = slices.Repeat([]contract.Duration{contract.Duration(time.Millisecond)}, 50)
	})
	messages := b.messages(b.sub, 100)
	b.send(t, messages...)
	for range 25 { // the breaker opened after ten, or a few more that were under way; then there are probes
		b.call(t)
	}
	works.Store(true)
	attempts := 0
	for _, m := range messages {
		d := b.settledAs(t, m.ID, contract.DeliverySucceeded)
		attempts += d.AttemptCount
	}
	require.Less(t, attempts, 100+60, "attempts of the 100, failed ones included")
	recovered := b.operation(t, contract.OperationRecovered)
	require.Equal(t, b.sub.ID, recovered.Subscription)
}

// operation waits for an operational event of this test's subscription.
func (b *bench) operation(t *testing.T, kind string) contract.Operation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var found contract.Operation
	err := b.broker.Consume(ctx, b.broker.Names().Operations, rabbit.ConsumeOptions{}, func(_ context.Context, batch []*rabbit.Delivery) {
		for _, msg := range batch {
			var event struct {
				Type, Subject, Source string
				Data                  contract.Operation
			}
			if json.Unmarshal(msg.Body, &event) == nil && event.Type == kind && event.Data.Subscription == b.sub.ID {
				found = event.Data
				cancel()
			}
		}
		rabbit.AckAll(batch)
	})
	require.NoError(t, err)
	require.NotEmpty(t, found.Subscription, "no event %s came", kind)
	return found
}

func TestNoMoreAttemptsAreUnderWayThanTheSubscriptionAllows(t *testing.T) {
	b := start(t, status(204))
	var under, most atomic.Int64
	b.change(t, func(s *contract.Subscription) { s.MaxInFlight = 2 })
	b.restart(t, func(o *Options) {
		o.Gateway = byCall(func(context.Context, gateway.Call) (gateway.Answer, error) {
			most.Store(max(most.Load(), under.Add(1)))
			<-time.After(time.Millisecond)
			under.Add(-1)
			return answered(204)
		})
	})
	messages := b.messages(b.sub, 50)
	b.send(t, messages...)
	for _, m := range messages {
		b.settledAs(t, m.ID, contract.DeliverySucceeded)
	}
	require.EqualValues(t, 2, most.Load())
}

func TestTheLowerOfARateLimitAndAGrantedRateHoldsAcrossReplicas(t *testing.T) {
	b := start(t, status(204))
	b.change(t, func(s *contract.Subscription) {
		s.RateLimit, s.MaxInFlight, s.Consent = 200, 100, &contract.Consent{State: contract.ConsentVerified, AllowedRate: 20 * 60}
	})
	b.replica(t)
	started := time.Now()
	b.send(t, b.messages(b.sub, 35)...)
	for range 35 {
		b.call(t)
	}
	require.GreaterOrEqual(t, time.Since(started), 700*time.Millisecond, "20 at once, then 15 at 20 per second")
}

func TestRetryAfterHoldsForTheOtherDeliveriesToo(t *testing.T) {
	b := start(t, func(_ context.Context, n int) (gateway.Answer, error) {
		if n == 1 {
			return gateway.Answer{Outcome: contract.OutcomeResponse, Status: 429, RetryAfter: "2"}, nil
		}
		return answered(204)
	})
	b.send(t, b.message("a", 1))
	b.call(t)
	b.recorded(t, b.id("a"), 1)
	asked := time.Now()
	b.send(t, b.message("b", 1))
	b.call(t)
	require.GreaterOrEqual(t, time.Since(asked), 1500*time.Millisecond)
}

// recorded waits until an attempt is on record.
func (b *bench) recorded(t *testing.T, id string, attempts int) contract.Delivery {
	t.Helper()
	var d contract.Delivery
	require.Eventually(t, func() bool {
		var err error
		d, err = b.store.Delivery(t.Context(), b.sub.ID, id)
		return err == nil && d.AttemptCount >= attempts
	}, 20*time.Second, time.Millisecond)
	return d
}

func TestNothingButFailuresForTooLongDisablesTheSubscription(t *testing.T) {
	b := start(t, status(500))
	b.restart(t, func(o *Options) { o.DisableAfter = 100 * time.Millisecond })
	b.send(t, b.message("a", 1))
	told := b.operation(t, contract.OperationDisabled)
	require.Contains(t, told.Reason, "nothing but failures since")
	sub, err := b.store.Subscription(t.Context(), b.sub.ID)
	require.NoError(t, err)
	require.Equal(t, contract.StatusDisabled, sub.Status)
	require.Equal(t, told.Reason, sub.StatusReason)
}

func TestASuccessStartsTheCountOfFailuresAnew(t *testing.T) {
	b := start(t, func(_ context.Context, n int) (gateway.Answer, error) { return answered([]int{500, 204}[(n-1)%2]) })
	b.send(t, b.message("a", 1))
	b.call(t)
	b.call(t)
	b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	require.Eventually(t, func() bool {
		now := time.Now().Add(time.Hour)
		since, err := b.store.FailingSince(t.Context(), []string{b.sub.ID}, now)
		return err == nil && since[b.sub.ID].UnixMilli() == now.UnixMilli() && b.store.Healthy(t.Context(), []string{b.sub.ID}) == nil
	}, 20*time.Second, 10*time.Millisecond, "failing since now, since it was healthy before")
}

func TestAnExhaustedDeliveryIsToldOf(t *testing.T) {
	b := start(t, status(500))
	b.send(t, b.message("a", 3))
	told := b.operation(t, contract.OperationExhausted)
	require.Equal(t, b.id("a"), told.Delivery)
	require.Equal(t, 3, told.Attempts)
	require.Equal(t, "given up after 3 attempts: the endpoint answered 500", told.Reason)
}

func TestWhatIsGivenUpIsOnTheListOfDeadLetters(t *testing.T) {
	b := start(t, status(500))
	b.send(t, b.message("a", 3))
	d := b.settledAs(t, b.id("a"), contract.DeliveryFailed)
	want := contract.DeadLetter{
		ID: d.ID, Kind: contract.DeadDelivery, Resource: "orders", Subscription: b.sub.ID, Reason: "given up after 3 attempts: the endpoint answered 500",
		At: d.UpdatedAt, Created: d.CreatedAt, EventID: d.EventID, EventSource: d.EventSource, EventType: d.EventType, Attempts: 3,
	}
	var found []contract.DeadLetter
	require.Eventually(t, func() bool {
		var err error
		found, err = b.store.DeadLettersOf(t.Context(), []string{d.ID})
		return err == nil && len(found) == 1
	}, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, want, found[0])
}

func TestOpenBreakersAreReportedUntilTheyClose(t *testing.T) {
	var works atomic.Bool
	b := start(t, func(context.Context, int) (gateway.Answer, error) {
		return answered(map[bool]int{true: 204, false: 500}[works.Load()])
	})
	b.restart(t, func(o *Options) {
		o.Replica = "one-" + b.tag
		o.Lanes = lane.Options{OpenFor: 300 * time.Millisecond, OpenMost: 300 * time.Millisecond}
		o.Policy.RetrySchedule = slices.Repeat([]contract.Duration{contract.Duration(time.Millisecond)}, 100)
	})
	ours := func() (found []contract.Breaker) {
		all, err := b.store.Breakers(t.Context())
		require.NoError(t, err)
		for _, open := range all {
			if open.Replica == "one-"+b.tag {
				found = append(found, open)
			}
		}
		return found
	}
	b.send(t, b.messages(b.sub, 50)...)
	var open []contract.Breaker
	require.Eventually(t, func() bool { open = ours(); return len(open) == 1 }, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, b.sub.ID, open[0].Subscription)
	require.Equal(t, b.sub.Resource, open[0].Resource)
	require.Equal(t, b.sub.Consumer, open[0].Consumer)
	require.Contains(t, open[0].Reason, "the endpoint answered 500")
	require.GreaterOrEqual(t, open[0].Failures, 10)
	require.Positive(t, open[0].Parked)
	require.WithinDuration(t, time.Now(), open[0].Since, 20*time.Second)
	works.Store(true)
	require.Eventually(t, func() bool { return len(ours()) == 0 }, 20*time.Second, 10*time.Millisecond)
}

func TestASubscriptionsOwnScheduleCounts(t *testing.T) {
	b := start(t, status(500))
	b.change(t, func(s *contract.Subscription) { s.Delivery.RetrySchedule = []contract.Duration{} })
	b.send(t, b.message("a", 1))
	d := b.settledAs(t, b.id("a"), contract.DeliveryFailed)
	require.Equal(t, "given up after 1 attempt: the endpoint answered 500", d.Reason)
}

func TestAReplayBeginsTheScheduleAnewAndItsCopyMakesNoSecondCall(t *testing.T) {
	b := start(t, func(_ context.Context, n int) (gateway.Answer, error) {
		return answered(map[bool]int{true: 500, false: 204}[n < 5])
	})
	b.send(t, b.message("a", 1))
	b.settledAs(t, b.id("a"), contract.DeliveryFailed)
	cmd := command("application/json", `{}`)
	cmd.Delivery, cmd.Subscription, cmd.Attempt, cmd.First, cmd.Replay = b.id("a"), b.sub.ID, 4, 4, "rpl_1"
	again := b.broker.Names().ToCommands(rabbit.CommandMessage(cmd))
	b.send(t, again)
	d := b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	require.Equal(t, 5, d.AttemptCount, "the fourth failed, and was the first of its round")
	b.send(t, again, b.message("b", 1))
	b.settledAs(t, b.id("b"), contract.DeliverySucceeded)
	require.Len(t, b.calls, 6)
}

func TestWhileTheGatewayIsAwayNothingCirculates(t *testing.T) {
	b := start(t, status(204))
	var up atomic.Bool
	var asked, made atomic.Int64
	b.restart(t, func(o *Options) {
		o.Gateway = byCall(func(context.Context, gateway.Call) (gateway.Answer, error) {
			asked.Add(1)
			if !up.Load() {
				return gateway.Answer{}, errAway
			}
			made.Add(1)
			return answered(204)
		})
	})
	b.send(t, b.messages(b.sub, 50)...)
	require.Eventually(t, func() bool { return asked.Load() > 5 }, 20*time.Second, time.Millisecond)
	up.Store(true)
	require.Eventually(t, func() bool { return made.Load() == 50 }, 20*time.Second, time.Millisecond)
	require.Less(t, asked.Load(), int64(100), "it was asked now and then, not all the time")
}

// cable is a way to the broker that can be cut.
type cable struct {
	url string

	mu    sync.Mutex
	conns []net.Conn
}

func lay(t *testing.T) *cable {
	t.Helper()
	target, err := url.Parse(testkit.AMQP(t))
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cable{url: strings.Replace(target.String(), target.Host, l.Addr().String(), 1)}
	var pumps sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); c.cut(); pumps.Wait() })
	pumps.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target.Host)
			if err != nil {
				_ = in.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, in, out)
			c.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				pumps.Go(func() { pump(pair[0], pair[1]) })
			}
		}
	})
	return c
}

func pump(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func TestACallUnderWayOutlivesALostConnectionAndIsNotMadeTwice(t *testing.T) {
	b := start(t, status(204))
	b.halt(t)
	wire := lay(t)
	broker, err := rabbit.Open(t.Context(), wire.url, rabbit.Options{Namespace: brokerNamespace, Name: t.Name()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = broker.Close() })
	b.broker = broker
	release := make(chan struct{})
	b.Gateway = byCall(func(_ context.Context, call gateway.Call) (gateway.Answer, error) {
		b.calls <- call
		<-release
		return answered(204)
	})
	b.run(t)
	b.send(t, b.messages(b.sub, 5)...)
	for range 5 {
		b.call(t)
	}
	wire.cut()
	require.Eventually(t, func() bool { return broker.Ready(t.Context()) != nil }, 20*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return broker.Ready(t.Context()) == nil }, 20*time.Second, time.Millisecond)
	last := b.messages(b.sub, 1)
	b.send(t, last...) // handed out after those that come again
	require.Equal(t, last[0].ID, b.call(t).Delivery)
	close(release)
	b.settledAs(t, last[0].ID, contract.DeliverySucceeded)
	require.Empty(t, b.calls)
	b.halt(t) // nothing is left unsettled
}

// ordered makes commands of an ordered subscription, in line.
func (b *bench) ordered(t *testing.T, subject string, n int) []rabbit.Message {
	t.Helper()
	all := make([]rabbit.Message, n)
	var places []store.Place
	for i := range all {
		cmd := command("application/json", fmt.Sprintf(`{"subject":%q,"n":%d}`, subject, i))
		cmd.Event.SetSubject(subject)
		cmd.Delivery, cmd.Subscription, cmd.Attempt, cmd.First, cmd.Ordered = contract.NewID("dlv"), b.sub.ID, 1, 1, true
		places = append(places, store.Place{Line: cmd.Line(), Delivery: cmd.Delivery})
		all[i] = b.broker.Names().ToCommands(rabbit.CommandMessage(cmd))
	}
	require.NoError(t, b.store.JoinLines(t.Context(), places))
	return all
}

// ledger writes down what an endpoint took, by subject.
type ledger struct {
	mu   sync.Mutex
	n    int
	took map[string][]int
}

func (l *ledger) post(fails func(n int) bool) byCall {
	return func(_ context.Context, call gateway.Call) (gateway.Answer, error) {
		var body struct {
			Subject string
			N       int
		}
		_ = json.Unmarshal(call.Body, &body)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.n++; fails(l.n) {
			return answered(500)
		}
		l.took[body.Subject] = append(l.took[body.Subject], body.N)
		return answered(204)
	}
}

func (l *ledger) total() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, took := range l.took {
		n += len(took)
	}
	return n
}

func TestDeliveriesOfASubjectArriveInOrderAcrossReplicasFailuresAndARestart(t *testing.T) {
	b := start(t, status(204))
	book := &ledger{took: map[string][]int{}}
	b.restart(t, func(o *Options) {
		o.Gateway = book.post(func(n int) bool { return n%7 == 0 })
		o.Policy.RetrySchedule = []contract.Duration{contract.Duration(10 * time.Millisecond), contract.Duration(10 * time.Millisecond), contract.Duration(10 * time.Millisecond)}
	})
	b.replica(t)
	const each = 15
	subjects := []string{"", "a", "b", "c"}
	var mixed []rabbit.Message
	for _, subject := range subjects {
		mixed = append(mixed, b.ordered(t, subject, each)...)
	}
	for i, j := 0, len(mixed)-1; i < j; i, j = i+1, j-1 { // the queue's order does not matter, the line's does
		mixed[i], mixed[j] = mixed[j], mixed[i]
	}
	b.send(t, mixed...)
	require.Eventually(t, func() bool { return book.total() > len(mixed)/3 }, 30*time.Second, time.Millisecond)
	b.halt(t)
	b.run(t)
	require.Eventually(t, func() bool { return book.total() == len(mixed) }, 30*time.Second, time.Millisecond)
	book.mu.Lock()
	defer book.mu.Unlock()
	want := make([]int, each)
	for i := range want {
		want[i] = i
	}
	for _, subject := range subjects {
		require.Equal(t, want, book.took[subject], "subject %q", subject)
	}
}

func TestAFailingSubjectHoldsBackOnlyItself(t *testing.T) {
	b := start(t, status(204))
	book := &ledger{took: map[string][]int{}}
	b.restart(t, func(o *Options) {
		o.Gateway = byCall(func(ctx context.Context, call gateway.Call) (gateway.Answer, error) {
			return book.post(func(int) bool { return strings.Contains(string(call.Body), `"bad"`) })(ctx, call)
		})
		o.Policy.RetrySchedule = []contract.Duration{contract.Duration(time.Hour)}
	})
	b.send(t, b.ordered(t, "bad", 5)...)
	b.send(t, b.ordered(t, "good", 5)...)
	require.Eventually(t, func() bool { return book.total() == 5 }, 20*time.Second, time.Millisecond)
	book.mu.Lock()
	defer book.mu.Unlock()
	require.Equal(t, []int{0, 1, 2, 3, 4}, book.took["good"])
	require.Equal(t, 6, book.n, "the first of the bad ones was tried once")
}

// A very large fan-out is delivered at its own rate, and others do not wait behind it.
func TestAFanOutIsDeliveredAtItsOwnRateAndHoldsNobodyUp(t *testing.T) {
	b := start(t, status(204))
	b.restart(t, func(o *Options) { o.BulkRate = bulkBatch })
	bulk := b.messages(b.sub, 3*bulkBatch)
	for i := range bulk {
		bulk[i] = b.broker.Names().ToBulk(bulk[i])
	}
	begin := time.Now()
	b.send(t, bulk...)
	other := b.messages(b.sub, 1)
	b.send(t, other...)
	place := 0
	for n := range 3*bulkBatch + 1 {
		if b.call(t).Delivery == other[0].ID {
			place = n
		}
	}
	require.Less(t, place, 3*bulkBatch)
	require.Greater(t, time.Since(begin), time.Second, "the first may begin at once, the others a second's worth at a time")
}

func TestWhoStandsInLineTakesNoSlot(t *testing.T) {
	b := start(t, status(204))
	b.change(t, func(s *contract.Subscription) { s.MaxInFlight = 2 })
	release := make(chan struct{})
	b.restart(t, func(o *Options) {
		o.Gateway = byCall(func(_ context.Context, call gateway.Call) (gateway.Answer, error) {
			b.calls <- call
			if strings.Contains(string(call.Body), `"slow"`) {
				<-release
			}
			return answered(204)
		})
	})
	b.send(t, b.ordered(t, "slow", 30)...)
	require.Contains(t, string(b.call(t).Body), `"slow"`)
	b.send(t, b.ordered(t, "quick", 10)...)
	for range 10 {
		require.Contains(t, string(b.call(t).Body), `"quick"`)
	}
	require.Zero(t, testutil.ToFloat64(b.Metrics.parked))
	close(release)
	for range 29 {
		b.call(t)
	}
}

func TestARetryComesWithinItsJitter(t *testing.T) {
	b := start(t, status(500, 204))
	const wait = 1300 * time.Millisecond // one second on the broker's ladder, and a rest
	b.restart(t, func(o *Options) { o.Policy.RetrySchedule = []contract.Duration{contract.Duration(wait)} })
	b.send(t, b.message("a", 1))
	b.call(t)
	failed := time.Now()
	b.call(t)
	require.GreaterOrEqual(t, time.Since(failed), wait-50*time.Millisecond)
	require.Less(t, time.Since(failed), wait*11/10+400*time.Millisecond)
}
