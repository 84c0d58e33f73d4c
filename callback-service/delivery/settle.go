package delivery

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// settlerCount settlers work side by side: while one waits for Redis or the broker, the other gathers.
	settlerCount = 2
	// mostSettled is how many settlements share a round trip to Redis and one to the broker.
	mostSettled = 256
	// lastWords bounds the broker's confirm of what is settled at the very end.
	lastWords = 10 * time.Second
)

// settlement is what follows from a command. It is recorded first, then published, then acknowledged: a crash in between
// leads to the command again, and the record tells that its call was made.
type settlement struct {
	task    task
	record  *contract.Delivery
	publish []rabbit.Message
	disable bool
}

// settle takes settlements in batches until there are no more.
func (e *Engine) settle(stop context.Context) {
	for first := range e.settled {
		e.settleBatch(stop, e.gather(first))
	}
}

// gather takes what is ready, without waiting for more.
func (e *Engine) gather(first settlement) []settlement {
	batch := []settlement{first}
	for len(batch) < mostSettled {
		select {
		case s, ok := <-e.settled:
			if !ok {
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
	e.keep(stop, batch)
	var messages []rabbit.Message
	for _, s := range batch {
		messages = append(messages, s.publish...)
	}
	if err := e.publish(messages); err != nil {
		e.Log.Warn("what follows from callbacks could not be published; the broker hands their commands out again", zap.Error(err))
		batch = handBack(batch)
	}
	done := make([]*rabbit.Delivery, len(batch))
	for i, s := range batch {
		done[i] = s.task.msg
		e.Metrics.settled(s)
	}
	rabbit.AckAll(done)
}

// keep disables subscriptions and records deliveries. When the service must stop while Redis is away, what is known is
// acknowledged without a record: better a gap in the list than a second callback.
func (e *Engine) keep(stop context.Context, batch []settlement) {
	var records []contract.Delivery
	for _, s := range batch {
		if s.record != nil {
			records = append(records, *s.record)
		}
		if s.disable {
			e.disable(stop, s.task.cmd.Subscription)
		}
	}
	if len(records) == 0 {
		return
	}
	// Not under stop: while the service drains, records are still wanted; the store has a timeout of its own.
	err := e.insist(stop, "recording deliveries", func() error { return e.Store.RecordDeliveries(noContext, records) })
	if err != nil {
		e.Log.Error("deliveries were not recorded", zap.Int("count", len(records)), zap.Error(err))
	}
}

func (e *Engine) disable(stop context.Context, id string) {
	err := e.insist(stop, "disabling a subscription", func() error {
		_, err := e.Store.ChangeSubscription(noContext, id, func(sub *contract.Subscription) error {
			sub.Status, sub.UpdatedAt = contract.StatusDisabled, e.Now().UTC()
			return nil
		})
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		e.Log.Error("a subscription was not disabled", zap.String("subscription", id), zap.Error(err))
	}
}

func (e *Engine) publish(messages []rabbit.Message) error {
	if len(messages) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(noContext, lastWords)
	defer cancel()
	return e.publisher.Publish(ctx, messages...)
}

// handBack gives commands back whose follow-up was not confirmed, and returns the others.
func handBack(batch []settlement) []settlement {
	rest := batch[:0]
	for _, s := range batch {
		if len(s.publish) > 0 {
			s.task.msg.Requeue()
			continue
		}
		rest = append(rest, s)
	}
	return rest
}
