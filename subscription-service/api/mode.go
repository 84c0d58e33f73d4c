package api

import (
	"encoding/base64"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/internal/callback"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// pushOnly are the fields of the pace that are about calling an endpoint, and whether they have a value.
func (p *Pace) pushOnly() map[string]bool {
	return map[string]bool{
		"rate_limit": p.RateLimit.Value != nil, "max_in_flight": p.MaxInFlight.Value != nil,
		"retry_schedule": p.RetrySchedule.Value != nil, "timeouts": p.Timeouts.Value != nil,
	}
}

// modeFaults refuses what does not go with the mode.
func (b *subscriptionBody) modeFaults(at string) []error {
	if b.Mode != contract.ModePull {
		if b.CallbackURL == "" {
			return []error{fault(at+"callback_url", `is required: say where callbacks go, or send "mode":"pull" to collect deliveries yourself`)}
		}
		return nil
	}
	sent := b.Pace.pushOnly()
	sent["callback_url"], sent["auth"], sent["headers"] = b.CallbackURL != "", b.Auth != nil, len(b.Headers) > 0
	return notForPull(at, sent)
}

// suitsMode refuses what does not go with the mode of the subscription that is changed.
func (p *subscriptionPatch) suitsMode(sub contract.Subscription) error {
	if !sub.Pulls() {
		return nil
	}
	sent := p.Pace.pushOnly()
	sent["callback_url"], sent["auth"], sent["headers"] = p.CallbackURL.Value != nil, p.Auth.Value != nil, p.Headers.Value != nil
	if errs := notForPull("body.", sent); len(errs) > 0 {
		return unprocessable(errs...)
	}
	return nil
}

func notForPull(at string, sent map[string]bool) []error {
	var errs []error
	for _, name := range []string{"callback_url", "auth", "headers", "rate_limit", "max_in_flight", "retry_schedule", "timeouts"} {
		if sent[name] {
			errs = append(errs, fault(at+name, "is about callbacks, and with mode pull there are none: leave it out"))
		}
	}
	return errs
}

// letterOf is what would be collected of an event. Its error may be seen by the consumer.
func letterOf(sub contract.Subscription, e *event.Event, now time.Time) (*contract.RequestView, error) {
	command := contract.NewCommand(e, sub.ID, sub.Resource, now)
	letter, err := callback.Letter(command, &sub, tracing.OfCommand(command), expr.NewCache(1))
	if err != nil {
		return nil, err
	}
	view := &contract.RequestView{Method: http.MethodGet, URL: "/" + sub.Resource + "/subscribe/" + sub.ID + "/stream"}
	if view.Headers, err = callback.Sign(letter, &sub, now); err != nil {
		return nil, err
	}
	view.Body, view.BodyBase64 = texts(letter.Body)
	return view, nil
}

// texts is a body as text, or in base64 where it is no UTF-8.
func texts(body []byte) (text, inBase64 string) {
	if utf8.Valid(body) {
		return string(body), ""
	}
	return "", base64.StdEncoding.EncodeToString(body)
}
