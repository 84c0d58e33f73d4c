// Package delivery turns callback commands into calls. The way of a command is one line of stages:
//
//	due? → decode → lane → standing → line → rate → build and sign → post through the gateway → decide → record, publish,
//	acknowledge
//
// and beside it, never in its way, each attempt goes into the log.
//
// What a subscription collects by itself goes another way from its line on: into its mailbox, see mailbox.go.
//
// A command is acknowledged only after what follows from it is recorded and confirmed. What cannot start yet waits in its
// lane, or is parked: it goes back to the broker until its time comes.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/token"
	"github.com/apisix-webhooks/apisix-webhooks/internal/batch"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/stats"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

var noContext = context.Background() // for library calls that take a context and block on nothing

// Store is what the engine keeps and reads.
type Store interface {
	Standings(ctx context.Context, asked []store.Pending) ([]store.Standing, error)
	Record(ctx context.Context, records []store.Record) error
	LogAttempts(ctx context.Context, attempts []store.AttemptLog) error
	Take(ctx context.Context, asks []store.Ask) ([]store.Grant, error)
	Deposit(ctx context.Context, deposits []store.Deposit) ([]store.Deposited, error)
	Policy(ctx context.Context, resource string) (contract.Policy, error)
	LeaveLine(ctx context.Context, line, delivery string) error
	LineChanges(ctx context.Context, told func(line string)) error
	FailingSince(ctx context.Context, subscriptions []string, now time.Time) (map[string]time.Time, error)
	Healthy(ctx context.Context, subscriptions []string) error
	ChangeSubscription(ctx context.Context, id string, change func(*contract.Subscription) error) (contract.Subscription, error)
	ReportBreakers(ctx context.Context, replica string, open []contract.Breaker) error
	Bury(ctx context.Context, letters []contract.DeadLetter) error
}

// Gateway makes one call.
type Gateway interface {
	Do(ctx context.Context, call gateway.Call) (gateway.Answer, error)
}

// Options of an Engine. All but Lanes, Tokens, Stats, Trace and QuietSuccess are needed.
type Options struct {
	Store   Store
	Gateway Gateway
	// Transforms keeps the subscriptions' transforms compiled.
	Transforms *expr.Cache
	Log        *zap.Logger
	Metrics    *Metrics
	// Policy is how deliveries are attempted where neither subscription nor resource says otherwise.
	Policy contract.DeliveryPolicy
	// InFlight is the most commands at a time that are taken from the broker and not settled.
	InFlight int
	// BulkRate is how many commands of the bulk queue begin per second; all there are unless it is set.
	BulkRate float64
	// DisableAfter is how long a subscription may have nothing but failures.
	DisableAfter time.Duration
	// Drain is how long Run waits for attempts under way when it is told to stop.
	Drain time.Duration
	// Now is the clock; time.Now in production.
	Now func() time.Time
	// Replica names this process where admins read of its breakers; a name of its own unless it is set.
	Replica string
	// Origin names this installation to endpoints, in WebHook-Request-Origin.
	Origin string
	// Trace makes a span of each attempt; nil makes none.
	Trace *tracing.Tracer
	// QuietSuccess leaves the lines of attempts out that succeed.
	QuietSuccess bool
	// Tokens has the access tokens; nil: a source of the engine's own.
	Tokens *token.Source
	// Stats counts the attempts; nil: nobody does.
	Stats *stats.Counter
	// Lanes has the lanes' defaults unless it is set.
	Lanes lane.Options
}

// Engine delivers.
type Engine struct {
	Options

	origin    []string // of every delivery; never changed
	names     rabbit.Names
	publisher *rabbit.Publisher

	book   *book
	lanes  *lane.Lanes[*task]
	lines  *lines
	gate   *gate
	rest   *rest
	health *health
	logged *logWriter

	breakers *breakers

	inbox    *inbox // what may start
	mail     *inbox // what goes into a mailbox
	attempts sync.WaitGroup
	starting batch.Pacer
	posting  batch.Pacer

	gathering sync.Mutex
	settling  batch.Pacer
	settled   chan settlement // what is to be recorded
	urgent    chan struct{}   // among what is settled is something that others wait for
	loud      chan settlement // what is to be published
}

// New makes an engine; Run makes it work.
func New(o Options) *Engine {
	o.Lanes.Now = o.Now
	if o.Lanes.MaxWaiting == 0 {
		o.Lanes.MaxWaiting = o.InFlight // what the broker hands out may wait, as far as its lane lets it
	}
	if o.Tokens == nil {
		o.Tokens = token.New(o.Gateway, o.Now)
	}
	if o.Replica == "" {
		o.Replica = contract.NewID("rep")
	}
	e := &Engine{
		Options: o, origin: []string{o.Origin}, book: newBook(), lanes: lane.New[*task](o.Lanes), lines: newLines(o.Now),
		gate: &gate{now: o.Now}, rest: &rest{now: o.Now}, health: newHealth(o.Now), inbox: newInbox(), mail: newInbox(), breakers: newBreakers(),
		starting: batch.Pacer{Most: startPace}, posting: batch.Pacer{Most: startPace}, settling: batch.Pacer{Most: settlePace},
		// Room for all that is held, twice: after a lost connection the same commands are handed out again.
		urgent:  make(chan struct{}, 1),
		settled: make(chan settlement, 2*o.InFlight+1024), loud: make(chan settlement, 2*o.InFlight+1024),
	}
	e.logged = newLogWriter(e)
	o.Metrics.observe(e)
	return e
}

// Ready is nil while the gateway makes calls.
func (e *Engine) Ready(ctx context.Context) error { return e.gate.Ready(ctx) }

// Run delivers until ctx ends, then finishes what is under way and gives the rest back. It can be called once. Senders stop
// before receivers: the consumer first, then the starter and the attempts, the settlers last.
func (e *Engine) Run(ctx context.Context, conn *rabbit.Conn) error {
	e.names, e.publisher = conn.Names(), conn.Publisher()
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	var starter, settlers, announcers, logger sync.WaitGroup
	logger.Go(func() { e.logged.run(background) })
	starter.Go(func() { e.start(ctx, background, work) })
	starter.Go(func() { e.post(ctx, background) })
	starter.Go(func() { e.tick(ctx, background) })
	starter.Go(func() { e.listen(background) })
	starter.Go(func() { e.report(background) })
	for range settlerCount {
		settlers.Go(func() { e.settle(ctx) })
		announcers.Go(func() { e.announce(ctx) })
	}
	err := e.consume(ctx, conn)
	cut()
	end()
	starter.Wait()
	e.attempts.Wait()
	close(e.logged.queue)
	close(e.settled)
	settlers.Wait()
	close(e.loud)
	announcers.Wait()
	logger.Wait()
	return err
}

// consume takes commands, those of the bulk queue at their own rate. When one of the two ends, so does the other.
func (e *Engine) consume(ctx context.Context, conn *rabbit.Conn) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		return conn.Consume(ctx, e.names.Commands, rabbit.ConsumeOptions{Prefetch: e.InFlight, MaxBatch: maxBatch, Drain: e.Drain},
			func(_ context.Context, batch []*rabbit.Delivery) { e.arrive(queueCommands, batch) })
	})
	both.Go(func() error {
		limit := rate.NewLimiter(rate.Inf, bulkBatch)
		if e.BulkRate > 0 {
			limit.SetLimit(rate.Limit(e.BulkRate))
		}
		return conn.Consume(ctx, e.names.Bulk, rabbit.ConsumeOptions{Prefetch: min(mostBulk, e.InFlight), MaxBatch: bulkBatch, Drain: e.Drain},
			func(_ context.Context, batch []*rabbit.Delivery) {
				_ = limit.WaitN(ctx, len(batch)) // at the end it does not matter any more
				e.arrive(queueBulk, batch)
			})
	})
	return both.Wait()
}

// The queues, for metrics.
const queueCommands, queueBulk = "commands", "commands.bulk"

const (
	// mostBulk is how many commands of the bulk queue are held at a time, bulkBatch how many begin at once.
	mostBulk, bulkBatch = 1000, 4
	// maxBatch is how many commands share a round trip to Redis.
	maxBatch = 256
	// startPace and settlePace are how far apart batches are kept at most. What is settled is not waited for by an endpoint.
	startPace  = 3 * time.Millisecond
	settlePace = 25 * time.Millisecond
	// tickEvery is how often paused lanes, lines and rests are looked at.
	tickEvery = 20 * time.Millisecond
)

// tick moves what waits for a time. Once ctx ends it gives everything back that has not started.
func (e *Engine) tick(ctx, background context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for background.Err() == nil {
		select {
		case <-ticker.C:
		case <-background.Done():
		}
		if ctx.Err() != nil {
			e.giveBack(e.lanes.Drain()...)
			e.giveBack(e.lines.drain()...)
			e.giveBack(e.rest.drain()...)
			continue
		}
		e.move(e.lanes.Wake())
		e.enter(e.lines.stale()...)
		e.enter(e.rest.over()...)
	}
}

// listen hears of lines that moved, in this process or another.
func (e *Engine) listen(background context.Context) {
	for n := 1; background.Err() == nil; n++ {
		err := e.Store.LineChanges(background, func(line string) { e.enter(e.lines.moved(line)...) })
		if err != nil && background.Err() == nil {
			e.Log.Warn("not told of lines; they are asked for instead", zap.Error(err))
			service.Backoff(background, n)
		}
	}
}

// giveBack returns commands to the broker's queue.
func (e *Engine) giveBack(tasks ...*task) {
	for _, t := range tasks {
		e.book.close(t).Requeue()
	}
}

// insist repeats what needs Redis until it works or stop ends.
func (e *Engine) insist(stop context.Context, doing string, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if err == nil {
			return nil
		}
		if stop.Err() != nil || errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%s: %w", doing, err)
		}
		e.Log.Warn("waiting for Redis", zap.String("for", doing), zap.Error(err))
		service.Backoff(stop, n)
	}
}
