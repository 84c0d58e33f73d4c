package consent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/token"
	"github.com/apisix-webhooks/apisix-webhooks/internal/callback"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// challengeType is the member "type" of a challenge.
const challengeType = "webhook.verification"

// asking is all that a question to an endpoint is made of.
type asking struct {
	sub      contract.Subscription
	timeouts contract.Timeouts
	token    string // the access token, where the consumer's credential is one of OAuth 2.0
}

// ask puts the question that the policy wants, and the other one to an endpoint that does not speak the first.
func (a *Asker) ask(ctx context.Context, sub contract.Subscription, timeouts contract.Timeouts) (by contract.Verification, v Verdict, err error) {
	q := asking{sub: sub, timeouts: timeouts}
	if q.token, err = a.Tokens.Token(ctx, &sub, timeouts); err != nil {
		v, _ = common(token.AnswerOf(err)) // it is never one of the endpoint's
		return sub.Consent.Asked, v, err
	}
	if sub.Consent.Asked == contract.VerifyChallenge {
		v, err = a.challenge(ctx, q)
		return contract.VerifyChallenge, v, err
	}
	if v, err = a.handshake(ctx, q); v.Kind != Unspoken {
		return contract.VerifyHandshake, v, err
	}
	if sub.Consent.Asked != contract.VerifyAny {
		return contract.VerifyHandshake, Verdict{Kind: Again, Reason: v.Reason}, err
	}
	v, err = a.challenge(ctx, q)
	return contract.VerifyChallenge, v, err
}

// handshake asks with OPTIONS. The consumer's own headers and credential go with it, as with a delivery.
func (a *Asker) handshake(ctx context.Context, q asking) (Verdict, error) {
	call, err := a.call(q, nil)
	if err != nil {
		return Verdict{Kind: Refused, Reason: err.Error()}, err
	}
	call.Method = http.MethodOptions
	call.Header.Del("Content-Type") // there is no content
	if q.sub.RateLimit > 0 {
		call.Header.Set(contract.HeaderRequestRate, strconv.FormatInt(int64(math.Ceil(q.sub.RateLimit*60)), 10))
	}
	if a.Sender.URL != "" {
		link, err := a.Signer.SignLink(contract.ConsentLink{Subscription: q.sub.ID, Round: q.sub.Consent.Round})
		if err != nil {
			return Verdict{Kind: Hold, Reason: "a link for a late consent can't be signed"}, err
		}
		call.Header.Set(contract.HeaderRequestCallback, a.Sender.URL+contract.ConsentPath+"/"+link)
	}
	answer, err := a.Gateway.Do(ctx, call)
	return DecideHandshake(answer, a.Sender.Origin), err
}

// challenge asks with a signed POST of a random text.
func (a *Asker) challenge(ctx context.Context, q asking) (Verdict, error) {
	text := rand.Text()
	body, _ := json.Marshal(map[string]string{"type": challengeType, "challenge": text, "subscription": q.sub.ID, "resource": q.sub.Resource}) // never fails
	call, err := a.call(q, body)
	if err != nil {
		return Verdict{Kind: Refused, Reason: err.Error()}, err
	}
	answer, err := a.Gateway.Do(ctx, call)
	return DecideChallenge(answer, text), err
}

// call makes a request as a delivery's is made, signed and with the consumer's headers and credential.
func (a *Asker) call(q asking, body []byte) (gateway.Call, error) {
	sub := q.sub
	sub.Format, sub.Transform = contract.FormatData, ""
	cmd := contract.NewCommand(question(sub, body, a.Now()), sub.ID, sub.Resource, a.Now())
	header, body, err := callback.Build(cmd, &sub, q.token, tracing.OfCommand(cmd), nil, a.Now())
	if err != nil {
		return gateway.Call{}, fmt.Errorf("making the question: %w", err)
	}
	header.Set(contract.HeaderRequestOrigin, a.Sender.Origin)
	return gateway.Call{
		Target: sub.CallbackURL, Subscription: sub.ID, Delivery: cmd.Delivery, Certificate: sub.Auth.CertificateID(), Timeouts: q.timeouts,
		Header: header, Body: body, Keep: gateway.AllOfIt,
	}, nil
}

func question(sub contract.Subscription, body []byte, now time.Time) *event.Event {
	e := event.New()
	e.SetID(contract.NewID("ask"))
	e.SetSource("/" + sub.Resource + "/subscribe/" + sub.ID)
	e.SetType(challengeType)
	e.SetTime(now)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = body
	return &e
}
