package delivery

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// start takes what may start, a batch at a time, until background ends. stop ends when nothing new may start; work ends when
// what is under way must end too.
func (e *Engine) start(stop, background, work context.Context) {
	for {
		batch := e.next(stop)
		switch {
		case len(batch) > 0 && stop.Err() != nil:
			e.giveBack(batch...)
			continue
		case len(batch) > 0:
			e.startBatch(stop, work, batch)
			continue
		}
		select {
		case <-e.inbox.more:
		case <-background.Done():
			e.giveBack(e.inbox.take(e.InFlight)...)
			return
		}
	}
}

// next waits for the gateway, and while it is not sure to work takes one task at a time.
func (e *Engine) next(stop context.Context) []*task {
	e.gate.wait(stop.Done())
	if n := e.inbox.size(); n > 0 && n < maxBatch {
		e.starting.Wait(stop.Done(), nil)
	}
	most := maxBatch
	if e.gate.Ready(stop) != nil {
		most = 1
	}
	tasks := e.inbox.take(most)
	if len(tasks) > 0 {
		e.starting.Taken(len(tasks))
	}
	return tasks
}

// startBatch finds out how each task stands and lets those begin whose turn it is.
func (e *Engine) startBatch(stop, work context.Context, batch []*task) {
	batch = e.present(batch)
	standings, err := e.standings(stop, batch)
	if err != nil {
		e.giveBack(batch...)
		return
	}
	due := make([]*starting, 0, len(batch))
	for i, t := range batch {
		switch {
		case e.settles(t, standings[i]):
		case standings[i].Subscription.Pulls(): // which its command did not say
			e.free(t)
			t.cmd.Pull = true
			e.mail.put(t)
		default:
			due = append(due, &starting{task: t, sub: standings[i].Subscription, policy: e.policy(standings[i]), log: standings[i].Log})
		}
	}
	for _, s := range e.allowed(stop, due) {
		e.Metrics.begins(s, e.Now())
		e.attempts.Go(func() { e.attempt(work, s) })
	}
}

// starting is a task that may begin.
type starting struct {
	*task
	sub    *contract.Subscription
	policy contract.DeliveryPolicy
	log    contract.LogPolicy
	token  string // the access token that the attempt carries, if any
	sent   *sent  // nil until there is a request
	trace  trace.SpanContext
}

// present leaves out what the broker hands out again by itself, perhaps to another process.
func (e *Engine) present(batch []*task) []*task {
	here := batch[:0]
	for _, t := range batch {
		if e.book.closeLost(t) {
			e.free(t)
			e.enter(e.lines.leave(t)...)
			continue
		}
		here = append(here, t)
	}
	return here
}

// free gives the slot of a task back from which nothing was learned.
func (e *Engine) free(t *task) {
	if !t.laned {
		return
	}
	t.laned = false
	e.move(e.lanes.Finish(t.cmd.Subscription, lane.Unknown, 0, 0))
}

// standings asks Redis until it answers. While it does not, nothing starts, and soon nothing is taken from the broker.
func (e *Engine) standings(stop context.Context, tasks []*task) (standings []store.Standing, err error) {
	asked := make([]store.Pending, len(tasks))
	for i, t := range tasks {
		asked[i] = store.Pending{Delivery: t.cmd.Delivery, Subscription: t.cmd.Subscription, Resource: t.cmd.Resource, Line: t.cmd.Line()}
	}
	err = e.insist(stop, "reading subscriptions", func() error {
		standings, err = e.Store.Standings(stop, asked)
		return err
	})
	return standings, err
}

func (e *Engine) policy(standing store.Standing) contract.DeliveryPolicy {
	return standing.Subscription.Delivery.Or(standing.Policy).Or(e.Policy)
}

// settles deals with a task that needs no attempt now, and reports whether it was one.
func (e *Engine) settles(t *task, standing store.Standing) bool {
	s := settlement{task: t, log: standing.Log}
	sub, recorded := standing.Subscription, standing.Recorded
	if sub != nil {
		t.resource = sub.Resource
	}
	switch {
	case errors.Is(standing.Err, store.ErrSealed):
		e.awaitKey(t, standing.Err)
		return true
	case standing.Err != nil:
		e.Log.Error("a subscription's record is damaged", zap.String("subscription", t.cmd.Subscription), zap.Error(standing.Err))
		s.record = e.record(t, contract.DeliveryFailed, "the subscription's record is damaged: subscribe again", nil)
		s.publish, s.result, s.dead = e.dead(t.message, s.record.Reason), resultDamaged, deadDamaged
		s.letter = deadLetter(t, *s.record)
	case sub == nil:
		s.result = resultGone // unsubscribed: nobody is left to deliver to or to tell
	case made(recorded, t.cmd):
		s.publish, s.result = e.follow(t, *recorded), resultFollowed
		s.leave = recorded.Status != contract.DeliveryPending
		if recorded.Status == contract.DeliveryFailed {
			s.letter = deadLetter(t, *recorded)
		}
	case outdated(recorded, t.cmd):
		s.result, s.leave = resultCopy, recorded.Status != contract.DeliveryPending
	case sub.Status == contract.StatusDisabled:
		s.record = e.record(t, contract.DeliveryFailed, "the subscription was disabled: "+sub.StatusReason, nil)
		s.result = resultCanceled
	case sub.Status != contract.StatusActive:
		s.record = e.record(t, contract.DeliveryCanceled, "the subscription is "+string(sub.Status), nil)
		s.result = resultCanceled
	case standing.Ahead != nil:
		e.queueUp(t, *standing.Ahead)
		return true
	default:
		t.first = t.cmd.Ordered
		if t.laned && !sub.Pulls() {
			e.move(e.lanes.Set(sub.ID, limitsOf(sub)))
		}
		return false
	}
	e.free(t)
	e.follows(s)
	return true
}

// whyKey is the reason of what waits for a key of the key ring.
const whyKey = "waiting for the key that the subscription's secrets are sealed under"

// awaitKey puts a task off whose subscription can't be opened: that is ours to mend, and costs it no attempt.
func (e *Engine) awaitKey(t *task, err error) {
	if t.rests == 0 {
		e.Log.Error("a subscription's secrets can't be opened", zap.String("subscription", t.cmd.Subscription), zap.Error(err))
	}
	e.free(t)
	e.hold(t, whyKey)
}

// made reports that this very attempt is on record: after a crash or a lost connection between the record and the
// acknowledgement.
func made(recorded *contract.Delivery, cmd contract.Command) bool {
	return recorded != nil && recorded.AttemptCount == cmd.Attempt
}

// outdated reports an old copy, of an event or a command that the broker handed out twice. A replay opens a delivery again
// that was done with.
func outdated(recorded *contract.Delivery, cmd contract.Command) bool {
	return recorded != nil && (recorded.AttemptCount > cmd.Attempt || recorded.Status != contract.DeliveryPending && cmd.Replay == "")
}

// follow derives from the record what an attempt led to, when the broker has not heard of it. The call itself is not made
// again.
func (e *Engine) follow(t *task, recorded contract.Delivery) []rabbit.Message {
	switch recorded.Status {
	case contract.DeliveryPending:
		return e.delay(nextAttempt(t), recorded.NextAttempt)
	case contract.DeliveryFailed:
		return append(e.dead(t.message, recorded.Reason), e.exhausted(t, recorded))
	}
	return nil
}

func limitsOf(sub *contract.Subscription) lane.Limits {
	limits := lane.Limits{InFlight: sub.MaxInFlight, Rate: sub.Rate(), Target: sub.CallbackURL}
	if limits.InFlight <= 0 {
		limits.InFlight = contract.DefaultMaxInFlight
	}
	return limits
}

// allowed asks for tokens of those subscriptions that have a rate limit, all in one round trip. Who gets none goes back to
// the head of its lane.
func (e *Engine) allowed(stop context.Context, tasks []*starting) []*starting {
	limited := map[string][]*starting{}
	free := tasks[:0]
	var asks []store.Ask
	for _, s := range tasks {
		if s.sub.Rate() <= 0 {
			free = append(free, s)
			continue
		}
		limited[s.sub.ID] = append(limited[s.sub.ID], s)
	}
	for id, wanting := range limited {
		asks = append(asks, store.Ask{Subscription: id, Rate: wanting[0].sub.Rate(), N: len(wanting)})
	}
	if len(asks) == 0 {
		return free
	}
	var grants []store.Grant
	err := e.insist(stop, "asking for tokens", func() (err error) {
		grants, err = e.Store.Take(stop, asks)
		return err
	})
	for i, ask := range asks {
		wanting, grant := limited[ask.Subscription], store.Grant{Wait: time.Second}
		if err == nil {
			grant = grants[i]
		}
		free = append(free, wanting[:grant.Allowed]...)
		e.deferAll(wanting[grant.Allowed:], grant.Wait)
	}
	return free
}

func (e *Engine) deferAll(tasks []*starting, wait time.Duration) {
	if len(tasks) == 0 {
		return
	}
	items := make([]lane.Item[*task], len(tasks))
	for i, s := range tasks {
		items[i] = item(s.task)
	}
	e.move(e.lanes.Defer(tasks[0].sub.ID, items, wait))
}
