package delivery

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/token"
	"github.com/apisix-webhooks/apisix-webhooks/internal/callback"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// attempt makes one call and hands on what follows from it. It is apart from that so that a call that hangs holds a small stack.
func (e *Engine) attempt(work context.Context, s *starting) {
	began := e.Now()
	ctx, span := e.begin(work, s)
	answer, err := e.call(ctx, s)
	e.answered(work, s, span, began, answer, err)
}

// answered hands on what follows from a call.
func (e *Engine) answered(work context.Context, s *starting, span tracing.Span, began time.Time, answer gateway.Answer, err error) {
	defer span.End()
	took := e.Now().Sub(began)
	if work.Err() != nil {
		span.Fail("cut_off")
		e.logAttempt(s, answer, Verdict{Kind: Hold, Reason: "cut off by the end of the service"}, took, err)
		e.Metrics.inFlight.Dec()
		e.giveBack(s.task) // cut off by the end of the service: what became of the call was never learned
		return
	}
	verdict := e.withFreshToken(s, answer, Decide(answer, s.cmd.Attempt-s.cmd.First+1, waits(s.policy), e.Now()))
	if errors.Is(err, callback.ErrRequest) {
		verdict = Verdict{Kind: Fail, Reason: err.Error()}
	}
	span.Outcome(answer.Outcome, verdict.Detail, answer.Status)
	e.Metrics.attempt(s, answer, took)
	e.logAttempt(s, answer, verdict, took, err)
	e.learn(s, verdict, took)
	if verdict.Kind == Hold {
		e.Metrics.inFlight.Dec()
		e.hold(s.task, "the gateway does not make this call at the moment")
		return
	}
	settled := e.conclude(s, verdict, contract.Attempt{
		Number: s.cmd.Attempt, At: began.UTC(), DurationMS: took.Milliseconds(),
		Status: endpointStatus(answer), Outcome: answer.Outcome, Detail: verdict.Detail, Error: verdict.Reason,
		TraceID: s.trace.TraceID().String(),
	})
	e.Stats.Attempt(s.sub.Resource, s.sub.ID, verdict.Kind == Succeed, took)
	e.logged.add(&logEntry{
		delivery: *settled.record, sub: s.sub, token: s.token, sent: s.sent, answer: answer, queued: s.waited(began), policy: s.log,
	})
	e.follows(settled)
}

func (e *Engine) call(work context.Context, s *starting) (answer gateway.Answer, err error) {
	if s.token, err = e.Tokens.Token(work, s.sub, s.policy.Timeouts); err != nil {
		return token.AnswerOf(err), err
	}
	header, body, err := callback.Build(s.cmd, s.sub, s.token, s.trace, e.Transforms, e.Now())
	if err != nil {
		return gateway.Answer{}, err
	}
	header[contract.HeaderRequestOrigin] = e.origin
	s.sent = sentBy(s.sub, header, body, s.log.Excerpt())
	return e.Gateway.Do(work, gateway.Call{
		Target: s.sub.CallbackURL, Subscription: s.sub.ID, Delivery: s.cmd.Delivery, Certificate: s.sub.Auth.CertificateID(),
		Timeouts: s.policy.Timeouts, Header: header, Body: body, Keep: kept(s.sub, s.token, s.log),
	})
}

// tokenWait is how soon the next attempt follows where the access token may have been the only fault.
const tokenWait = time.Second

// withFreshToken makes the next attempt soon where the endpoint refused an access token that may just be too old. It counts as
// any other.
func (e *Engine) withFreshToken(s *starting, answer gateway.Answer, v Verdict) Verdict {
	if s.token != "" && endpointStatus(answer) == http.StatusUnauthorized && e.Tokens.Refused(s.sub, s.token) && v.Kind == Retry {
		v.Wait = min(v.Wait, tokenWait)
	}
	return v
}

func waits(p contract.DeliveryPolicy) []time.Duration {
	schedule := make([]time.Duration, len(p.RetrySchedule))
	for i, wait := range p.RetrySchedule {
		schedule[i] = time.Duration(wait)
	}
	return schedule
}

func endpointStatus(answer gateway.Answer) int {
	if answer.Outcome == contract.OutcomeResponse {
		return answer.Status
	}
	return 0
}

// learn tells the gate and the lane.
func (e *Engine) learn(s *starting, v Verdict, took time.Duration) {
	if v.Kind == Hold {
		e.gate.fails()
	} else if v.Health != lane.Unknown {
		e.gate.works()
	}
	moves := e.lanes.Finish(s.sub.ID, v.Health, took, v.Pause)
	e.breakers.learn(s.sub, v, moves.Opened)
	if moves.Opened {
		e.Metrics.opened.Inc()
		e.Log.Warn("a circuit breaker opens", zap.String("subscription", s.sub.ID), zap.String("reason", v.Reason))
	}
	if moves.Recovered {
		e.Log.Info("a circuit breaker closes", zap.String("subscription", s.sub.ID))
		e.follows(settlement{publish: []rabbit.Message{e.operation(contract.OperationRecovered, s.cmd.Delivery, contract.Operation{
			Subscription: s.sub.ID, Resource: s.sub.Resource, Consumer: s.sub.Consumer, Reason: "the endpoint answers again",
		})}})
	}
	e.move(moves)
}

// mostRests is how often a command waits for the gateway, or a key, in memory before it does so at the broker.
const (
	mostRests = 8
	restLeast = 250 * time.Millisecond
	restMost  = 2 * time.Second
	longRest  = 30 * time.Second
)

// hold keeps a command for which the gateway could not be asked, or not yet.
func (e *Engine) hold(t *task, why string) {
	if t.rests++; t.rests > mostRests && e.gate.Ready(noContext) == nil { // the gateway works, but not for this one
		e.park(t, e.Now().Add(jitter(longRest)), why)
		return
	}
	e.rest.add(t, jitter(min(restMost, restLeast<<min(t.rests-1, 8))))
}

// conclude turns a verdict into what to keep and what to publish.
func (e *Engine) conclude(s *starting, v Verdict, attempt contract.Attempt) settlement {
	settled := settlement{task: s.task, sub: s.sub, log: s.log, result: resultAttempt, succeeded: v.Kind == Succeed}
	switch v.Kind {
	case Succeed:
		settled.record = e.record(s.task, contract.DeliverySucceeded, "", &attempt)
	case Retry:
		due := e.Now().Add(jitter(v.Wait))
		attempt.NextAttempt = due.UTC()
		settled.record = e.record(s.task, contract.DeliveryPending, v.Reason, &attempt)
		settled.record.NextAttempt = attempt.NextAttempt
		settled.publish = e.delay(nextAttempt(s.task), due)
		e.parkBehind(e.lines.away(s.task, due), due)
	case Fail, Disable:
		settled.record = e.record(s.task, contract.DeliveryFailed, v.Reason, &attempt)
		settled.publish = append(e.dead(s.message, v.Reason), e.exhausted(s.task, *settled.record))
		settled.disable, settled.dead, settled.letter = v.Kind == Disable, whyDead(v, attempt), deadLetter(s.task, *settled.record)
	case Hold: // not settled
	}
	return settled
}

func whyDead(v Verdict, attempt contract.Attempt) deadReason {
	switch {
	case v.Kind == Disable:
		return deadGone
	case attempt.Outcome == "": // it was never made
		return deadRequest
	}
	return deadExhausted
}

// jitter spreads a wait over a tenth above it, so that what failed together does not come back together.
func jitter(wait time.Duration) time.Duration {
	return wait + rand.N(wait/10+1) // #nosec G404 -- no secret hangs on it
}

func (e *Engine) record(t *task, status contract.DeliveryStatus, reason string, attempt *contract.Attempt) *contract.Delivery {
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
func nextAttempt(t *task) rabbit.Message {
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
