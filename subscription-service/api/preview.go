package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/callback"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// previewBody names a subscription, or describes one that there is not yet, and an event to try it on.
type previewBody struct {
	Subscription *subscriptionBody `json:"subscription,omitempty" doc:"as for subscribe; or else give id"`
	ID           string            `json:"id,omitempty" maxLength:"100" doc:"one of the caller's subscriptions"`
	Event        object            `json:"event" doc:"a CloudEvent in the JSON format"`
	parsed       *event.Event
}

// Resolve checks what the schema can't say.
func (b *previewBody) Resolve(_ huma.Context, prefix *huma.PathBuffer) []error {
	at := prefix.With("")
	var errs []error
	if (b.Subscription == nil) == (b.ID == "") {
		errs = append(errs, fault(at+"subscription", "give either subscription or id"))
	}
	if len(b.Event.RawMessage) == 0 {
		return errs // the schema names it
	}
	parsed, err := contract.ParseStructured(b.Event.RawMessage)
	if err != nil {
		return append(errs, fault(at+"event", strings.TrimPrefix(err.Error(), contract.ErrEvent.Error()+": ")))
	}
	b.parsed = parsed
	return errs
}

type previewRequest struct {
	Resource string `path:"resource"`
	Body     previewBody
}

type previewAnswer struct{ Body contract.PreviewView }

// preview sends nothing and keeps nothing.
func (s subscriptions) preview(ctx context.Context, in *previewRequest) (*previewAnswer, error) {
	sub, err := s.previewed(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	view := contract.PreviewView{Types: typesMatch(sub, in.Body.parsed), Filter: filterMatches(sub, in.Body.parsed)}
	view.Wanted = view.Types.Matches && view.Filter.Matches && sub.Status == contract.StatusActive
	if sub.Status != contract.StatusActive {
		view.Reason = "the subscription is " + string(sub.Status)
	}
	if view.Request, err = s.requestOf(sub, in.Body.parsed); err != nil {
		view.Reason = err.Error()
	}
	if in.Body.ID == "" {
		view.Secret = sub.Secrets[0].Value
	}
	return &previewAnswer{view}, nil
}

// previewed is the subscription that is there, or that there would be.
func (s subscriptions) previewed(ctx context.Context, asked previewBody) (contract.Subscription, error) {
	if asked.ID != "" {
		return ownSubscription(ctx, s.store, asked.ID)
	}
	sub := s.fresh(callerOf(ctx), *asked.Subscription)
	return sub, fits(ctx, s.store, sub, "body.subscription.")
}

func typesMatch(sub contract.Subscription, e *event.Event) contract.MatchView {
	name := contract.Printable(e.Type())
	switch {
	case len(sub.Types) == 0:
		return contract.MatchView{Matches: true, Reason: "the subscription is for all types"}
	case contract.MatchesType(sub.Types, e.Type()):
		return contract.MatchView{Matches: true, Reason: name + " is one of " + strings.Join(sub.Types, ", ")}
	}
	return contract.MatchView{Matches: false, Reason: name + " is none of " + strings.Join(sub.Types, ", ")}
}

func filterMatches(sub contract.Subscription, e *event.Event) contract.MatchView {
	if sub.Filter == "" {
		return contract.MatchView{Matches: true, Reason: "there is no filter"}
	}
	is, err := expr.Passes(sub.Filter, e)
	switch {
	case err != nil:
		return contract.MatchView{Matches: false, Reason: err.Error()}
	case is:
		return contract.MatchView{Matches: true, Reason: "it is true"}
	}
	return contract.MatchView{Matches: false, Reason: "it is false"}
}

// requestOf returns an error that the consumer may see.
func (s subscriptions) requestOf(sub contract.Subscription, e *event.Event) (*contract.RequestView, error) {
	now := s.now()
	if sub.Pulls() {
		return letterOf(sub, e, now)
	}
	cmd := contract.NewCommand(e, sub.ID, sub.Resource, now)
	header, body, err := callback.Build(cmd, &sub, "", tracing.OfCommand(cmd), expr.NewCache(1), now)
	if err != nil {
		return nil, err
	}
	header.Set(contract.HeaderRequestOrigin, s.origin)
	view := &contract.RequestView{Method: http.MethodPost, URL: sub.CallbackURL, Headers: shown(header, sub.Auth)}
	view.Body, view.BodyBase64 = texts(body)
	return view, nil
}

// shown leaves the credential out.
func shown(header http.Header, auth *contract.Auth) map[string]string {
	all := make(map[string]string, len(header))
	for name, values := range header {
		all[name] = strings.Join(values, ", ")
	}
	if scheme, _, found := strings.Cut(all["Authorization"], " "); found {
		all["Authorization"] = scheme + " ***"
	}
	if auth != nil {
		for name := range auth.Headers {
			all[http.CanonicalHeaderKey(name)] = "***"
		}
	}
	return all
}
