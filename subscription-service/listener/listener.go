// Package listener matches events with subscriptions: it takes events from the broker in batches and publishes one callback
// command for each subscription that wants one. The way of a batch is one line of stages:
//
//	read → check against the catalogue → catch up with the subscriptions and look up which events were seen, once → match
//	→ ordered deliveries join their lines → publish commands and dead letters, confirmed
//
// and, together with other batches and beside the next ones,
//
//	→ archive the events → mark them as seen → acknowledge
//
// An event that very many want leaves the line after it is matched: its commands are published beside the next batches, a part
// at a time, on a queue of their own; see fanout.go.
//
// Nothing is acknowledged before all that follows from the batch is confirmed. While Redis or the broker can't be asked, the
// batch is kept and tried again. An event counts as seen once its commands are confirmed: it is no use to tell a second one of
// an event that nobody wanted, and one whose listener died in between must get through. Such an event may be in the archive
// twice, which replays cope with.
package listener

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/stats"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/index"
)

// Store is what the listener needs to know and to leave behind; *store.Store is one.
type Store interface {
	MarkSeen(ctx context.Context, marks []store.Mark) error
	// JoinLines gives deliveries their places, in order. Who has a place keeps it.
	JoinLines(ctx context.Context, places []store.Place) error
	LeaveLine(ctx context.Context, line, delivery string) error
	// FanOut is the subscription, by id, up to which the commands of an event were published; KeepFanOut remembers it.
	FanOut(ctx context.Context, event store.EventKey) (last string, err error)
	KeepFanOut(ctx context.Context, event store.EventKey, last string) error
	// Bury lists dead letters.
	Bury(ctx context.Context, letters []contract.DeadLetter) error
}

// Index knows the active subscriptions, and which events were seen within a day; *index.Index is one.
type Index interface {
	Look(ctx context.Context, resources []string, events []store.EventKey) (*index.View, error)
}

// Publisher hands messages to the broker and returns nil once all are confirmed.
type Publisher interface {
	Publish(ctx context.Context, messages ...rabbit.Message) error
}

// Listener is what a batch needs. All fields are needed save Catalogue, Trace and Wait.
type Listener struct {
	Store     Store
	Index     Index
	Publisher Publisher
	Names     rabbit.Names
	// Filters keeps the subscriptions' filters compiled.
	Filters *expr.Cache
	Log     *zap.Logger
	Metrics *Metrics
	// Catalogue is asked about every event; nil asks nobody.
	Catalogue Catalogue
	// Stats counts the events that are taken in; nil: nobody does.
	Stats *stats.Counter
	// Trace makes spans of batches and events; nil makes none.
	Trace *tracing.Tracer
	// Now is the clock.
	Now func() time.Time
	// Wait pauses before try n (from 1) after a failure, or returns when ctx ends; a growing wait unless it is set.
	Wait func(ctx context.Context, n int)

	trouble sync.Map // what is tried again and again → error
	fresh   fresh
	// archiveAgain is when the archive is tried again.
	archiveAgain time.Time
}

const (
	// maxPublish is how many messages one confirmed publish holds, so that a large fan-out does not stand in memory at once.
	maxPublish = 1000
	// publishTimeout bounds the wait for the broker's confirms.
	publishTimeout = 30 * time.Second
)

// Ready tells what the batches under way wait for; nil if nothing holds them.
func (l *Listener) Ready(context.Context) (err error) {
	l.trouble.Range(func(_, trouble any) bool {
		err, _ = trouble.(error)
		return false
	})
	return err
}

// Consume options: what is ready goes into a batch, while others are fetched and marked.
const (
	maxBatch = 200
	prefetch = 4 * maxBatch
	// pace is how far batches are kept apart at most: events that come one by one would otherwise cost several round trips each.
	pace = 12 * time.Millisecond
	// leaving is how long it takes at most to leave to the broker what can't be finished.
	leaving = time.Second
)

// Run listens until ctx ends. What is under way is finished then, for as long as drain, or else goes back to the queue in its
// old place: before what was fetched behind it. An error is final.
func (l *Listener) Run(ctx context.Context, conn *rabbit.Conn, drain time.Duration) error {
	work, cancel := outlast(ctx, drain)
	defer cancel()
	// Each can hold all that the broker hands out.
	done, large := make(chan published, prefetch), make(chan published, prefetch)
	var finishing, fanning sync.WaitGroup
	finishing.Go(func() { l.finish(ctx, work, done) })
	fanning.Go(func() { l.fanOutAll(ctx, work, large, done) })
	options := rabbit.ConsumeOptions{Prefetch: prefetch, MaxBatch: maxBatch, Drain: drain + leaving, HandOver: true, Pace: pace}
	err := conn.Consume(ctx, l.Names.Events, options, func(_ context.Context, batch []*rabbit.Delivery) {
		jobs, err := l.handle(ctx, work, messagesOf(batch))
		if err != nil {
			rabbit.Leave(batch)
			return
		}
		handOn(batch, jobs, done, large)
	})
	close(large)
	fanning.Wait()
	close(done)
	finishing.Wait()
	if errors.Is(err, rabbit.ErrDrain) {
		l.Log.Info("a batch goes back to the queue", zap.Error(err))
		return nil
	}
	return err
}

// outlast returns a context that ends a while after another.
func outlast(ctx context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(while, cancel) })
	return longer, cancel
}

func messagesOf(batch []*rabbit.Delivery) []rabbit.Message {
	messages := make([]rabbit.Message, len(batch))
	for i, d := range batch {
		messages[i] = d.Message
	}
	return messages
}

// handle takes a batch through the stages up to the confirmed publish. stop ends when no more tries are wanted; work ends when
// what is under way must end too.
func (l *Listener) handle(stop, work context.Context, messages []rabbit.Message) ([]*job, error) {
	begin := l.Now()
	jobs := read(messages, begin.UTC().Truncate(time.Millisecond))
	l.trace(jobs)
	l.Metrics.taken(jobs, begin)
	if err := l.check(stop, jobs); err != nil {
		return nil, err
	}
	if err := l.match(stop, work, jobs); err != nil {
		return nil, err
	}
	if err := l.publish(stop, work, jobs); err != nil {
		return nil, err
	}
	l.Metrics.published.Observe(l.Now().Sub(begin).Seconds())
	l.fresh.add(jobs)
	return jobs, nil
}

func (l *Listener) count(job *job) {
	result := resultMatched
	switch {
	case job.stuck:
		result = resultStuck
	case job.reason != "":
		result = resultDead
	case job.again:
		result = resultDuplicate
	case job.commands == 0: // nor is it a large one: those are finished once they have theirs
		result = resultUnmatched
	}
	l.Metrics.done(job, result)
	if job.exists && (result == resultMatched || result == resultUnmatched) {
		l.Stats.Events(job.resource, 1)
	}
	l.traced(job, result)
}

// match looks up, for the whole batch at once, who may want the events and which were seen, and gives each event its own.
func (l *Listener) match(stop, work context.Context, jobs []*job) error {
	start := l.Now()
	events := alive(jobs)
	if len(events) == 0 {
		return nil
	}
	known := l.fresh.among(events) // before Redis is asked: it may be told meanwhile
	view, err := l.look(stop, work, resourcesOf(events), keysOf(events))
	if err != nil {
		return err
	}
	for i, job := range events {
		job.match(view)
		job.wanted = l.passing(job, job.wanted)
		known[i] = known[i] || view.Seen[i]
	}
	dropRepeated(events, known)
	if err := l.reserve(stop, work, view, events); err != nil {
		return err
	}
	l.Metrics.match.Observe(l.Now().Sub(start).Seconds())
	return nil
}

func (l *Listener) look(stop, work context.Context, resources []string, events []store.EventKey) (view *index.View, err error) {
	err = l.untilItWorks(stop, "looking subscriptions up", func() error {
		view, err = l.Index.Look(work, resources, events)
		return err
	})
	return view, err
}

// untilItWorks tries again and again, with a growing wait, until stop ends; only then it returns an error. What no other try
// would mend comes back at once.
func (l *Listener) untilItWorks(stop context.Context, what string, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil || errors.Is(err, rabbit.ErrTooLarge) {
			l.trouble.Delete(what)
			return err
		}
		err = fmt.Errorf("%s: %w", what, err)
		if stop.Err() != nil {
			return err
		}
		l.trouble.Store(what, err)
		l.Log.Warn("the batch has to wait", zap.Error(err), zap.Int("try", n))
		l.wait(stop, n)
	}
}

func (l *Listener) wait(ctx context.Context, n int) {
	if l.Wait != nil {
		l.Wait(ctx, n)
		return
	}
	service.Backoff(ctx, n)
}
