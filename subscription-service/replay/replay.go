// Package replay asks for deliveries again. A job on the replays queue names a contract.Replay; the worker reads the archive of
// events from where the replay begins up to a marker that it has put there itself, and publishes a callback command for each
// event that the replay is about:
//
//	read the archive → the subscription's events → look their records up, once a batch → decide → pace
//	→ ordered deliveries join their lines → publish commands, confirmed
//
// It works in slices. After each the progress is kept and the job goes back to the end of the queue, so that a long replay
// doesn't hold up the others. After a crash the job is handed out again and goes on from the progress kept; what was sent since
// is known by its record or, until it has one, has the same attempt number as before, by which the engine drops it.
package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// Store is what a replay needs to know and to leave behind; *store.Store is one.
type Store interface {
	Subscription(ctx context.Context, id string) (contract.Subscription, error)
	Replay(ctx context.Context, subscription, id string) (contract.Replay, error)
	SaveReplay(ctx context.Context, r contract.Replay) error
	// Statuses are the records of deliveries, nil where there is none.
	Statuses(ctx context.Context, deliveries []string) ([]*contract.Delivery, error)
	JoinLines(ctx context.Context, places []store.Place) error
	LeaveLine(ctx context.Context, line, delivery string) error
}

// Publisher hands messages to the broker and returns nil once all are confirmed.
type Publisher interface {
	Publish(ctx context.Context, messages ...rabbit.Message) error
}

// Archive is read as *rabbit.Conn reads a stream.
type Archive interface {
	ReadStream(ctx context.Context, queue string, from rabbit.StreamOffset, handle func(ctx context.Context, batch []rabbit.StreamMessage) error) error
}

// Worker works replays off. All fields are needed save Wait.
type Worker struct {
	Store     Store
	Publisher Publisher
	Names     rabbit.Names
	// Filters keeps the subscriptions' filters compiled.
	Filters *expr.Cache
	Log     *zap.Logger
	Metrics *Metrics
	// Rate is how many commands a replay publishes per second.
	Rate float64
	// Now is the clock.
	Now func() time.Time
	// Wait pauses before try n (from 1) after a failure, or returns when ctx ends; a growing wait unless it is set.
	Wait func(ctx context.Context, n int)

	limits sliceLimits // the default ones unless set
}

const (
	// together is how many replays are under way at a time.
	together = 4
	// publishTimeout bounds the wait for the broker's confirms.
	publishTimeout = 30 * time.Second
)

// job is the body of a message on the replays queue.
type job struct {
	Replay       string `json:"replay"`
	Subscription string `json:"subscription"`
}

// errJob is wrapped by the errors of a job that no other try would mend.
var errJob = errors.New("a replay that can't be done")

// Run works until ctx ends; slices under way keep their progress then and give their jobs back. An error is final.
func (w *Worker) Run(ctx context.Context, conn *rabbit.Conn, drain time.Duration) error {
	var slices sync.WaitGroup
	defer slices.Wait()
	return conn.Consume(ctx, w.Names.Replays, rabbit.ConsumeOptions{Prefetch: together, Drain: drain}, func(work context.Context, batch []*rabbit.Delivery) {
		for _, d := range batch {
			slices.Go(func() {
				w.Metrics.running.Inc()
				defer w.Metrics.running.Dec()
				if w.handle(ctx, work, conn, d.Message, d.Lost) {
					d.Ack()
				} else {
					d.Requeue()
				}
			})
		}
	})
}

// handle does a slice of a replay, and tells whether the job is done with. stop ends when no more tries are wanted; work ends
// when what is under way must end too; lost tells that the broker hands the job out again.
func (w *Worker) handle(stop, work context.Context, archive Archive, m rabbit.Message, lost func() bool) bool {
	for n := 1; ; n++ {
		err := w.step(stop, work, archive, m, lost)
		if errors.Is(err, errJob) {
			err = w.bury(work, m, err)
		}
		if err == nil {
			return true
		}
		if stop.Err() != nil || lost() {
			return false
		}
		w.Log.Warn("a replay has to wait", zap.Error(err), zap.Int("try", n))
		w.wait(stop, n)
	}
}

func (w *Worker) wait(ctx context.Context, n int) {
	if w.Wait != nil {
		w.Wait(ctx, n)
		return
	}
	service.Backoff(ctx, n)
}

// errInterrupted: the slice ended because the process does, or the job is somebody else's now.
var errInterrupted = errors.New("interrupted")

// step does a slice, keeps the progress, and puts the job back at the end of the queue unless the replay has ended.
func (w *Worker) step(stop, work context.Context, archive Archive, m rabbit.Message, lost func() bool) error {
	r, err := w.load(work, m)
	if errors.Is(err, store.ErrNotFound) {
		w.Log.Info("a replay is not known any more", zap.String("replay", contract.Printable(m.ID)))
		return nil
	}
	if err != nil || r.State != contract.ReplayRunning {
		return err
	}
	err = w.slice(&r, lost).run(stop, work, archive)
	// What was done counts, also when it ended with an error.
	if err := errors.Join(err, w.save(work, &r)); err != nil {
		return err
	}
	switch {
	case r.State != contract.ReplayRunning:
		w.ended(r)
		return nil
	case stop.Err() != nil || lost():
		return errInterrupted
	}
	return w.publish(work, w.Names.ToReplays(m))
}

// load reads the replay that a job names.
func (w *Worker) load(ctx context.Context, m rabbit.Message) (contract.Replay, error) {
	var j job
	if err := json.Unmarshal(m.Body, &j); err != nil || j.Replay == "" || j.Subscription == "" {
		return contract.Replay{}, fmt.Errorf("%w: its job must be JSON with replay and subscription", errJob)
	}
	r, err := w.Store.Replay(ctx, j.Subscription, j.Replay)
	if errors.Is(err, store.ErrDamaged) {
		return r, fmt.Errorf("%w: %w", errJob, err)
	}
	return r, err
}

func (w *Worker) save(ctx context.Context, r *contract.Replay) error {
	r.UpdatedAt = w.Now().UTC().Truncate(time.Millisecond)
	return w.Store.SaveReplay(ctx, *r)
}

func (w *Worker) bury(ctx context.Context, m rabbit.Message, cause error) error {
	w.Log.Error("a replay can't be done", zap.Error(cause))
	return w.publish(ctx, w.Names.ToDead(cause.Error(), m))
}

func (w *Worker) publish(ctx context.Context, messages ...rabbit.Message) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	return w.Publisher.Publish(ctx, messages...)
}

func (w *Worker) ended(r contract.Replay) {
	w.Metrics.ended.WithLabelValues(string(r.State)).Inc()
	w.Log.Info("a replay ended", zap.String("replay", r.ID), zap.String("subscription", r.Subscription), zap.String("state", string(r.State)),
		zap.Int64("scanned", r.Scanned), zap.Int64("sent", r.Sent), zap.String("reason", r.Reason))
}

// sliceLimits bound a slice.
type sliceLimits struct {
	time     time.Duration
	commands int
	// pace waits until n more commands may go.
	pace func(ctx context.Context, n int) error
	// chunk is the most that pace is asked for.
	chunk int
}

// newLimits of a slice at a rate. A chunk is what goes in a tenth of a second.
func newLimits(perSecond float64) sliceLimits {
	chunk := max(1, int(perSecond/10))
	return sliceLimits{time: 30 * time.Second, commands: 2000, chunk: chunk, pace: rate.NewLimiter(rate.Limit(perSecond), chunk).WaitN}
}
