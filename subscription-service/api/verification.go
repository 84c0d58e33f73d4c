package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func viewOfConsent(c *contract.Consent) *contract.VerificationView {
	if c == nil {
		return nil
	}
	return &contract.VerificationView{
		Method: cmp.Or(c.By, c.Asked), State: c.State, Attempts: c.Attempts, LastError: c.LastError, NextAttempt: c.Next, VerifiedAt: c.VerifiedAt,
		AllowedRate: c.AllowedRate,
	}
}

// unproven answers what would start callbacks to an endpoint that has not consented.
func unproven() error {
	return problem(contract.KindNotActive, "the subscription is pending: it becomes active by itself once callback_url has consented; its verification says how far that is, and POST …/verify asks again")
}

// status is what a patch asks for, "" if it asks for none.
func (p *subscriptionPatch) status() contract.Status {
	if p.Status.Value == nil {
		return ""
	}
	return *p.Status.Value
}

// againAfter is how long after the beginning of a round another one can be begun.
const againAfter = 10 * time.Second

func (s subscriptions) registerVerification(api huma.API) {
	verify := operation("verify-subscription", http.MethodPost, pathSubscription+"/verify", "Ask callback_url for its consent again",
		http.StatusNotFound, http.StatusConflict, http.StatusTooManyRequests)
	verify.DefaultStatus = http.StatusAccepted
	verify.Description = "For a pending subscription, at most every 10 seconds."
	register(api, verify, s.verify)
}

// verify begins another round. The one before is over, and so is its link.
func (s subscriptions) verify(ctx context.Context, in *Own) (*subscriptionAnswer, error) {
	sub, err := s.store.ChangeSubscription(ctx, in.ID, func(sub *contract.Subscription) error {
		if err := mustOwn(ctx, *sub); err != nil {
			return err
		}
		if sub.Status != contract.StatusPending {
			return problem(contract.KindNotActive, fmt.Sprintf("the subscription is %s: only a pending one waits for a consent", sub.Status))
		}
		policy, err := s.suits(ctx, *sub)
		if err != nil {
			return err
		}
		return again(sub, policy.Verification, moment(s.now()))
	})
	if err != nil {
		return nil, err
	}
	return &subscriptionAnswer{viewOf(sub, s.now())}, nil
}

// again begins a round by the policy as it is now.
func again(sub *contract.Subscription, v contract.Verification, now time.Time) error {
	if !v.Needed() {
		return huma.Error409Conflict("the resource asks for no consent any more: set the subscription's status to active")
	}
	if wait := againAfter - now.Sub(sub.Consent.BegunAt); wait > 0 {
		seconds := wholeSeconds(wait)
		return huma.ErrorWithHeaders(problem(contract.KindAskedJustNow, fmt.Sprintf("the endpoint was asked just now: try again in %d s", seconds)),
			http.Header{"Retry-After": {fmt.Sprint(seconds)}})
	}
	sub.AskConsent(v, now)
	sub.UpdatedAt = now
	return nil
}
