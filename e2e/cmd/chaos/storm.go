package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// storm publishes the events while one fault after the other happens.
type storm struct {
	*scene
	rate float64
	say  func(format string, args ...any)

	mu    sync.Mutex
	turn  sync.Cond
	about int // the event that is about to be published
	done  int // the faults that are over

	happened []happened
}

func newStorm(s *scene, rate float64, say func(string, ...any)) *storm {
	st := &storm{scene: s, rate: rate, say: say}
	st.turn.L = &st.mu
	return st
}

// run returns when all is published and no fault is left.
func (s *storm) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, s.turn.Broadcast)()
	failed := make(chan error, 2)
	go func() { failed <- s.strike(ctx) }()
	go func() { failed <- s.publish(ctx) }()
	err := <-failed
	if err != nil {
		cancel() // the other one has nothing left to do
	}
	if other := <-failed; err == nil {
		err = other
	}
	return err
}

// await blocks until a condition on the storm's progress holds.
func (s *storm) await(ctx context.Context, holds func() bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !holds() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.turn.Wait()
	}
	return nil
}

func (s *storm) progress(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.turn.Broadcast()
}

// publish sends batch after batch, each until the broker has confirmed it. It does not run ahead of the faults.
func (s *storm) publish(ctx context.Context) error {
	producer, err := world.Stack{AMQPURL: s.viaAMQP}.NewProducer(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = producer.Close() }()
	next := time.Now()
	for _, batch := range s.plan.batches {
		first := batch[0].number
		s.progress(func() { s.about = first })
		if err := s.await(ctx, func() bool { return s.mayPublish(first) }); err != nil {
			return err
		}
		if now := time.Now(); next.Before(now) {
			next = now // what a fault has held up is not made up for
		}
		pause(ctx, time.Until(next))
		next = next.Add(time.Duration(float64(len(batch)) / s.rate * float64(time.Second)))
		if err := s.confirm(ctx, producer, batch); err != nil {
			return err
		}
	}
	s.progress(func() { s.about = int(^uint(0) >> 1) })
	s.say("all events are published")
	return nil
}

// mayPublish: an event waits for the faults before the one that comes with it.
func (s *storm) mayPublish(number int) bool {
	over := 0
	for i, f := range s.plan.faults {
		if f.at <= number {
			over = i
		}
	}
	return s.done >= over
}

// confirm is what a careful producer does: the same events again until the broker has them.
func (s *storm) confirm(ctx context.Context, producer *world.Producer, batch []event) error {
	events := make([]world.Event, len(batch))
	for i, e := range batch {
		events[i] = world.Event{
			Resource: s.plan.resource(e.slot), Type: s.plan.kind(e.slot), ID: fmt.Sprint("event-", e.number), Source: "/chaos",
			Subject: e.subject, Data: eventData(e.number),
		}
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := producer.PublishEvents(attempt, events...)
		cancel()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
