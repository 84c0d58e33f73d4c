package token

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// maxToken is the longest token that is taken, in bytes: a header line of the gateway has room for 8 KiB.
const maxToken = 6 << 10

// request asks for a token through the gateway, as callbacks go: what may not be called for them may not be for this either.
func (s *Source) request(ctx context.Context, sub *contract.Subscription, timeouts contract.Timeouts) (string, time.Duration, error) {
	asked := sub.Auth.OAuth2
	config := clientcredentials.Config{
		ClientID: asked.ClientID, ClientSecret: asked.ClientSecret, TokenURL: asked.TokenURL,
		Scopes: strings.Fields(asked.Scope), AuthStyle: oauth2.AuthStyleInHeader,
	}
	if asked.InBody {
		config.AuthStyle = oauth2.AuthStyleInParams
	}
	if asked.Audience != "" {
		config.EndpointParams = url.Values{"audience": {asked.Audience}}
	}
	way := &way{gateway: s.gateway, call: gateway.Call{
		Target: asked.TokenURL, Subscription: sub.ID, Delivery: contract.NewID("tok"), Certificate: sub.Auth.CertificateID(), Timeouts: timeouts, Keep: gateway.AllOfIt,
	}}
	client := &http.Client{Transport: way, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	switch {
	case way.err != nil:
		return "", 0, way.err
	case err != nil:
		return "", 0, failureOf(way.answer, err) // the library's own text would hold the answer
	case !usable(token):
		return "", 0, &Failure{Detail: contract.DetailTokenAnswer, Status: way.answer.Status}
	}
	return token.AccessToken, lifeOf(token), nil
}

// usable reports whether a token is one to be sent in a header (RFC 6750).
func usable(token *oauth2.Token) bool {
	return (token.TokenType == "" || strings.EqualFold(token.TokenType, "bearer")) && len(token.AccessToken) <= maxToken &&
		httpguts.ValidHeaderFieldValue(token.AccessToken)
}

func lifeOf(token *oauth2.Token) time.Duration {
	if token.Expiry.IsZero() {
		return defaultLife
	}
	return time.Until(token.Expiry) // the library has used this clock
}

// way is the library's way to the token's endpoint: one call through the gateway.
type way struct {
	gateway Gateway
	call    gateway.Call
	answer  gateway.Answer
	err     error
}

var errNoResponse = errors.New("no response")

// RoundTrip makes way an http.RoundTripper.
func (w *way) RoundTrip(r *http.Request) (*http.Response, error) {
	w.call.Header = r.Header.Clone()
	w.call.Header.Set("Accept", "application/json")
	w.call.Body, w.err = io.ReadAll(r.Body) // from memory
	_ = r.Body.Close()
	if w.err == nil {
		w.answer, w.err = w.gateway.Do(r.Context(), w.call)
	}
	if w.err != nil || w.answer.Outcome != contract.OutcomeResponse {
		return nil, errors.Join(errNoResponse, w.err)
	}
	return &http.Response{
		StatusCode: w.answer.Status, Status: http.StatusText(w.answer.Status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.answer.Header, Body: io.NopCloser(bytes.NewReader(w.answer.Body)), ContentLength: int64(len(w.answer.Body)), Request: r,
	}, nil
}
