package delivery

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// settlerCount settlers work side by side: while one waits for Redis or the broker, the other gathers.
	settlerCount = 2
	// mostSettled is how many settlements share a round trip to Redis and one to the broker.
	mostSettled = 256
	// lastWords bounds the broker's confirm.
	lastWords = 10 * time.Second
)

// result is what became of a command, for the metrics.
type result string

const (
	resultHop        result = "" // a step of a delay
	resultAttempt    result = "attempt"
	resultParked     result = "parked"
	resultFollowed   result = "followed" // the attempt was on record already
	resultCopy       result = "copy"
	resultGone       result = "gone"    // the subscription
	resultMailbox    result = "mailbox" // it waits to be collected, or can't
	resultCanceled   result = "canceled"
	resultDamaged    result = "damaged" // the subscription's record
	resultUnreadable result = "unreadable"
)

// settlement is what follows from a command. It is recorded first, then published, then acknowledged: a crash in between
// leads to the command again, and the record tells that its call was made.
type settlement struct {
	task    *task // nil for what only has to be published
	sub     *contract.Subscription
	record  *contract.Delivery
	log     contract.LogPolicy // of the record
	publish []rabbit.Message
	letter  *contract.DeadLetter // for the list of dead letters, if it is one
	result  result
	// succeeded is for the subscription's health.
	succeeded bool
	disable   bool
	dead      deadReason // of a dead letter
	leave     bool       // the line, though there is nothing new to record
}

// settle takes settlements in batches until there are no more.
func (e *Engine) settle(stop context.Context) {
	for batch := e.gather(stop.Done()); batch != nil; batch = e.gather(stop.Done()) {
		e.settleBatch(stop, batch)
	}
}

// follows hands on what follows from a command. What a line waits for does not wait for others.
func (e *Engine) follows(s settlement) {
	e.settled <- s
	if s.task == nil || !s.task.cmd.Ordered {
		return
	}
	select {
	case e.urgent <- struct{}{}:
	default: // is known
	}
}

// gather takes settlements. One gathers at a time.
func (e *Engine) gather(stop <-chan struct{}) []settlement {
	e.gathering.Lock()
	defer e.gathering.Unlock()
	first, open := <-e.settled
	if !open {
		return nil
	}
	if len(e.settled)+1 < mostSettled {
		e.settling.Wait(stop, e.urgent)
	}
	all := ready(e.settled, []settlement{first})
	e.settling.Taken(len(all))
	return all
}

// ready adds what can be had without waiting.
func ready(from <-chan settlement, batch []settlement) []settlement {
	for len(batch) < mostSettled {
		select {
		case s, open := <-from:
			if !open {
				return batch
			}
			batch = append(batch, s)
		default:
			return batch
		}
	}
	return batch
}

func (e *Engine) settleBatch(stop context.Context, batch []settlement) {
	for i, s := range batch {
		if s.disable { // before it can be seen that the delivery failed
			batch[i].publish = append(s.publish, e.disable(stop, s.sub.ID, s.record.Reason)...)
		}
	}
	e.keep(stop, batch)
	e.bury(stop, batch)
	for _, message := range e.watch(stop, batch) {
		batch = append(batch, settlement{publish: []rabbit.Message{message}})
	}
	var quiet, loud []settlement
	for _, s := range batch {
		if len(s.publish) > 0 {
			loud = append(loud, s)
		} else {
			quiet = append(quiet, s)
		}
	}
	e.done(quiet, rabbit.AckSoon) // its record is what counts
	for _, s := range loud {
		e.loud <- s
	}
}

// announce publishes what follows from commands, in batches, until there is nothing more. It is apart from recording, so that
// a broker which takes nothing does not keep what is known from being recorded.
func (e *Engine) announce(stop context.Context) {
	for first := range e.loud {
		// At once: what follows from it would otherwise be published again.
		e.done(e.publishAll(stop, ready(e.loud, []settlement{first})), rabbit.AckAll)
	}
}

// keep records deliveries. When the service must stop while Redis is away, what is known is acknowledged without a record:
// better a gap in the list than a second callback.
func (e *Engine) keep(stop context.Context, batch []settlement) {
	var records []store.Record
	for _, s := range batch {
		switch {
		case s.record != nil:
			records = append(records, store.Record{Delivery: *s.record, Line: s.task.cmd.Line(), Log: s.log, Passed: s.result == resultMailbox})
		case s.leave && s.task.cmd.Ordered:
			if err := e.Store.LeaveLine(noContext, s.task.cmd.Line(), s.task.cmd.Delivery); err != nil {
				e.Log.Warn("leaving a line", zap.Error(err))
			}
		}
	}
	if len(records) == 0 {
		return
	}
	// Not under stop: while the service drains, records are still wanted; the store has a timeout of its own.
	err := e.insist(stop, "recording deliveries", func() error { return e.Store.Record(noContext, records) })
	if err != nil {
		e.Log.Error("deliveries were not recorded", zap.Int("count", len(records)), zap.Error(err))
	}
}

// publishAll returns what is confirmed. It tries until it works; what the broker hands out again by itself meanwhile follows
// from its record then. At the end of the service what is not confirmed goes back.
func (e *Engine) publishAll(stop context.Context, batch []settlement) []settlement {
	for n := 1; len(batch) > 0; n++ {
		batch = e.dropLost(batch)
		err := e.publish(batch)
		switch {
		case err == nil:
			return batch
		case errors.Is(err, rabbit.ErrTooLarge):
			return e.publishEach(stop, batch)
		case stop.Err() != nil:
			e.handBack(batch)
			return nil
		}
		e.Log.Warn("waiting for the broker to take what follows from callbacks", zap.Int("count", len(batch)), zap.Error(err))
		service.Backoff(stop, n)
	}
	return nil
}

// publishEach singles out what can't be published at all: the broker moves it to the dead letters, without a reason.
func (e *Engine) publishEach(stop context.Context, batch []settlement) []settlement {
	if len(batch) == 1 {
		e.Log.Error("what follows from a callback is too large to be published", zap.String("message", batch[0].publish[0].ID))
		if t := batch[0].task; t != nil {
			e.book.close(t).Reject()
			e.enter(e.lines.leave(t)...)
		}
		e.Metrics.count(batch[0], e.Now())
		return nil
	}
	var confirmed []settlement
	for i := range batch {
		confirmed = append(confirmed, e.publishAll(stop, batch[i:i+1:i+1])...)
	}
	return confirmed
}

func (e *Engine) publish(batch []settlement) error {
	var messages []rabbit.Message
	for _, s := range batch {
		messages = append(messages, s.publish...)
	}
	if len(messages) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(noContext, lastWords)
	defer cancel()
	return e.publisher.Publish(ctx, messages...)
}

// dropLost leaves out commands that the broker hands out again.
func (e *Engine) dropLost(batch []settlement) []settlement {
	here := batch[:0]
	for _, s := range batch {
		if s.task != nil && e.book.closeLost(s.task) {
			e.Metrics.count(s, e.Now())
			e.enter(e.lines.leave(s.task)...)
			continue
		}
		here = append(here, s)
	}
	return here
}

func (e *Engine) handBack(batch []settlement) {
	for _, s := range batch {
		if s.task != nil {
			e.giveBack(s.task)
		}
		e.Metrics.count(s, e.Now())
	}
}

// done acknowledges.
func (e *Engine) done(batch []settlement, acknowledge func([]*rabbit.Delivery)) {
	acks := make([]*rabbit.Delivery, 0, len(batch))
	for _, s := range batch {
		if s.task != nil {
			acks = append(acks, e.book.close(s.task))
		}
	}
	acknowledge(acks)
	now := e.Now()
	for _, s := range batch {
		e.Metrics.count(s, now)
		if s.task != nil {
			e.enter(e.lines.leave(s.task)...)
		}
	}
}
