package receive

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/signature"
)

const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

func ask(e *Endpoint, method, body string, header http.Header) (*httptest.ResponseRecorder, Got) {
	var got Got
	e.Show, e.Now, e.Tolerance = func(g Got) { got = g }, func() time.Time { return time.Unix(1e9, 0) }, time.Minute
	r := httptest.NewRequest(method, "/hooks?a=b", strings.NewReader(body))
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return w, got
}

func signed(t *testing.T, body string) http.Header {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	text, err := hook.Sign("m", time.Unix(1e9, 0), []byte(body))
	require.NoError(t, err)
	return http.Header{"Webhook-Id": {"m"}, "Webhook-Timestamp": {strconv.Itoa(1e9)}, "Webhook-Signature": {text}}
}

func TestACallbackIsShownAndAnswered(t *testing.T) {
	w, got := ask(&Endpoint{Status: 503, Consent: true}, http.MethodPost, "{}", nil)
	require.Equal(t, 503, w.Code)
	require.Equal(t, "/hooks?a=b", got.Path)
	require.Equal(t, "{}", string(got.Body))
	require.Nil(t, got.Verdict)
	keys := signature.Keys{Secrets: []string{secret}}
	_, got = ask(&Endpoint{Status: 204, Keys: keys}, http.MethodPost, "{}", signed(t, "{}"))
	require.True(t, got.Verdict.Holds)
	_, got = ask(&Endpoint{Status: 204, Keys: keys}, http.MethodPost, "{1}", signed(t, "{}"))
	require.False(t, got.Verdict.Holds)
}

func TestAHandshakeIsConsentedTo(t *testing.T) {
	origin := http.Header{"Webhook-Request-Origin": {"hooks.example"}}
	w, got := ask(&Endpoint{Status: 204, Consent: true}, http.MethodOptions, "", origin)
	require.Equal(t, 200, w.Code)
	require.Equal(t, "hooks.example", w.Header().Get("WebHook-Allowed-Origin"))
	require.Equal(t, "given to a handshake", got.Consent)
	w, _ = ask(&Endpoint{Status: 204}, http.MethodOptions, "", origin)
	require.Equal(t, 204, w.Code)
	require.Empty(t, w.Header().Get("WebHook-Allowed-Origin"))
}

func TestAChallengeIsAnsweredIfItsSignatureHolds(t *testing.T) {
	const question = `{"type":"webhook.verification","challenge":"abc"}`
	w, _ := ask(&Endpoint{Status: 204, Consent: true}, http.MethodPost, question, nil)
	require.JSONEq(t, `{"challenge":"abc"}`, w.Body.String())
	keys := signature.Keys{Secrets: []string{secret}}
	w, _ = ask(&Endpoint{Status: 204, Consent: true, Keys: keys}, http.MethodPost, question, signed(t, question))
	require.JSONEq(t, `{"challenge":"abc"}`, w.Body.String())
	w, got := ask(&Endpoint{Status: 204, Consent: true, Keys: keys}, http.MethodPost, question, signed(t, "{}"))
	require.Empty(t, w.Body.String())
	require.Equal(t, "not given to a challenge", got.Consent)
	w, _ = ask(&Endpoint{Status: 204}, http.MethodPost, question, nil)
	require.Empty(t, w.Body.String())
}
