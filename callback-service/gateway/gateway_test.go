package gateway

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
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
	return Call{Target: "https://consumer.example/hooks?a=b%2Fc", Subscription: "sub_1", Delivery: "dlv_1", Certificate: "cert_1", Timeouts: contract.Timeouts{Total: contract.Duration(3 * time.Second)},
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
	answer, err := c.Do(context.Background(), call())
	require.NoError(t, err)
	require.Equal(t, Answer{Outcome: contract.OutcomeResponse, Detail: contract.DetailAnswerCut, Status: 429, RetryAfter: "7"}, answer)
	require.Equal(t, contract.CallbackPath, got.URL.RequestURI())
	require.Equal(t, "body", string(body))
	require.Equal(t, "dlv_1", got.Header.Get("Webhook-Id"))
	stated, err := signer.VerifyCallback(got.Header.Get(contract.HeaderStatement))
	require.NoError(t, err)
	require.Equal(t, contract.Callback{Target: call().Target, Subscription: "sub_1", Delivery: "dlv_1", Certificate: "cert_1", Statement: stated.Statement, Timeouts: contract.Timeouts{Total: contract.Duration(3 * time.Second)}}, stated)
}

func TestAMethodIsStatedAndAnAnswerIsKeptWhenAskedFor(t *testing.T) {
	var got *http.Request
	c, signer := client(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set(contract.HeaderOutcome, "response")
		w.Header().Set("WebHook-Allowed-Origin", "*")
		_, _ = w.Write([]byte("challenge"))
	})
	asked := call()
	asked.Method, asked.Keep = http.MethodOptions, 5
	answer, err := c.Do(context.Background(), asked)
	require.NoError(t, err)
	require.Equal(t, "chall", string(answer.Body), "as much as was asked for")
	require.Equal(t, "*", answer.Header.Get("WebHook-Allowed-Origin"))
	require.Equal(t, http.MethodPost, got.Method, "on the gateway's route")
	stated, err := signer.VerifyCallback(got.Header.Get(contract.HeaderStatement))
	require.NoError(t, err)
	require.Equal(t, http.MethodOptions, stated.Method)
}

// Whoever tries again, as after a connection that broke, states it anew: the gateway takes a statement once.
func TestEachTryHasAStatementOfItsOwn(t *testing.T) {
	statements := make(chan string, 2)
	c, signer := client(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		statements <- r.Header.Get(contract.HeaderStatement)
		if len(statements) == 1 {
			panic(http.ErrAbortHandler)
		}
	})
	_, err := c.Do(context.Background(), call())
	require.Error(t, err, "and not sent a second time by the pool")
	require.Len(t, statements, 1)
	_, err = c.Do(context.Background(), call())
	require.NoError(t, err)
	first, err := signer.VerifyCallback(<-statements)
	require.NoError(t, err)
	second, err := signer.VerifyCallback(<-statements)
	require.NoError(t, err)
	require.NotEqual(t, first.Statement, second.Statement)
	require.Equal(t, first.Delivery, second.Delivery)
}

func TestAnAnswerOfTheGatewayItselfHasNoOutcome(t *testing.T) {
	c, _ := client(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	answer, err := c.Do(context.Background(), call())
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
	answer, err := c.Do(context.Background(), call())
	require.NoError(t, err)
	require.Equal(t, 302, answer.Status)
	require.Equal(t, 1, calls)
}

func TestAGatewayThatCanNotBeReachedIsAnErrorWithoutSecrets(t *testing.T) {
	c, _ := client(t, func(http.ResponseWriter, *http.Request) {})
	c.pool.Dial = func(ctx context.Context) (net.Conn, error) { return c.dial(ctx, false, "127.0.0.1:1") }
	answer, err := c.Do(context.Background(), call())
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
	_, err := c.Do(ctx, call())
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestABadGatewayURLIsRefused(t *testing.T) {
	for _, url := range []string{"", "gateway:9080", "/relative", "ftp://gateway"} {
		_, err := New(url, nil, 1)
		require.Error(t, err, url)
	}
}

// count counts the connections that a gateway gets.
func count(server *httptest.Server) *atomic.Int64 {
	opened := new(atomic.Int64)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	return opened
}

func TestAConnectionIsUsedAgain(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, 64<<10))
	}))
	opened := count(server)
	server.Start()
	t.Cleanup(server.Close)
	signer, err := contract.NewSigner([]byte(strings.Repeat("k", 32)), time.Now)
	require.NoError(t, err)
	c, err := New(server.URL, signer, 4)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	for range 10 {
		_, err := c.Do(context.Background(), call())
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, opened.Load())
}

// The status and the outcome are in the head: the endpoint has answered, whatever becomes of the rest.
func TestAnAnswerWhoseBodyBreaksCounts(t *testing.T) {
	c, _ := client(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(contract.HeaderOutcome, "response")
		w.Header().Set("Content-Length", "10")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	answer, err := c.Do(context.Background(), call())
	require.NoError(t, err)
	require.Equal(t, Answer{Outcome: contract.OutcomeResponse, Status: 200}, answer)
}

func TestACallSetsNoFramingAndNoSecondLine(t *testing.T) {
	var got *http.Request
	c, _ := client(t, func(_ http.ResponseWriter, r *http.Request) { got = r })
	evil := call()
	evil.Header = http.Header{"Host": {"evil"}, "Content-Length": {"1"}, "Transfer-Encoding": {"chunked"}, "Connection": {"close"},
		contract.HeaderStatement: {"forged"}, "X-Team": {"a\r\nX-Injected: 1"}, "X-Bad: 1\r\nX-Injected": {"1"}}
	_, err := c.Do(context.Background(), evil)
	require.NoError(t, err)
	require.NotEqual(t, "evil", got.Host)
	require.EqualValues(t, 4, got.ContentLength)
	require.Empty(t, got.TransferEncoding)
	require.Len(t, got.Header.Values(contract.HeaderStatement), 1)
	require.NotEqual(t, "forged", got.Header.Get(contract.HeaderStatement))
	require.Empty(t, got.Header.Get("X-Injected"))
	require.False(t, got.Close)
}

// A gateway over TLS that wants to know who calls; its connections are used again as without.
func TestAGatewayOverTLS(t *testing.T) {
	ours, theirs := testkit.NewAuthority(t), testkit.NewAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(contract.HeaderOutcome, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	opened := count(server)
	server.TLS = ours.Server()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	signer, err := contract.NewSigner([]byte(strings.Repeat("k", 32)), time.Now)
	require.NoError(t, err)
	c, err := New(server.URL, signer, 4)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = c.Do(context.Background(), call())
	require.ErrorContains(t, err, "unknown authority")
	c.TLS = files(t, ours, nil)
	_, err = c.Do(context.Background(), call())
	require.ErrorContains(t, err, "certificate required")
	c.TLS = files(t, ours, theirs)
	_, err = c.Do(context.Background(), call())
	require.ErrorContains(t, err, "unknown certificate authority")
	c.TLS = files(t, ours, ours)
	before := opened.Load()
	for range 5 {
		answer, err := c.Do(context.Background(), call())
		require.NoError(t, err)
		require.EqualValues(t, "callback-service", answer.Outcome)
	}
	require.EqualValues(t, 1, opened.Load()-before)
}

// files is a client that believes one authority and, unless that is nil, shows a certificate of another.
func files(t *testing.T, believes, of *testkit.Authority) *tlsconf.Client {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	f := tlsconf.Files{CA: put("ca", believes.PEM())}
	if of != nil {
		cert, key := of.Issue("callback-service", nil, nil)
		f.Cert, f.Key = put("cert", cert), put("key", key)
	}
	c, err := tlsconf.NewClient(tlsconf.Where{URL: "https://gateway"}, f, zap.NewNop())
	require.NoError(t, err)
	return c
}

func TestAnAnswerThatIsNoneIsAnError(t *testing.T) {
	for name, says := range map[string]string{
		"nothing": "", "another protocol": "SSH-2.0\r\n\r\n", "1xx without end": strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100), "half": "HTTP/1.1 200 OK\r\nX",
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := client(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				conn, _, _ := w.(http.Hijacker).Hijack()
				_, _ = io.WriteString(conn, says)
				_ = conn.Close()
			})
			answer, err := c.Do(context.Background(), call())
			require.Error(t, err)
			require.Equal(t, Answer{}, answer)
		})
	}
}

func BenchmarkDo(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(contract.HeaderOutcome, "response") }))
	defer server.Close()
	signer, err := contract.NewSigner([]byte(strings.Repeat("k", 32)), time.Now)
	require.NoError(b, err)
	c, err := New(server.URL, signer, 64)
	require.NoError(b, err)
	defer c.Close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Do(context.Background(), call()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
