package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, handler http.HandlerFunc) (*Client, *contract.Signer) {
	t.Helper()
	signer, err := contract.NewSigner([]byte(strings.Repeat("k", 32)), time.Now)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := New(server.URL+"/", signer, 4)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, signer
}

func call() Call {
	return Call{Target: "https://consumer.example/hooks?a=b%2Fc", Subscription: "sub_1", Delivery: "dlv_1", Timeouts: contract.Timeouts{Total: contract.Duration(3 * time.Second)},
		Header: http.Header{"Webhook-Id": {"dlv_1"}}, Body: []byte("body")}
}

func TestTheStatementBindsTargetSubscriptionAndDelivery(t *testing.T) {
	var got *http.Request
	var body []byte
	c, signer := client(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set(contract.HeaderOutcome, "response")
		w.Header().Set(contract.HeaderDetail, "answer_cut")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	answer, err := c.Post(context.Background(), call())
	require.NoError(t, err)
	require.Equal(t, Answer{contract.OutcomeResponse, contract.DetailAnswerCut, 429, "7"}, answer)
	require.Equal(t, contract.CallbackPath, got.URL.RequestURI())
	require.Equal(t, "body", string(body))
	require.Equal(t, "dlv_1", got.Header.Get("Webhook-Id"))
	stated, err := signer.VerifyCallback(got.Header.Get(contract.HeaderStatement))
	require.NoError(t, err)
	require.Equal(t, contract.Callback{Target: call().Target, Subscription: "sub_1", Delivery: "dlv_1", Timeouts: contract.Timeouts{Total: contract.Duration(3 * time.Second)}}, stated)
}

func TestAnAnswerOfTheGatewayItselfHasNoOutcome(t *testing.T) {
	c, _ := client(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	answer, err := c.Post(context.Background(), call())
	require.NoError(t, err)
	require.Equal(t, Answer{Status: 503}, answer)
}

func TestARedirectOfTheEndpointIsNotFollowed(t *testing.T) {
	calls := 0
	c, _ := client(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		w.Header().Set(contract.HeaderOutcome, "response")
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	answer, err := c.Post(context.Background(), call())
	require.NoError(t, err)
	require.Equal(t, 302, answer.Status)
	require.Equal(t, 1, calls)
}

func TestAGatewayThatCanNotBeReachedIsAnErrorWithoutSecrets(t *testing.T) {
	c, _ := client(t, func(http.ResponseWriter, *http.Request) {})
	c.url = "http://127.0.0.1:1/-/callback"
	answer, err := c.Post(context.Background(), call())
	require.Error(t, err)
	require.Equal(t, Answer{}, answer)
	require.NotContains(t, err.Error(), "consumer.example")
	require.NotContains(t, err.Error(), "eyJ")
}

func TestAGatewayThatHangsIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	c, _ := client(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Post(ctx, call())
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestABadGatewayURLIsRefused(t *testing.T) {
	for _, url := range []string{"", "gateway:9080", "/relative", "ftp://gateway"} {
		_, err := New(url, nil, 1)
		require.Error(t, err, url)
	}
}
