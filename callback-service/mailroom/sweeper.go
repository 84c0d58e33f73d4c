// Package mailroom gives up what nobody has collected in time.
package mailroom

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// sweepEvery is how often it is asked which mailboxes to look into.
	sweepEvery = time.Second
	// lease is for how long a mailbox is this process's: who has not said by then when to look again has died.
	lease = time.Minute
	// mostAtOnce mailboxes are taken at a time, and of each so many letters and bytes.
	mostAtOnce, mostLetters, mostBytes = 16, 128, 4 << 20
	// lookAgain is the longest time between two looks: a policy may have changed.
	lookAgain = time.Hour
	// afterTrouble is when to look again at what could not be swept.
	afterTrouble = 10 * time.Second
	// publishTimeout bounds the broker's confirm.
	publishTimeout = 10 * time.Second
	// everywhere is beyond every place of a mailbox.
	everywhere = math.MaxInt64 >> 10
)

// Publisher hands messages to the broker and returns once they are confirmed.
type Publisher interface {
	Publish(ctx context.Context, messages ...rabbit.Message) error
}

// Store is what the sweeper keeps and reads; *store.Store is one.
type Store interface {
	MailboxesToSweep(ctx context.Context, now time.Time, lease time.Duration, n int) ([]string, error)
	SweepAgain(ctx context.Context, sub string, at time.Time) error
	ForgetMailbox(ctx context.Context, sub string) error
	WaitingUpTo(ctx context.Context, sub string, place int64, n int) ([]store.Waiting, error)
	Letters(ctx context.Context, sub string, after int64, most, bytes int) (*contract.Subscription, []store.Kept, error)
	TakeOut(ctx context.Context, sub string, letters []store.Waiting) (int64, error)
	Policy(ctx context.Context, resource string) (contract.Policy, error)
	Record(ctx context.Context, records []store.Record) error
	Bury(ctx context.Context, letters []contract.DeadLetter) error
}

// Options of a Sweeper. All are needed.
type Options struct {
	Store     Store
	Publisher Publisher
	Names     rabbit.Names
	Log       *zap.Logger
	Metrics   prometheus.Registerer
	// Now is the clock.
	Now func() time.Time
}

// Sweeper gives up letters that are older than their resource's policy lets them be. Several may run, in other processes.
type Sweeper struct {
	Options

	givenUp prometheus.Counter
}

// New makes a sweeper; Run makes it work.
func New(o Options) *Sweeper {
	s := &Sweeper{o, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "webhook_mailbox_expired_total", Help: "Deliveries that were given up since nobody collected them in time.",
	})}
	o.Metrics.MustRegister(s.givenUp)
	return s
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	service.Every(ctx, sweepEvery, s.sweep)
	return nil
}

func (s *Sweeper) sweep(ctx context.Context) {
	due, err := s.Store.MailboxesToSweep(ctx, s.Now(), lease, mostAtOnce)
	if err != nil && ctx.Err() == nil {
		s.Log.Warn("no mailbox is swept meanwhile", zap.Error(err))
	}
	for _, sub := range due {
		next, err := s.look(ctx, sub)
		if ctx.Err() != nil {
			return // the lease ends
		}
		if err != nil {
			s.Log.Warn("a mailbox was not swept", zap.String("subscription", sub), zap.Error(err))
			next = s.Now().Add(afterTrouble)
		}
		if err := s.Store.SweepAgain(ctx, sub, next); err != nil {
			s.Log.Warn("a mailbox is swept once its lease is over", zap.String("subscription", sub), zap.Error(err))
		}
	}
}

// look gives up what is too old in a mailbox, a part at a time, and returns when to look again.
func (s *Sweeper) look(ctx context.Context, id string) (time.Time, error) {
	if err := s.discard(ctx, id); err != nil {
		return time.Time{}, err
	}
	sub, letters, err := s.Store.Letters(ctx, id, 0, mostLetters, mostBytes)
	if errors.Is(err, store.ErrNotFound) {
		return s.Now(), s.Store.ForgetMailbox(ctx, id)
	}
	if err != nil || len(letters) == 0 {
		return s.Now().Add(lookAgain), err
	}
	policy, err := s.Store.Policy(ctx, sub.Resource)
	if err != nil {
		return time.Time{}, err
	}
	old, age, now := 0, policy.Mailbox.Age(), s.Now()
	for old < len(letters) && now.Sub(letters[old].Since) >= age {
		old++
	}
	if old == 0 {
		return earlier(letters[0].Since.Add(age), now.Add(lookAgain)), nil
	}
	return now, s.giveUp(ctx, sub, letters[:old], age) // and what comes after these
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// discard takes out what can't be read among the first: nobody will ever get it.
func (s *Sweeper) discard(ctx context.Context, id string) error {
	heads, err := s.Store.WaitingUpTo(ctx, id, everywhere, mostLetters)
	if err != nil {
		return err
	}
	var damaged []store.Waiting
	for _, w := range heads {
		if w.Err != nil {
			s.Log.Error("a letter is damaged", zap.String("subscription", id), zap.String("delivery", w.Delivery), zap.Error(w.Err))
			damaged = append(damaged, w)
		}
	}
	if len(damaged) == 0 {
		return nil
	}
	_, err = s.Store.TakeOut(ctx, id, damaged)
	return err
}

// giveUp records first, then publishes, then takes out: after a crash in between the letters are there still.
func (s *Sweeper) giveUp(ctx context.Context, sub *contract.Subscription, letters []store.Kept, age time.Duration) error {
	var records []store.Record
	var messages []rabbit.Message
	var dead []contract.DeadLetter
	var out []store.Waiting
	for _, l := range letters {
		d := s.failed(l, age)
		records = append(records, store.Record{Delivery: d, Line: l.Command.Line()})
		messages = append(messages, s.Names.ToDead(d.Reason, rabbit.CommandMessage(l.Command)), s.exhausted(l, d))
		dead = append(dead, deadLetter(l, d))
		out = append(out, store.Waiting{Delivery: d.ID, Place: l.Place})
	}
	if err := s.Store.Record(ctx, records); err != nil {
		return err
	}
	if err := s.Store.Bury(ctx, dead); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := s.Publisher.Publish(within, messages...); err != nil {
		return fmt.Errorf("publishing what was not collected: %w", err)
	}
	if _, err := s.Store.TakeOut(ctx, sub.ID, out); err != nil {
		return err
	}
	s.givenUp.Add(float64(len(letters)))
	s.Log.Info("deliveries are given up that nobody collected in time", zap.String("subscription", sub.ID), zap.Int("count", len(letters)))
	return nil
}

func (s *Sweeper) failed(l store.Kept, age time.Duration) contract.Delivery {
	c := l.Command
	return contract.Delivery{
		ID: c.Delivery, Subscription: c.Subscription, EventID: c.Event.ID(), EventSource: c.Event.Source(), EventType: c.Event.Type(),
		Status: contract.DeliveryFailed, Reason: "not collected in time, which is " + contract.Duration(age).String(), CreatedAt: c.Created, UpdatedAt: s.Now().UTC(), AttemptCount: c.Attempt,
	}
}

// deadLetter is for the list of dead letters.
func deadLetter(l store.Kept, d contract.Delivery) contract.DeadLetter {
	return contract.DeadLetter{
		ID: d.ID, Kind: contract.DeadDelivery, Resource: l.Command.Resource, Reason: d.Reason, At: d.UpdatedAt, Created: d.CreatedAt,
		Subscription: d.Subscription, EventID: d.EventID, EventSource: d.EventSource, EventType: d.EventType, Attempts: d.AttemptCount,
	}
}

func (s *Sweeper) exhausted(l store.Kept, d contract.Delivery) rabbit.Message {
	return s.Names.ToOperators(l.Command.Resource, contract.NewOperation(contract.OperationExhausted, fmt.Sprint(d.AttemptCount), s.Now(), contract.Operation{
		Subscription: d.Subscription, Resource: l.Command.Resource, Delivery: d.ID,
		EventID: d.EventID, EventSource: d.EventSource, EventType: d.EventType, Attempts: d.AttemptCount, Reason: d.Reason,
	}))
}
