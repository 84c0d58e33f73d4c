package delivery

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const tokenURL = "https://login.example/token"

// guarded is a gateway before an endpoint that wants tokens and an endpoint that grants them: t-1, t-2 and so on.
type guarded struct {
	granted, called atomic.Int64
	// wants is the token that the endpoint takes.
	wants atomic.Value
	// grant overrides what the token's endpoint answers.
	grant func() gateway.Answer
}

func (g *guarded) Do(_ context.Context, call gateway.Call) (gateway.Answer, error) {
	if call.Target == tokenURL {
		n := g.granted.Add(1)
		if g.grant != nil {
			return g.grant(), nil
		}
		return gateway.Answer{Outcome: contract.OutcomeResponse, Status: 200, Body: fmt.Appendf(nil, `{"access_token":"t-%d","expires_in":3600}`, n)}, nil
	}
	g.called.Add(1)
	if call.Header.Get("Authorization") == "Bearer "+g.wants.Load().(string) {
		return answered(204)
	}
	return answered(http.StatusUnauthorized)
}

// startGuarded has a subscription with client credentials, one retry in an hour, and a clock that can be put forward.
func startGuarded(t *testing.T, g *guarded) (b *bench, forward *atomic.Int64) {
	t.Helper()
	b, forward = start(t, status(204)), &atomic.Int64{}
	g.wants.Store("t-1")
	b.change(t, func(sub *contract.Subscription) {
		sub.Auth = &contract.Auth{Type: contract.AuthOAuth2, OAuth2: &contract.OAuth2{TokenURL: tokenURL, ClientID: "me", ClientSecret: "s3cr3t"}}
	})
	b.restart(t, func(o *Options) {
		o.Gateway, o.Policy.RetrySchedule = g, []contract.Duration{contract.Duration(time.Hour)}
		o.Now = func() time.Time { return time.Now().Add(time.Duration(forward.Load())) }
	})
	return b, forward
}

func TestOneTokenServesManyDeliveries(t *testing.T) {
	g := &guarded{}
	b, _ := startGuarded(t, g)
	for i := range 50 {
		b.send(t, b.message(fmt.Sprint("d", i), 1))
	}
	for i := range 50 {
		b.settledAs(t, b.id(fmt.Sprint("d", i)), contract.DeliverySucceeded)
	}
	require.EqualValues(t, 1, g.granted.Load())
}

func TestATokenThatIsRefusedIsReplacedForTheNextAttemptWhichComesSoonAndCounts(t *testing.T) {
	g := &guarded{}
	b, forward := startGuarded(t, g)
	b.send(t, b.message("a", 1))
	b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	forward.Store(int64(2 * time.Minute))
	g.wants.Store("t-2")
	b.send(t, b.message("b", 1))
	d := b.settledAs(t, b.id("b"), contract.DeliverySucceeded)
	require.Equal(t, []int{401, 204}, []int{d.Attempts[0].Status, d.Attempts[1].Status})
	require.EqualValues(t, 3, g.called.Load())
}

func TestAFreshTokenThatIsRefusedWaitsForTheSchedule(t *testing.T) {
	g := &guarded{}
	b, _ := startGuarded(t, g)
	g.wants.Store("none")
	b.send(t, b.message("a", 1))
	d := b.settledAs(t, b.id("a"), contract.DeliveryPending)
	require.Equal(t, 401, d.Attempts[0].Status)
	require.Greater(t, d.NextAttempt.Sub(d.Attempts[0].At), 30*time.Minute)
	require.EqualValues(t, 1, g.granted.Load())
}

func TestWithoutATokenTheEndpointIsNotCalledAndTheRecordSaysWhy(t *testing.T) {
	g := &guarded{grant: func() gateway.Answer {
		return gateway.Answer{Outcome: contract.OutcomeResponse, Status: 401, Body: []byte(`{"error":"invalid_client","error_description":"s3cr3t"}`)}
	}}
	b, _ := startGuarded(t, g)
	b.send(t, b.message("a", 1))
	d := b.settledAs(t, b.id("a"), contract.DeliveryPending)
	require.Equal(t, contract.OutcomeToken, d.Attempts[0].Outcome)
	require.Equal(t, contract.DetailTokenRefused, d.Attempts[0].Detail)
	require.Zero(t, d.Attempts[0].Status, "it is not the endpoint's")
	require.Equal(t, "no access token: the token endpoint does not accept the client's credentials: it answered 401", d.Attempts[0].Error)
	require.NotContains(t, fmt.Sprint(d), "s3cr3t")
	require.Zero(t, g.called.Load())
}

func TestACallNamesTheClientCertificateAndHoldsNothingOfIt(t *testing.T) {
	b := start(t, status(204))
	b.change(t, func(sub *contract.Subscription) {
		sub.Auth = &contract.Auth{Type: contract.AuthMTLS, Certificate: &contract.ClientCertificate{ID: "cert_1", Chain: "ch4in", Key: "k3y"}}
	})
	b.send(t, b.message("a", 1))
	call := b.call(t)
	require.Equal(t, "cert_1", call.Certificate)
	require.False(t, strings.Contains(fmt.Sprint(call), "ch4in") || strings.Contains(fmt.Sprint(call), "k3y"))
}
