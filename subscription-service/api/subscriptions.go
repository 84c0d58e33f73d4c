package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// subscriptions are the calls on a consumer's own subscriptions.
type subscriptions struct {
	store  *store.Store
	reach  reach
	origin string
	now    func() time.Time
}

const (
	pathSubscribe    = "/{resource}/subscribe"
	pathSubscription = pathSubscribe + "/{id}"
)

func (s subscriptions) register(api huma.API) {
	const conflict, absent = http.StatusConflict, http.StatusNotFound
	create := operation("subscribe", http.MethodPost, pathSubscribe, "Subscribe", http.StatusBadRequest, absent, conflict,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	create.DefaultStatus = http.StatusCreated
	create.Description = "201 with the secret, or 200 with the existing subscription when the same consumer sends the same again."
	register(api, create, s.create)
	documentExisting(api)
	register(api, operation("preview", http.MethodPost, pathSubscribe+"/preview", "See whether a subscription would get an event, and the request",
		http.StatusBadRequest, absent, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType), s.preview)
	register(api, operation("list-subscriptions", http.MethodGet, pathSubscribe, "List the caller's own subscriptions", http.StatusBadRequest), s.list)
	register(api, operation("get-subscription", http.MethodGet, pathSubscription, "Get one subscription", absent), s.get)
	register(api, operation("change-subscription", http.MethodPatch, pathSubscription, "Change, pause or resume a subscription",
		http.StatusBadRequest, absent, conflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType), s.change)
	register(api, operation("unsubscribe", http.MethodDelete, pathSubscription, "Unsubscribe; no callback starts after it", absent), s.remove)
	register(api, operation("rotate-secret", http.MethodPost, pathSubscription+"/rotate-secret",
		"Get a new secret, and a new key of v1a; the old ones sign for 24 hours more", absent), s.rotate)
	s.registerVerification(api)
}

// documentExisting adds the answer 200 of subscribe, which huma can't tell from the code.
func documentExisting(api huma.API) {
	responses := api.OpenAPI().Paths[pathSubscribe].Post.Responses
	responses["200"] = &huma.Response{Description: "It existed already", Content: responses["201"].Content}
}

// Own is the path of one of the caller's subscriptions.
type Own struct {
	Resource string `path:"resource"`
	ID       string `path:"id" maxLength:"100"`
}

type subscriptionAnswer struct{ Body contract.SubscriptionView }

type createRequest struct {
	Resource string `path:"resource"`
	Body     subscriptionBody
}

type createAnswer struct {
	Status   int
	Location string `header:"Location"`
	Body     contract.SubscriptionView
}

func (s subscriptions) create(ctx context.Context, in *createRequest) (*createAnswer, error) {
	asked := s.fresh(callerOf(ctx), in.Body)
	policy, err := s.suits(ctx, asked)
	if err != nil {
		return nil, err
	}
	if policy.Verification.Needed() && !asked.Pulls() {
		asked.AskConsent(policy.Verification, asked.CreatedAt)
	}
	if err := fits(ctx, s.store, asked, "body."); err != nil {
		return nil, err
	}
	sub, created, err := s.store.CreateSubscription(ctx, asked)
	if err != nil {
		return nil, err
	}
	answer := &createAnswer{Status: http.StatusOK, Location: fmt.Sprintf("/%s/subscribe/%s", sub.Resource, sub.ID), Body: viewOf(sub, s.now())}
	if !created {
		return answer, nil
	}
	if err := s.keepOnlyWithConsumer(ctx, sub); err != nil {
		return nil, err
	}
	answer.Status, answer.Body.Secret = http.StatusCreated, sub.Secrets[0].Value
	return answer, nil
}

func (s subscriptions) fresh(caller contract.Caller, asked subscriptionBody) contract.Subscription {
	now := moment(s.now())
	sub := contract.Subscription{
		ID: contract.NewID("sub"), Consumer: caller.Consumer, Resource: caller.Resource, Mode: asked.Mode, CallbackURL: asked.CallbackURL,
		Types: asked.Types, Format: asked.Format, Description: asked.Description, Status: contract.StatusActive, CreatedAt: now, UpdatedAt: now,
		Confidential: contract.Confidential{Secrets: []contract.Secret{{Value: newSecret()}}, Auth: asked.Auth.auth(), Headers: asked.Headers},
	}
	asked.Signatures.applyTo(&sub)
	asked.Pace.apply(&sub)
	asked.Expressions.apply(&sub)
	normalize(&sub)
	return sub
}

// keepOnlyWithConsumer ends a new subscription whose consumer was deleted while its statement still held. Deleting removes
// the consumer first and then the subscriptions that it finds, so one of the two sees the other.
func (s subscriptions) keepOnlyWithConsumer(ctx context.Context, sub contract.Subscription) error {
	_, err := s.store.Consumer(ctx, sub.Consumer)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := s.store.DeleteSubscription(ctx, sub.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return huma.Error403Forbidden("the caller is no consumer any more")
}

// moment is a time as it is kept: milliseconds, UTC.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

type listRequest struct {
	Resource string `path:"resource"`
	Page
}

// Page are the parameters of every paged list.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	Cursor string `query:"cursor" maxLength:"200" doc:"next_cursor of the page before"`
}

type listAnswer[T any] struct {
	Body listBody[T]
}

type listBody[T any] struct {
	Items      []T    `json:"items" nullable:"false"`
	NextCursor string `json:"next_cursor,omitempty" doc:"left out at the end"`
}

func (s subscriptions) list(ctx context.Context, in *listRequest) (*listAnswer[contract.SubscriptionView], error) {
	caller := callerOf(ctx)
	subs, next, err := s.store.Subscriptions(ctx, caller.Consumer, caller.Resource, in.Cursor, in.Limit)
	if err != nil {
		return nil, badCursor(err)
	}
	views := make([]contract.SubscriptionView, len(subs))
	for i, sub := range subs {
		views[i] = viewOf(sub, s.now())
	}
	return &listAnswer[contract.SubscriptionView]{listBody[contract.SubscriptionView]{views, next}}, nil
}

func (s subscriptions) get(ctx context.Context, in *Own) (*subscriptionAnswer, error) {
	sub, err := ownSubscription(ctx, s.store, in.ID)
	if err != nil {
		return nil, err
	}
	return &subscriptionAnswer{viewOf(sub, s.now())}, nil
}

// ownSubscription reads a subscription of the caller; that of another consumer or resource does not exist to it.
func ownSubscription(ctx context.Context, from *store.Store, id string) (contract.Subscription, error) {
	sub, err := from.Subscription(ctx, id)
	if err == nil {
		err = mustOwn(ctx, sub)
	}
	return sub, err
}

func mustOwn(ctx context.Context, sub contract.Subscription) error {
	if caller := callerOf(ctx); sub.Consumer != caller.Consumer || sub.Resource != caller.Resource {
		return fmt.Errorf("subscription: %w", store.ErrNotFound)
	}
	return nil
}

// mustBeActive refuses what would send a callback to a subscription that gets none.
func mustBeActive(sub contract.Subscription) error {
	switch sub.Status {
	case contract.StatusActive:
		return nil
	case contract.StatusPending:
		return unproven()
	}
	return problem(contract.KindNotActive, fmt.Sprintf("the subscription is %s: set its status to active first", sub.Status))
}

type changeRequest struct {
	Own
	Body subscriptionPatch `contentType:"application/json"`
}

func (s subscriptions) change(ctx context.Context, in *changeRequest) (*subscriptionAnswer, error) {
	sub, err := s.store.ChangeSubscription(ctx, in.ID, func(sub *contract.Subscription) error {
		before, now := *sub, moment(s.now())
		in.Body.apply(sub, now)
		if err := mustOwn(ctx, *sub); err != nil {
			return err
		}
		if err := in.Body.suitsMode(before); err != nil {
			return err
		}
		if err := s.resumes(ctx, in.Body, before, sub, now); err != nil {
			return err
		}
		if in.Body.rewrites() {
			if err := fits(ctx, s.store, *sub, "body."); err != nil {
				return err
			}
		}
		return s.unburden(ctx, in.Body, sub.ID)
	})
	if err != nil {
		return nil, err
	}
	return &subscriptionAnswer{viewOf(sub, s.now())}, nil
}

// suits refuses where the resource's policy or the guard does not allow to call, for callbacks or for their tokens, and a
// certificate that could not be shown. It returns the policy.
func (s subscriptions) suits(ctx context.Context, sub contract.Subscription) (contract.Policy, error) {
	policy, err := s.store.Policy(ctx, sub.Resource)
	if err != nil {
		return policy, err
	}
	errs := certificateNeedsTLS(sub)
	for _, u := range urlsOf(sub) {
		if err := policy.CheckCallback(u.url); err != nil {
			errs = append(errs, fault("body."+u.field, err.Error()))
			continue
		}
		errs = append(errs, urlFaults("body."+u.field, s.reach.check(ctx, u.url))...)
	}
	if len(errs) > 0 {
		return policy, unprocessable(errs...)
	}
	return policy, nil
}

type fieldURL struct{ field, url string }

// urlsOf are those that a subscription lets be called.
func urlsOf(sub contract.Subscription) []fieldURL {
	if sub.Pulls() {
		return nil // nobody is called
	}
	urls := []fieldURL{{"callback_url", sub.CallbackURL}}
	if sub.Auth != nil && sub.Auth.OAuth2 != nil {
		urls = append(urls, fieldURL{"auth.token_url", sub.Auth.OAuth2.TokenURL})
	}
	return urls
}

// resumes checks where callbacks and their tokens go where they start: at new ones, or again at those that are there. Where the
// policy wants a consent that the callback URL has not given, it is asked for.
func (s subscriptions) resumes(ctx context.Context, asked subscriptionPatch, before contract.Subscription, sub *contract.Subscription, now time.Time) error {
	if !asked.CallbackURL.Sent && !asked.Auth.Sent && (!asked.Status.Sent || sub.Status != contract.StatusActive) {
		return nil
	}
	policy, err := s.suits(ctx, *sub)
	if err != nil {
		return err
	}
	if sub.Pulls() {
		policy.Verification = contract.VerifyNone // there is nobody to ask
	}
	if err := sub.Reconsider(before, asked.status(), policy.Verification, now); err != nil {
		return unproven()
	}
	return nil
}

// unburden forgets the failures of a subscription that is set active: they would disable it again at the next one.
func (s subscriptions) unburden(ctx context.Context, asked subscriptionPatch, id string) error {
	if asked.Status.Value == nil || *asked.Status.Value != contract.StatusActive {
		return nil
	}
	return s.store.Healthy(ctx, []string{id})
}

func (s subscriptions) remove(ctx context.Context, in *Own) (*struct{}, error) {
	if _, err := ownSubscription(ctx, s.store, in.ID); err != nil {
		return nil, err
	}
	return nil, s.store.DeleteSubscription(ctx, in.ID)
}

func (s subscriptions) rotate(ctx context.Context, in *Own) (*subscriptionAnswer, error) {
	secret, key := newSecret(), contract.NewSigningKey()
	sub, err := s.store.ChangeSubscription(ctx, in.ID, func(sub *contract.Subscription) error {
		now := moment(s.now())
		sub.Secrets, sub.UpdatedAt = rotate(sub.Secrets, secret, now), now
		if sub.Signs(contract.SignatureV1a) {
			sub.SigningKeys = rotate(sub.SigningKeys, key, now)
		}
		return mustOwn(ctx, *sub)
	})
	if err != nil {
		return nil, err
	}
	answer := &subscriptionAnswer{viewOf(sub, s.now())}
	answer.Body.Secret = secret
	return answer, nil
}
