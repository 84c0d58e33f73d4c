package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// consents are the calls of whoever has a link for a late consent (CloudEvents HTTP webhook 1.0.2, section 4.1.3): it is all that
// they prove.
type consents struct {
	store     *store.Store
	publisher Publisher
	names     rabbit.Names
	now       func() time.Time
	given     prometheus.Counter
}

func newConsents(o Options) consents {
	given := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_verifications_total", Help: "Late consents to callbacks, by link."},
		[]string{"method", "result"})
	o.Metrics.MustRegister(given)
	return consents{o.Store, o.Publisher, o.Names, o.Now, given.WithLabelValues(string(contract.VerifyHandshake), "granted_later")}
}

func (c consents) register(api huma.API) {
	for method, id := range map[string]string{http.MethodGet: "consent", http.MethodPost: "post-consent"} {
		op := operation(id, method, contract.ConsentPath, "Consent to callbacks", http.StatusGone)
		op.Hidden = true // on the gateway it is another path, with a token, that no consumer makes up
		register(api, op, c.consent)
	}
}

// consentRequest may bound the callbacks: a header as the specification has it, or a parameter for who uses a browser.
type consentRequest struct {
	Rate      string `header:"WebHook-Allowed-Rate" maxLength:"20" doc:"callbacks per minute, or *"`
	RateParam string `query:"rate" maxLength:"20" doc:"the same, for a browser"`
}

type consentAnswer struct {
	Body struct {
		Status      contract.Status `json:"status"`
		AllowedRate int             `json:"allowed_rate,omitempty" doc:"callbacks per minute; left out: no bound"`
	}
}

func (c consents) consent(ctx context.Context, in *consentRequest) (*consentAnswer, error) {
	rate, err := contract.ParseAllowedRate(cmp.Or(in.Rate, in.RateParam))
	if err != nil {
		return nil, unprocessable(fault("header.WebHook-Allowed-Rate", "is neither a positive whole number of callbacks per minute nor an asterisk"))
	}
	link := linkOf(ctx)
	sub, err := c.store.ChangeSubscription(ctx, link.Subscription, func(sub *contract.Subscription) error {
		if err := sub.InRound(link.Round); err != nil {
			return err
		}
		sub.Consented(contract.VerifyHandshake, rate, moment(c.now()))
		return nil
	})
	if errors.Is(err, contract.ErrRound) || errors.Is(err, store.ErrNotFound) {
		return nil, problem(contract.KindLinkUsed, "this link is used or out of date")
	}
	if err != nil {
		return nil, err
	}
	c.given.Inc()
	c.tell(ctx, sub)
	answer := &consentAnswer{}
	answer.Body.Status, answer.Body.AllowedRate = sub.Status, sub.Consent.AllowedRate
	return answer, nil
}

// tell publishes the operational event. The consent stands without it.
func (c consents) tell(ctx context.Context, sub contract.Subscription) {
	operation := contract.NewOperation(contract.OperationVerified, sub.Consent.Round, c.now(), contract.Operation{
		Subscription: sub.ID, Resource: sub.Resource, Consumer: sub.Consumer, Attempts: sub.Consent.Attempts, Reason: "callback_url consented, by link",
	})
	operation.SetSource("/apisix-webhooks/subscription-service")
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := c.publisher.Publish(ctx, c.names.ToOperators(sub.Resource, operation)); err != nil {
		recordOf(ctx).err = fmt.Errorf("telling of a consent: %w", err)
	}
}
