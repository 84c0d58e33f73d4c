package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/plugin"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// The tests of this file run the files of apisix-conf and the real runner.
const (
	repoConf    = "../../apisix-conf"
	runnerCode  = "../../plugins"
	gatewayKey  = "gateway-key-gateway-key-gateway-key-"
	callbackKey = "callback-key-callback-key-callback-k"
)

// buildRunner builds the runner once for all tests.
var buildRunner = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "runner-")
	if err != nil {
		return "", err
	}
	runnerDir = dir
	binary := filepath.Join(dir, "webhook-runner")
	cmd := exec.Command("go", "build", "-o", binary, ".")
	cmd.Dir = runnerCode
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the runner: %w\n%s", err, out)
	}
	return binary, nil
})

func TestFilesOfTheRepository(t *testing.T) {
	env := config.NewEnvironment(func(string) (string, bool) { return "", false })
	static, err := config.ReadStatic(repoConf, env)
	require.NoError(t, err)
	require.NoError(t, plugin.CheckEnabled(static.Plugins))
	rules, err := config.ReadRules(repoConf, env)
	require.NoError(t, err)
	require.NotEmpty(t, rules.Routes)
	want := []plugin.ExtPluginEntry{{Name: "webhook-subscribe", Value: "{}"}, {Name: "webhook-callback", Value: "{}"}}
	for _, r := range rules.Routes {
		chain, err := plugin.Build(r.Plugins, static.Plugins)
		require.NoError(t, err)
		require.NotNil(t, chain.ExtPlugin, "route %s has no plugin of the runner", r.ID)
		assert.Equal(t, want, chain.ExtPlugin.Conf, "after a reload a call may run with the configuration of another route")
	}
	for _, name := range []string{"config.yaml", "apisix.yaml"} {
		text, err := os.ReadFile(filepath.Join(repoConf, name))
		require.NoError(t, err)
		assert.NotContains(t, string(text), "allow_degradation")
	}
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// startReal runs the gateway of the repository with the real runner.
func startReal(tb testing.TB, redis, node string, delay time.Duration) *running {
	tb.Helper()
	return startRealIn(tb, repoConf, map[string]string{"REDIS_URL": redis, "WEBHOOK_SUBSCRIPTION_NODE": node}, delay)
}

// startRealIn is startReal with the files of another directory and more of an environment.
func startRealIn(tb testing.TB, dir string, more map[string]string, delay time.Duration) *running {
	tb.Helper()
	binary, err := buildRunner()
	require.NoError(tb, err)
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "WEBHOOK_RUNNER": binary, "WEBHOOK_GATEWAY_PORT": "0", "WEBHOOK_GATEWAY_METRICS_PORT": "0",
		"WEBHOOK_EGRESS": freeAddress(tb), "WEBHOOK_LOG_LEVEL": "warn",
		"WEBHOOK_GATEWAY_KEY": gatewayKey, "WEBHOOK_CALLBACK_KEY": callbackKey,
		"WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8", "WEBHOOK_ALLOW_HTTP": "true",
	}
	maps.Copy(env, more)
	core, logs := observer.New(zapcore.InfoLevel)
	g, err := Start(Options{
		ConfDir: dir, Log: zap.New(core), RespawnDelay: delay,
		Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, g.Close(deadline(tb)))
		for _, e := range logs.FilterMessage("runner").All() {
			tb.Log(e.ContextMap()["output"])
		}
	})
	require.NoError(tb, g.Ready(deadline(tb)))
	return &running{Gateway: g, logs: logs, egress: env["WEBHOOK_EGRESS"]}
}

// key makes a consumer that may subscribe to orders, and returns its key.
func key(t *testing.T, redis string) string {
	t.Helper()
	s, err := store.Open(store.Options{URL: redis})
	require.NoError(t, err)
	defer func() { _ = s.Close() }()
	ctx := deadline(t)
	_, err = s.PutResource(ctx, contract.Resource{Name: "orders"})
	require.NoError(t, err)
	require.NoError(t, s.PutConsumer(ctx, contract.Consumer{
		ID: "con_1", Name: "acme", Grants: []contract.Grant{{Resource: "orders", Actions: []string{contract.ActionSubscribe}}},
	}))
	_, plain, err := s.CreateKey(ctx, "con_1", time.Now())
	require.NoError(t, err)
	return plain
}

func signer(t testing.TB, secret string) *contract.Signer {
	t.Helper()
	s, err := contract.NewSigner([]byte(secret), time.Now)
	require.NoError(t, err)
	return s
}

const subscribeCall = "POST /orders/subscribe HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n%s\r\n{}"

func TestRealStop(t *testing.T) {
	g := startReal(t, "redis://127.0.0.1:1/0", "127.0.0.1:1", time.Hour)
	got := g.raw(t, fmt.Sprintf(subscribeCall, ""))
	assert.Equal(t, 401, got.StatusCode)
	assert.Equal(t, "application/problem+json", got.Header.Get("Content-Type"))
	var problem struct{ Status int }
	require.NoError(t, json.Unmarshal([]byte(got.body), &problem))
	assert.Equal(t, 401, problem.Status)
	assert.NotEmpty(t, got.Header.Get("X-Request-Id"))
	assert.Equal(t, "30000", got.Header.Get("X-RateLimit-Limit"))
	assert.Equal(t, 503, g.raw(t, fmt.Sprintf(subscribeCall, "apikey: k\r\n")).StatusCode, "no Redis: it can't tell")
	assert.Equal(t, 400, g.raw(t, "GET /orders%2Fx/../subscribe HTTP/1.1\r\nHost: h\r\n\r\n").StatusCode, "the plugin asks for the raw target")
	var many strings.Builder
	for i := range 120 {
		_, _ = fmt.Fprintf(&many, "X-%d: 1\r\n", i)
	}
	assert.Equal(t, 400, g.raw(t, fmt.Sprintf(subscribeCall, many.String())).StatusCode, "it refuses what it can't see all of")
}

func TestRealRewrite(t *testing.T) {
	redis := testkit.StartRedis(t).URL
	g := startReal(t, redis, upstream(t), time.Hour)
	forged := "X-Webhook-Statement: forged\r\nX-Consumer-Id: me\r\nX_Webhook_Statement: forged\r\nConnection: X-Webhook-Statement\r\n"
	got := g.raw(t, fmt.Sprintf(subscribeCall, forged+"apikey: "+key(t, redis)+"\r\n"))
	require.Equal(t, 200, got.StatusCode, got.body)
	assert.Equal(t, "POST /gateway/orders/subscribe", firstLine(got))
	assert.True(t, strings.HasSuffix(got.body, "\n\n{}"))
	assert.NotContains(t, got.body, "forged")
	assert.NotContains(t, got.body, "\nApikey")
	_, statement, found := strings.Cut(got.body, "X-Webhook-Statement: ")
	require.True(t, found, got.body)
	statement, _, _ = strings.Cut(statement, "\n")
	caller, err := signer(t, gatewayKey).VerifyCaller(statement)
	require.NoError(t, err)
	assert.Equal(t, contract.Caller{
		Consumer: "con_1", Resource: "orders", Action: contract.ActionSubscribe, Method: "POST", Path: "/orders/subscribe", Statement: caller.Statement,
		From: "127.0.0.1", Key: caller.Key,
	}, caller)
	assert.True(t, strings.HasPrefix(caller.Key, "key_"))
	query := g.get(t, "/orders/subscribe?limit=2&cursor=a%2Fb", "apikey: "+key(t, redis))
	assert.Equal(t, "GET /gateway/orders/subscribe?limit=2&cursor=a%2Fb", firstLine(query))
}

func callback(tb testing.TB, g *running, target string) *http.Request {
	tb.Helper()
	statement, err := signer(tb, callbackKey).SignCallback(contract.Callback{Target: target, Subscription: "sub_1", Delivery: "del_1"})
	require.NoError(tb, err)
	r, err := http.NewRequest(http.MethodPost, "http://"+g.Addr()+"/-/callback", strings.NewReader(`{"a":1}`))
	require.NoError(tb, err)
	r.Header.Set(contract.HeaderStatement, statement)
	r.Header.Set("webhook-id", "del_1")
	return r
}

func TestRealCallback(t *testing.T) {
	g := startReal(t, "redis://127.0.0.1:1/0", "127.0.0.1:1", time.Hour)
	target := "http://" + upstream(t) + "/hook?x=%2F"
	client := &http.Client{}
	defer client.CloseIdleConnections()
	call := func(r *http.Request) answer {
		res, err := client.Do(r)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return answer{res, string(body)}
	}
	require.Eventually(t, func() bool { return call(callback(t, g, target)).StatusCode == http.StatusOK }, 10*time.Second, 5*time.Millisecond)
	got := call(callback(t, g, target))
	assert.Equal(t, "POST /hook?x=%2F", firstLine(got))
	assert.True(t, strings.HasSuffix(got.body, "\n\n"+`{"a":1}`))
	assert.Contains(t, got.body, "Webhook-Id: del_1")
	assert.NotContains(t, got.body, "X-Webhook-")
	assert.Equal(t, string(contract.OutcomeResponse), got.Header.Get(contract.HeaderOutcome))
	r := callback(t, g, target)
	r.Header.Del(contract.HeaderStatement)
	assert.Equal(t, 403, call(r).StatusCode)
}

func TestRealManyCallbacksAtOnce(t *testing.T) {
	const calls = 500
	var arrived, done sync.WaitGroup
	arrived.Add(calls)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { arrived.Done(); arrived.Wait() }))
	defer s.Close()
	g := startReal(t, "redis://127.0.0.1:1/0", "127.0.0.1:1", time.Hour)
	client := &http.Client{}
	defer client.CloseIdleConnections()
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer plain.Close()
	require.Eventually(t, func() bool { // the egress may have to wait for its port
		res, err := client.Do(callback(t, g, plain.URL))
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, 30*time.Second, 5*time.Millisecond)
	for range calls {
		r := callback(t, g, s.URL)
		done.Go(func() {
			res, err := client.Do(r)
			if assert.NoError(t, err) {
				assert.Equal(t, 200, res.StatusCode)
				_ = res.Body.Close()
			}
		})
	}
	done.Wait()
}

func TestRealRunnerKilled(t *testing.T) {
	g := startReal(t, "redis://127.0.0.1:1/0", "127.0.0.1:1", 200*time.Millisecond)
	call := fmt.Sprintf(subscribeCall, "")
	require.Equal(t, 401, g.raw(t, call).StatusCode)
	first := g.RunnerPID()
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Eventually(t, func() bool { return g.RunnerPID() == 0 }, 5*time.Second, time.Millisecond)
	assert.Equal(t, 503, g.raw(t, call).StatusCode)
	require.Eventually(t, func() bool { return g.raw(t, call).StatusCode == http.StatusUnauthorized }, 10*time.Second, 5*time.Millisecond)
	assert.NotEqual(t, first, g.RunnerPID())
}

func TestRealReload(t *testing.T) {
	g := startReal(t, "redis://127.0.0.1:1/0", "127.0.0.1:1", time.Hour)
	call := fmt.Sprintf(subscribeCall, "")
	require.Equal(t, 401, g.raw(t, call).StatusCode)
	first := g.RunnerPID()
	g.RestartRunner()
	require.Eventually(t, func() bool { p := g.RunnerPID(); return p != 0 && p != first }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return g.raw(t, call).StatusCode == http.StatusUnauthorized }, 10*time.Second, 5*time.Millisecond)
}

// A Redis that takes a connection and says nothing holds a call up inside the plugin.
func TestRealRunnerKilledInACall(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	asked := make(chan net.Conn, 16)
	go func() {
		defer close(asked)
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			asked <- c
		}
	}()
	defer func() {
		_ = silent.Close()
		for c := range asked {
			_ = c.Close()
		}
	}()
	g := startReal(t, "redis://"+silent.Addr().String()+"/0", "127.0.0.1:1", 20*time.Millisecond)
	status := make(chan int, 1)
	go func() { status <- g.raw(t, fmt.Sprintf(subscribeCall, "apikey: k\r\n")).StatusCode }()
	c := <-asked
	defer func() { _ = c.Close() }()
	require.NoError(t, syscall.Kill(g.RunnerPID(), syscall.SIGKILL))
	assert.Equal(t, 503, <-status)
	require.Eventually(t, func() bool { return g.raw(t, fmt.Sprintf(subscribeCall, "")).StatusCode == http.StatusUnauthorized }, 10*time.Second, 5*time.Millisecond)
}

func BenchmarkProxy(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer s.Close()
	node := s.Listener.Addr().String()
	b.Run("direct", func(b *testing.B) { load(b, func() *http.Request { return post(b, "http://"+node+"/plain/a") }) })
	g := startGateway(b, setup{static: staticFile(), rules: rulesFile(node)})
	for _, tc := range []struct{ name, path string }{{"without plugin", "/plain/a"}, {"with plugin", "/rewrite/a"}} {
		b.Run(tc.name, func(b *testing.B) { load(b, func() *http.Request { return post(b, "http://"+g.Addr()+tc.path) }) })
	}
	b.Run("real callback", func(b *testing.B) {
		g := startReal(b, "redis://127.0.0.1:1/0", "127.0.0.1:1", time.Hour)
		load(b, func() *http.Request { return callback(b, g, "http://"+node+"/hook") })
	})
}

func post(b *testing.B, url string) *http.Request {
	b.Helper()
	r, err := http.NewRequest(http.MethodPost, url, nil)
	require.NoError(b, err)
	return r
}

// load sends a request of 1 KB over and over, 32 at a time per core.
func load(b *testing.B, request func() *http.Request) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	defer client.CloseIdleConnections()
	body := strings.Repeat("x", 1024)
	template := request()
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := template.Clone(context.Background())
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			res, err := client.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				b.Errorf("status %d", res.StatusCode)
				return
			}
		}
	})
}
