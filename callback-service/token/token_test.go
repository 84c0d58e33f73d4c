package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/http/httpguts"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a gateway that answers the n-th call, counted from 1.
type scripted struct {
	n      atomic.Int64
	calls  chan gateway.Call
	answer func(n int64) (gateway.Answer, error)
}

func (g *scripted) Do(_ context.Context, call gateway.Call) (gateway.Answer, error) {
	n := g.n.Add(1)
	g.calls <- call
	return g.answer(n)
}

func answers(answer func(n int64) (gateway.Answer, error)) *scripted {
	return &scripted{calls: make(chan gateway.Call, 1000), answer: answer}
}

func says(status int, body string) gateway.Answer {
	return gateway.Answer{Outcome: contract.OutcomeResponse, Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
}

// counted grants token-1, token-2 and so on.
func counted(more string) *scripted {
	return answers(func(n int64) (gateway.Answer, error) {
		return says(200, fmt.Sprintf(`{"access_token":"token-%d","token_type":"Bearer"%s}`, n, more)), nil
	})
}

func always(answer gateway.Answer, err error) *scripted {
	return answers(func(int64) (gateway.Answer, error) { return answer, err })
}

// clock stands at some time.
func clock() *testkit.Clock { return testkit.NewClock(time.Unix(1_700_000_000, 0)) }

func subscription() *contract.Subscription {
	return with(&contract.Auth{Type: contract.AuthOAuth2, OAuth2: &contract.OAuth2{
		TokenURL: "https://login.example/token?tenant=a", ClientID: "me & you", ClientSecret: "s3cr3t/+",
	}})
}

func with(auth *contract.Auth) *contract.Subscription {
	return &contract.Subscription{ID: "sub_1", Confidential: contract.Confidential{Auth: auth}}
}

func ask(t *testing.T, s *Source, sub *contract.Subscription) (string, error) {
	t.Helper()
	return s.Token(t.Context(), sub, contract.Timeouts{Total: contract.Duration(time.Second)})
}

func TestATokenIsAskedForThroughTheGatewayAsTheSubscription(t *testing.T) {
	g, sub := counted(""), subscription()
	sub.Auth.Certificate = &contract.ClientCertificate{ID: "cert_1"}
	token, err := ask(t, New(g, time.Now), sub)
	require.NoError(t, err)
	require.Equal(t, "token-1", token)
	call := <-g.calls
	require.Equal(t, []string{"https://login.example/token?tenant=a", "sub_1", "cert_1"}, []string{call.Target, call.Subscription, call.Certificate})
	require.Equal(t, contract.Duration(time.Second), call.Timeouts.Total)
	require.Equal(t, gateway.AllOfIt, call.Keep)
	require.NotEmpty(t, call.Delivery)
}

func TestTheClientsCredentialsGoWhereTheTokenEndpointWantsThem(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me+%26+you:s3cr3t%2F%2B")) // RFC 6749, section 2.3.1
	for name, c := range map[string]struct {
		change func(*contract.OAuth2)
		header string
		body   url.Values
	}{
		"basic":              {func(*contract.OAuth2) {}, basic, url.Values{"grant_type": {"client_credentials"}}},
		"body":               {func(o *contract.OAuth2) { o.InBody = true }, "", url.Values{"grant_type": {"client_credentials"}, "client_id": {"me & you"}, "client_secret": {"s3cr3t/+"}}},
		"scope and audience": {func(o *contract.OAuth2) { o.Scope, o.Audience = "a  b", "https://api.example" }, basic, url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "audience": {"https://api.example"}}},
	} {
		g, sub := counted(""), subscription()
		c.change(sub.Auth.OAuth2)
		_, err := ask(t, New(g, time.Now), sub)
		require.NoError(t, err, name)
		call := <-g.calls
		require.Equal(t, c.header, call.Header.Get("Authorization"), name)
		require.Equal(t, "application/x-www-form-urlencoded", call.Header.Get("Content-Type"), name)
		got, err := url.ParseQuery(string(call.Body))
		require.NoError(t, err)
		require.Equal(t, c.body, got, name)
	}
}

func TestWhoWantsNoTokenAsksForNone(t *testing.T) {
	g := counted("")
	for _, auth := range []*contract.Auth{nil, {Type: contract.AuthBearer, Token: "x"}} {
		token, err := ask(t, New(g, time.Now), with(auth))
		require.NoError(t, err)
		require.Empty(t, token)
	}
	require.Zero(t, g.n.Load())
}

func TestAThousandWhoWaitShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		g := answers(func(int64) (gateway.Answer, error) { <-open; return says(200, `{"access_token":"one"}`), nil })
		s := New(g, time.Now)
		var waiting sync.WaitGroup
		for range 1000 {
			waiting.Go(func() {
				token, err := ask(t, s, subscription())
				if err != nil || token != "one" {
					t.Errorf("got %q, %v", token, err)
				}
			})
		}
		synctest.Wait()
		close(open)
		waiting.Wait()
		if n := g.n.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestASlowTokenEndpointHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		g := answers(func(n int64) (gateway.Answer, error) {
			if n == 1 {
				<-open
			}
			return says(200, `{"access_token":"one"}`), nil
		})
		s := New(g, time.Now)
		slow := make(chan error, 1)
		go func() { _, err := ask(t, s, subscription()); slow <- err }()
		synctest.Wait()
		other := subscription()
		other.Auth.OAuth2.ClientID = "another"
		_, err := ask(t, s, other)
		require.NoError(t, err)
		err = <-slow // synctest's clock goes on
		require.Equal(t, &Failure{Detail: contract.DetailTokenTimeout}, err)
		close(open)
	})
}

func TestATokenIsUsedUntilShortlyBeforeItExpires(t *testing.T) {
	for name, c := range map[string]struct {
		says  string
		holds time.Duration
		over  time.Duration
	}{
		"an hour":     {`,"expires_in":3600`, 57 * time.Minute, time.Hour},
		"a text":      {`,"expires_in":"3600"`, 57 * time.Minute, time.Hour},
		"ten seconds": {`,"expires_in":10`, 7 * time.Second, 10 * time.Second},
		"nothing":     {``, 3 * time.Minute, defaultLife},
		"a year":      {`,"expires_in":31536000`, 23 * time.Hour, maxLife},
	} {
		c0, g := clock(), counted(c.says)
		s := New(g, c0.Now)
		for _, step := range []struct {
			by   time.Duration
			want string
		}{{0, "token-1"}, {c.holds, "token-1"}, {c.over - c.holds, "token-2"}} {
			c0.Advance(step.by)
			token, err := ask(t, s, subscription())
			require.NoError(t, err, name)
			require.Equal(t, step.want, token, name)
		}
	}
}

func TestWhoeverChangesTheCredentialGetsAnotherToken(t *testing.T) {
	g := counted("")
	s := New(g, time.Now)
	seen := map[string]bool{}
	for _, change := range []func(*contract.Auth){
		func(*contract.Auth) {}, func(a *contract.Auth) { a.OAuth2.ClientSecret = "other" }, func(a *contract.Auth) { a.OAuth2.Scope = "b" },
		func(a *contract.Auth) { a.OAuth2.TokenURL += "x" }, func(a *contract.Auth) { a.OAuth2.Audience = "x" },
		func(a *contract.Auth) { a.Certificate = &contract.ClientCertificate{ID: "x"} },
	} {
		sub := subscription()
		change(sub.Auth)
		token, err := ask(t, s, sub)
		require.NoError(t, err)
		require.False(t, seen[token])
		seen[token] = true
	}
}

func TestFailuresAreToldApartAndHoldNothingOfTheAnswer(t *testing.T) {
	no := func(outcome contract.Outcome, detail contract.Detail) gateway.Answer {
		return gateway.Answer{Outcome: outcome, Detail: detail, Status: 502}
	}
	failed := func(detail contract.Detail, status int) gateway.Answer {
		return gateway.Answer{Outcome: contract.OutcomeToken, Detail: detail, Status: status}
	}
	const leak = `"error_description":"s3cr3t","x":"s3cr3t"}`
	for name, c := range map[string]struct{ answer, want gateway.Answer }{
		"invalid_client":       {says(401, `{"error":"invalid_client",`+leak), failed(contract.DetailTokenRefused, 401)},
		"with 400":             {says(400, `{"error":"invalid_client",`+leak), failed(contract.DetailTokenRefused, 400)},
		"with 200":             {says(200, `{"error":"unauthorized_client",`+leak), failed(contract.DetailTokenRefused, 200)},
		"401 without a code":   {says(401, `s3cr3t`), failed(contract.DetailTokenRefused, 401)},
		"403 of another code":  {says(403, `{"error":"s3cr3t"}`), failed(contract.DetailTokenRefused, 403)},
		"invalid_scope":        {says(400, `{"error":"invalid_scope",`+leak), failed(contract.DetailTokenRequest, 400)},
		"400 without a code":   {says(400, `s3cr3t`), failed(contract.DetailTokenRequest, 400)},
		"503":                  {says(503, `s3cr3t`), failed(contract.DetailTokenAnswer, 503)},
		"429":                  {says(429, `s3cr3t`), failed(contract.DetailTokenAnswer, 429)},
		"404":                  {says(404, `<html>s3cr3t`), failed(contract.DetailTokenAnswer, 404)},
		"a redirect":           {says(302, `s3cr3t`), failed(contract.DetailTokenAnswer, 302)},
		"a redirect to repeat": {gateway.Answer{Outcome: contract.OutcomeResponse, Status: 307, Header: http.Header{"Location": {"https://evil.example/"}}}, failed(contract.DetailTokenAnswer, 307)},
		"no JSON":              {says(200, `s3cr3t`), failed(contract.DetailTokenAnswer, 200)},
		"no token":             {says(200, `{"token":"s3cr3t"}`), failed(contract.DetailTokenAnswer, 200)},
		"of another type":      {says(200, `{"access_token":"s3cr3t","token_type":"mac"}`), failed(contract.DetailTokenAnswer, 200)},
		"with a line feed":     {says(200, `{"access_token":"s3cr3t\nX: y"}`), failed(contract.DetailTokenAnswer, 200)},
		"without an end":       {says(200, `{"access_token":"`+strings.Repeat("s3cr3t", 2000)+`"}`), failed(contract.DetailTokenAnswer, 200)},
		"no time to connect":   {no(contract.OutcomeConnect, contract.DetailConnectTimeout), failed(contract.DetailTokenTimeout, 0)},
		"no answer in time":    {no(contract.OutcomeTimeout, contract.DetailHeaderTimeout), failed(contract.DetailTokenTimeout, 0)},
		"nobody there":         {no(contract.OutcomeConnect, ""), failed(contract.DetailTokenUnreachable, 0)},
		"no such host":         {no(contract.OutcomeDNS, ""), failed(contract.DetailTokenUnreachable, 0)},
		"a bad certificate":    {no(contract.OutcomeTLS, contract.DetailCertificateIssuer), failed(contract.DetailTokenUnreachable, 0)},
		"a private address":    {no(contract.OutcomeAddressRefused, ""), failed(contract.DetailTokenUnreachable, 0)},
		"cut":                  {no(contract.OutcomeReset, ""), failed(contract.DetailTokenUnreachable, 0)},
		"our own certificate":  {no(contract.OutcomeTLS, contract.DetailClientCertificate), no(contract.OutcomeTLS, contract.DetailClientCertificate)},
		"the gateway is full":  {no(contract.OutcomeOverloaded, ""), no(contract.OutcomeOverloaded, "")},
		"the gateway fails":    {gateway.Answer{Status: 503}, gateway.Answer{Status: 503}},
	} {
		_, err := ask(t, New(always(c.answer, nil), time.Now), subscription())
		require.Error(t, err, name)
		require.Equal(t, c.want, AnswerOf(err), name)
		for _, secret := range []string{"s3cr3t", "login.example", "me & you"} {
			require.NotContains(t, err.Error(), secret, name)
		}
	}
}

func TestAGatewayThatCanNotBeAskedIsNotTheTokenEndpointsFailure(t *testing.T) {
	broken := errors.New("asking the gateway: connection refused")
	g := always(gateway.Answer{}, broken)
	s := New(g, time.Now)
	for range 2 {
		_, err := ask(t, s, subscription())
		require.ErrorIs(t, err, broken)
		require.Equal(t, gateway.Answer{}, AnswerOf(err))
	}
	require.EqualValues(t, 2, g.n.Load(), "nothing was learned, so nothing is kept")
}

func TestAFailureStandsForAMomentAndARefusalLonger(t *testing.T) {
	for name, c := range map[string]struct {
		answer gateway.Answer
		life   time.Duration
	}{
		"refused": {says(401, `{"error":"invalid_client"}`), refusedLife},
		"failed":  {says(503, ``), failedLife},
	} {
		c0, g := clock(), always(c.answer, nil)
		s := New(g, c0.Now)
		for i, by := range []time.Duration{0, 0, c.life - time.Nanosecond, time.Nanosecond} {
			c0.Advance(by)
			_, err := ask(t, s, subscription())
			var failure *Failure
			require.ErrorAs(t, err, &failure, name)
			require.EqualValues(t, 1+i/3, g.n.Load(), "%s, time %d", name, i)
		}
	}
}

func TestARefusedTokenIsForgottenUnlessItIsFresh(t *testing.T) {
	c, g, sub := clock(), counted(`,"expires_in":3600`), subscription()
	s := New(g, c.Now)
	first, err := ask(t, s, sub)
	require.NoError(t, err)
	require.False(t, s.Refused(sub, first), "another would be refused as well")
	c.Advance(freshFor)
	require.True(t, s.Refused(sub, first))
	second, err := ask(t, s, sub)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.True(t, s.Refused(sub, first), "another delivery has got the next one already")
	again, err := ask(t, s, sub)
	require.NoError(t, err)
	require.Equal(t, second, again, "which stays")
	require.False(t, s.Refused(&contract.Subscription{}, "x"))
}

// What comes from a token endpoint is either a token that fits into a header or a failure, and never an error that quotes it.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "application/json", `{"access_token":"abc","token_type":"bearer","expires_in":60}`)
	f.Add(200, "application/x-www-form-urlencoded", "access_token=abc&expires_in=60")
	f.Add(400, "application/json", `{"error":"invalid_client"}`)
	f.Add(200, "text/plain", "%%%")
	f.Add(200, "application/json", `{"access_token":"a","expires_in":-9e99}`)
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		if status < 100 || status > 999 {
			return
		}
		answer := says(status, body)
		answer.Header.Set("Content-Type", contentType)
		token, err := New(always(answer, nil), time.Now).Token(t.Context(), subscription(), contract.Timeouts{})
		if err == nil {
			require.True(t, token != "" && len(token) <= maxToken && httpguts.ValidHeaderFieldValue(token))
			return
		}
		var failure *Failure
		require.ErrorAs(t, err, &failure)
	})
}
