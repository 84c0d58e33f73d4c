// Package consent asks endpoints whether they want callbacks, before any is sent: by the handshake of CloudEvents' HTTP webhooks
// or by a signed challenge. The calls go the way of deliveries, through the gateway and the egress.
//
// Who is to be asked, and when, stands in Redis, written with the subscription itself: no question is lost, and none is asked
// for a subscription or a callback URL that is no more.
package consent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/token"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// lookEvery is how often Redis is asked who is due.
	lookEvery = 250 * time.Millisecond
	// mostAtOnce bounds the questions under way.
	mostAtOnce = 100
	// lease is longer than a question can take, both kinds one after the other.
	lease = 3 * time.Minute
	// holdWait is how long a question waits that the gateway, Redis or the end of the service kept from being asked.
	holdWait = 5 * time.Second
)

// Store is what the asker reads and keeps.
type Store interface {
	ToAsk(ctx context.Context, now time.Time, lease time.Duration, n int) ([]string, error)
	PostponeAsking(ctx context.Context, id string, until time.Time) error
	ForgetAsking(ctx context.Context, id string) error
	MayAsk(ctx context.Context, consumer, host string) (time.Duration, error)
	Subscription(ctx context.Context, id string) (contract.Subscription, error)
	Policy(ctx context.Context, resource string) (contract.Policy, error)
	ChangeSubscription(ctx context.Context, id string, change func(*contract.Subscription) error) (contract.Subscription, error)
}

// Gateway makes one call.
type Gateway interface {
	Do(ctx context.Context, call gateway.Call) (gateway.Answer, error)
}

// Publisher hands messages to the broker and returns once they are confirmed.
type Publisher interface {
	Publish(ctx context.Context, messages ...rabbit.Message) error
}

// Options of an Asker. All are needed.
type Options struct {
	Store     Store
	Gateway   Gateway
	Tokens    *token.Source
	Publisher Publisher
	Names     rabbit.Names
	// Signer makes the links for late consents.
	Signer *contract.Signer
	Sender contract.Sender
	// Waits lie between the questions of a round: n waits make n+1 of them.
	Waits []time.Duration
	// Timeouts bound a question where neither subscription nor resource says otherwise.
	Timeouts contract.Timeouts
	Log      *zap.Logger
	Metrics  *Metrics
	// Now is the clock.
	Now func() time.Time
}

// Asker asks. Make it with New.
type Asker struct{ Options }

// New makes an asker; Run makes it work.
func New(o Options) *Asker { return &Asker{o} }

// Run asks until ctx ends. Questions under way end with it, and are asked again by whoever comes next.
func (a *Asker) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	slots := make(chan struct{}, mostAtOnce)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		for _, id := range a.due(ctx, cap(slots)-len(slots)) {
			slots <- struct{}{}
			asking.Go(func() {
				defer func() { <-slots }()
				a.serve(ctx, id)
			})
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *Asker) due(ctx context.Context, most int) []string {
	if most == 0 {
		return nil
	}
	ids, err := a.Store.ToAsk(ctx, a.Now(), lease, most)
	if err != nil && ctx.Err() == nil {
		a.Log.Warn("nobody is asked for consent meanwhile", zap.Error(err))
	}
	return ids
}

// serve asks one endpoint, if it still is to be asked, and if the bounds on questions let it.
func (a *Asker) serve(ctx context.Context, id string) {
	sub, timeouts, err := a.read(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrDamaged):
		a.Log.Warn("a subscription whose consent was to be asked for can't be read", zap.String("subscription", id), zap.Error(err))
		_ = a.insist(ctx, "forgetting a question", func() error { return a.Store.ForgetAsking(ctx, id) }) // it was logged
		return
	case err != nil:
		a.later(ctx, id, holdWait, err)
		return
	}
	if due := sub.NextAsked(); due.IsZero() || due.After(a.Now()) {
		return // changed since: Redis knows when it is due
	}
	wait, err := a.Store.MayAsk(ctx, sub.Consumer, hostOf(sub.CallbackURL))
	if err != nil || wait > 0 {
		a.Metrics.count(sub.Consent.Asked, resultPostponed)
		a.later(ctx, id, cmp.Or(wait, holdWait), err)
		return
	}
	by, verdict, err := a.ask(ctx, sub, timeouts)
	if ctx.Err() != nil || verdict.Kind == Hold {
		a.Metrics.count(by, resultHeld)
		a.later(ctx, id, holdWait, err)
		return
	}
	a.note(ctx, sub, by, verdict)
}

func (a *Asker) read(ctx context.Context, id string) (sub contract.Subscription, timeouts contract.Timeouts, err error) {
	if sub, err = a.Store.Subscription(ctx, id); err != nil {
		return sub, timeouts, err
	}
	policy, err := a.Store.Policy(ctx, sub.Resource)
	return sub, sub.Delivery.Or(policy.DeliveryPolicy).Or(contract.DeliveryPolicy{Timeouts: a.Timeouts}).Timeouts, err
}

// hostOf is the same for all spellings of a host, whatever the port.
func hostOf(callbackURL string) string {
	u, err := url.Parse(callbackURL)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// later leaves a question for another time. What can't be written is asked when the lease is over.
func (a *Asker) later(ctx context.Context, id string, wait time.Duration, why error) {
	if why != nil && ctx.Err() == nil {
		a.Log.Warn("a question for consent waits", zap.String("subscription", id), zap.Error(why))
	}
	if ctx.Err() != nil {
		wait = 0
	}
	_ = a.Store.PostponeAsking(context.WithoutCancel(ctx), id, a.Now().Add(wait))
}

// note keeps what an answer means, unless it came too late: the round is another one by now, or over.
func (a *Asker) note(ctx context.Context, asked contract.Subscription, by contract.Verification, v Verdict) {
	var sub contract.Subscription
	err := a.insist(ctx, "keeping a consent", func() (err error) {
		sub, err = a.Store.ChangeSubscription(context.WithoutCancel(ctx), asked.ID, func(sub *contract.Subscription) error {
			if err := sub.InRound(asked.Consent.Round); err != nil {
				return err
			}
			a.apply(sub, by, v)
			return nil
		})
		return err
	})
	if err != nil {
		a.Metrics.count(by, resultStale)
		return
	}
	a.Metrics.count(by, resultOf(sub.Consent.State, v))
	a.Log.Info("asked for consent", zap.String("subscription", sub.ID), zap.String("method", string(by)), zap.Int("attempt", sub.Consent.Attempts),
		zap.String("state", string(sub.Consent.State)), zap.String("reason", v.Reason))
	a.tell(ctx, sub)
}

func (a *Asker) apply(sub *contract.Subscription, by contract.Verification, v Verdict) {
	now := a.Now().UTC().Truncate(time.Millisecond)
	sub.Attempt()
	if v.Kind == Granted {
		sub.Consented(by, v.Rate, now)
		return
	}
	next, reason := time.Time{}, v.Reason
	switch n := sub.Consent.Attempts; {
	case v.Kind == Refused:
	case n <= len(a.Waits):
		next = now.Add(a.Waits[n-1])
	default:
		reason = fmt.Sprintf("given up after %d questions: %s", n, reason)
	}
	sub.Refused(reason, next, now)
}

// tell publishes the end of a round as an operational event.
func (a *Asker) tell(ctx context.Context, sub contract.Subscription) {
	kind, reason := contract.OperationVerified, "callback_url consented"
	switch sub.Consent.State {
	case contract.ConsentPending:
		return
	case contract.ConsentFailed:
		kind, reason = contract.OperationUnverified, sub.StatusReason
	}
	message := a.Names.ToOperators(sub.Resource, contract.NewOperation(kind, sub.Consent.Round, a.Now(), contract.Operation{
		Subscription: sub.ID, Resource: sub.Resource, Consumer: sub.Consumer, Attempts: sub.Consent.Attempts, Reason: reason,
	}))
	_ = a.insist(ctx, "telling of a consent", func() error { return a.Publisher.Publish(ctx, message) }) // it was logged
}

// insist repeats what needs Redis or the broker until it works or ctx ends. What no repeating mends is returned at once.
func (a *Asker) insist(ctx context.Context, doing string, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if err == nil || ctx.Err() != nil || errors.Is(err, contract.ErrRound) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) {
			return err
		}
		a.Log.Warn("waiting", zap.String("for", doing), zap.Error(err))
		service.Backoff(ctx, n)
	}
}
