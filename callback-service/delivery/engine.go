// Package delivery turns callback commands into calls. The way of a command is one line of stages:
//
//	due? → decode → standing → build and sign → post through the gateway → decide → record, publish, acknowledge
//
// A command is acknowledged only after what follows from it is recorded and confirmed.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

var (
	noContext = context.Background() // for library calls that take a context and block on nothing
	// errRequest is what every error of buildRequest wraps: no later attempt would fare better.
	errRequest = errors.New("the request cannot be built")
	errSecret  = fmt.Errorf("%w: the subscription's secret cannot sign; rotate it", errRequest)
)

// Store is what the engine keeps and reads.
type Store interface {
	Standings(ctx context.Context, asked []store.Pending) ([]store.Standing, error)
	RecordDeliveries(ctx context.Context, deliveries []contract.Delivery) error
	ChangeSubscription(ctx context.Context, id string, change func(*contract.Subscription) error) (contract.Subscription, error)
}

// Gateway makes one call.
type Gateway interface {
	Post(ctx context.Context, call gateway.Call) (gateway.Answer, error)
}

// Engine delivers.
type Engine struct {
	Store   Store
	Gateway Gateway
	Log     *zap.Logger
	Metrics *Metrics
	// Schedule holds the waits between attempts: n waits make n+1 attempts.
	Schedule []time.Duration
	// Timeout bounds one attempt, the whole answer included.
	Timeout time.Duration
	// InFlight is the most commands at a time that are taken from the broker and not settled.
	InFlight int
	// Drain is how long Run waits for attempts under way when it is told to stop.
	Drain time.Duration
	// Now is the clock; time.Now in production.
	Now func() time.Time

	names     rabbit.Names
	publisher *rabbit.Publisher
	attempts  sync.WaitGroup
	settled   chan settlement
}

// task is one command on its way through the stages.
type task struct {
	msg *rabbit.Delivery
	cmd contract.Command
}

// Run delivers until ctx ends, then finishes what is under way. Senders stop before receivers: the consumer first, then the
// attempts, the settlers last.
func (e *Engine) Run(ctx context.Context, conn *rabbit.Conn) error {
	e.names, e.publisher = conn.Names(), conn.Publisher()
	e.settled = make(chan settlement, e.InFlight)
	var settlers sync.WaitGroup
	for range settlerCount {
		settlers.Go(func() { e.settle(ctx) })
	}
	err := conn.Consume(ctx, e.names.Commands, rabbit.ConsumeOptions{Prefetch: e.InFlight, MaxBatch: 256, Drain: e.Drain},
		func(work context.Context, batch []*rabbit.Delivery) { e.handle(ctx, work, batch) })
	e.attempts.Wait()
	close(e.settled)
	settlers.Wait()
	return err
}

// handle starts a batch. stop ends when no more is wanted; work ends when what is under way must end too.
func (e *Engine) handle(stop, work context.Context, batch []*rabbit.Delivery) {
	tasks := e.decode(e.due(batch))
	if len(tasks) == 0 {
		return
	}
	standings, err := e.standings(stop, tasks)
	if err != nil {
		for _, t := range tasks {
			t.msg.Requeue()
		}
		return
	}
	for i, t := range tasks {
		e.begin(work, t, standings[i])
	}
}

// decode sends what is no command to the dead letters.
func (e *Engine) decode(batch []*rabbit.Delivery) []task {
	tasks := make([]task, 0, len(batch))
	for _, msg := range batch {
		cmd, err := contract.DecodeCommand(msg.ContentType, msg.Headers, msg.Body)
		if err != nil {
			e.Log.Warn("a message is no callback command", zap.Error(err))
			e.settled <- settlement{task: task{msg: msg}, publish: e.dead(msg.Message, err.Error())}
			continue
		}
		tasks = append(tasks, task{msg, cmd})
	}
	return tasks
}

// due sends what came too early back to wait: a delay longer than one step of the broker's ladder takes several.
// It is asked before a command is decoded, so that a hop costs no look at the event.
func (e *Engine) due(batch []*rabbit.Delivery) []*rabbit.Delivery {
	now := e.Now()
	ready := batch[:0]
	for _, msg := range batch {
		at, delayed := msg.Due()
		if delayed && at.Sub(now) > earliness {
			e.settled <- settlement{task: task{msg: msg}, publish: e.delay(msg.Message, at)}
			continue
		}
		ready = append(ready, msg)
	}
	return ready
}

// earliness is how much before its time an attempt may start: less than the shortest delay, and within the jitter.
const earliness = 50 * time.Millisecond

// standings asks Redis until it answers. While it does not, nothing is taken from the broker either.
func (e *Engine) standings(stop context.Context, tasks []task) (standings []store.Standing, err error) {
	asked := make([]store.Pending, len(tasks))
	for i, t := range tasks {
		asked[i] = store.Pending{Delivery: t.cmd.Delivery, Subscription: t.cmd.Subscription}
	}
	err = e.insist(stop, "reading subscriptions", func() error {
		standings, err = e.Store.Standings(stop, asked)
		return err
	})
	return standings, err
}

// begin makes the attempt, unless what is known by now says otherwise.
func (e *Engine) begin(work context.Context, t task, standing store.Standing) {
	sub, recorded := standing.Subscription, standing.Recorded
	switch {
	case sub == nil:
		e.settled <- settlement{task: t} // unsubscribed: nobody is left to deliver to or to tell
	case recorded != nil && recorded.AttemptCount == t.cmd.Attempt:
		e.settled <- settlement{task: t, publish: e.follow(t, *recorded)}
	case recorded != nil && (recorded.AttemptCount > t.cmd.Attempt || recorded.Status != contract.DeliveryPending):
		e.settled <- settlement{task: t} // an old copy: of an event or a command that the broker handed out twice
	case sub.Status != contract.StatusActive:
		e.settled <- settlement{task: t, record: e.record(t, contract.DeliveryCanceled, "the subscription is "+string(sub.Status), nil)}
	default:
		e.attempts.Go(func() { e.attempt(work, t, sub) })
	}
}

// follow derives from the record what an attempt led to, when the broker has not heard of it: after a crash or a lost
// connection between the record and the acknowledgement. The call itself is not made again.
func (e *Engine) follow(t task, recorded contract.Delivery) []rabbit.Message {
	switch recorded.Status {
	case contract.DeliveryPending:
		return e.delay(nextAttempt(t), recorded.NextAttempt)
	case contract.DeliveryFailed:
		return e.dead(t.msg.Message, recorded.Reason)
	}
	return nil
}

// attempt makes one call and hands on what follows from it.
func (e *Engine) attempt(work context.Context, t task, sub *contract.Subscription) {
	e.Metrics.inFlight.Inc()
	defer e.Metrics.inFlight.Dec()
	started := e.Now()
	answer, err := e.call(work, t, sub, started)
	took := e.Now().Sub(started)
	if work.Err() != nil {
		t.msg.Requeue() // cut off by the end of the service: what became of the call was never learned
		return
	}
	verdict := Decide(answer, t.cmd.Attempt, e.Schedule, e.Now())
	if errors.Is(err, errRequest) {
		verdict = Verdict{Kind: Fail, Reason: err.Error()}
	}
	e.Metrics.attempt(answer, took)
	e.logAttempt(t, answer, verdict, took, err)
	e.settled <- e.conclude(t, verdict, contract.Attempt{
		Number: t.cmd.Attempt, At: started.UTC(), DurationMS: took.Milliseconds(),
		Status: endpointStatus(answer), Outcome: answer.Outcome, Error: verdict.Reason,
	})
}

func (e *Engine) call(work context.Context, t task, sub *contract.Subscription, now time.Time) (gateway.Answer, error) {
	header, body, err := buildRequest(t.cmd, sub, now)
	if err != nil {
		return gateway.Answer{}, err
	}
	return e.Gateway.Post(work, gateway.Call{
		Target: sub.CallbackURL, Subscription: sub.ID, Delivery: t.cmd.Delivery, Timeouts: contract.Timeouts{Total: contract.Duration(e.Timeout)}, Header: header, Body: body,
	})
}

func endpointStatus(answer gateway.Answer) int {
	if answer.Outcome == contract.OutcomeResponse {
		return answer.Status
	}
	return 0
}

// conclude turns a verdict into what to keep and what to publish.
func (e *Engine) conclude(t task, v Verdict, attempt contract.Attempt) settlement {
	s := settlement{task: t}
	switch v.Kind {
	case Succeed:
		s.record = e.record(t, contract.DeliverySucceeded, "", &attempt)
	case Retry:
		due := e.Now().Add(jitter(v.Wait))
		s.record = e.record(t, contract.DeliveryPending, v.Reason, &attempt)
		s.record.NextAttempt = due.UTC()
		s.publish = e.delay(nextAttempt(t), due)
	case Hold:
		due := e.Now().Add(jitter(v.Wait))
		s.record = e.record(t, contract.DeliveryPending, v.Reason, nil)
		s.record.NextAttempt = due.UTC()
		s.publish = e.delay(t.msg.Message, due)
	case Fail, Disable:
		s.record = e.record(t, contract.DeliveryFailed, v.Reason, &attempt)
		s.publish = e.dead(t.msg.Message, v.Reason)
		s.disable = v.Kind == Disable
	}
	return s
}

// jitter spreads a wait over a tenth above it, so that what failed together does not come back together.
func jitter(wait time.Duration) time.Duration {
	return wait + rand.N(wait/10+1) // #nosec G404 -- no secret hangs on it
}

func (e *Engine) record(t task, status contract.DeliveryStatus, reason string, attempt *contract.Attempt) *contract.Delivery {
	d := &contract.Delivery{
		ID: t.cmd.Delivery, Subscription: t.cmd.Subscription, Status: status, Reason: reason,
		EventID: t.cmd.Event.ID(), EventSource: t.cmd.Event.Source(), EventType: t.cmd.Event.Type(),
		CreatedAt: t.cmd.Created, UpdatedAt: e.Now().UTC(), AttemptCount: t.cmd.Attempt - 1,
	}
	if attempt != nil {
		d.AttemptCount, d.Attempts = attempt.Number, []contract.Attempt{*attempt}
	}
	return d
}

// nextAttempt is the same command, counted one up.
func nextAttempt(t task) rabbit.Message {
	cmd := t.cmd
	cmd.Attempt++
	return rabbit.CommandMessage(cmd)
}

func (e *Engine) delay(msg rabbit.Message, due time.Time) []rabbit.Message {
	return []rabbit.Message{e.names.ToDelay(due, e.Now(), msg)}
}

func (e *Engine) dead(msg rabbit.Message, reason string) []rabbit.Message {
	return []rabbit.Message{e.names.ToDead(reason, msg)}
}

// insist repeats what needs Redis until it works or stop ends.
func (e *Engine) insist(stop context.Context, doing string, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if err == nil {
			return nil
		}
		if stop.Err() != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		e.Log.Warn("waiting for Redis", zap.String("for", doing), zap.Error(err))
		service.Backoff(stop, n)
	}
}

// logAttempt writes one line per attempt that did not succeed; successes are in the metrics and in the deliveries calls.
func (e *Engine) logAttempt(t task, answer gateway.Answer, v Verdict, took time.Duration, err error) {
	level := zap.InfoLevel
	if v.Kind == Succeed {
		level = zap.DebugLevel
	}
	e.Log.Log(level, "attempt", zap.String("delivery", t.cmd.Delivery), zap.String("subscription", t.cmd.Subscription),
		zap.String("event", t.cmd.Event.ID()), zap.Int("attempt", t.cmd.Attempt), zap.String("outcome", string(answer.Outcome)),
		zap.Int("status", answer.Status), zap.Duration("took", took), zap.String("reason", v.Reason), zap.Error(err))
}
