package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func valid(redis, amqp string) config {
	return config{
		RedisURL: redis, AMQPURL: amqp, GatewayURL: "http://127.0.0.1:9080", CallbackKey: strings.Repeat("k", 32),
		Keyring:       "k1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=",
		MetricsListen: "127.0.0.1:0", Schedule: []time.Duration{time.Second}, Timeout: time.Second, InFlight: 10,
		DisableAfter: time.Hour, AuditEntries: 1000, Shutdown: 5 * time.Second, Namespace: "test-callback-service-process", // not the engine tests' own: they run beside these
	}
}

func run(t *testing.T, c config) (address string) {
	t.Helper()
	app := service.New(zaptest.NewLogger(t))
	address, err := start(t.Context(), c, app)
	t.Cleanup(func() {
		testkit.LintMetrics(t, app.Metrics)
		testkit.DescribedMetrics(t, app.Metrics, "callback-service")
		require.NoError(t, app.Stop(10*time.Second))
	})
	require.NoError(t, err)
	return address
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestItIsReadyWithRedisAndTheBroker(t *testing.T) {
	address := run(t, valid(testkit.Redis(t), testkit.AMQP(t)))
	require.Eventually(t, func() bool {
		status, _ := get(t, "http://"+address+"/readyz")
		return status == http.StatusOK
	}, 20*time.Second, 10*time.Millisecond)
	_, metrics := get(t, "http://"+address+"/metrics")
	require.Contains(t, metrics, "webhook_attempts_in_flight 0")
}

func TestWithoutTheBrokerItLivesAndSaysWhatIsMissing(t *testing.T) {
	address := run(t, valid(testkit.Redis(t), "amqp://guest:hunter2@127.0.0.1:1/"))
	status, _ := get(t, "http://"+address+"/healthz")
	require.Equal(t, http.StatusOK, status)
	status, answers := get(t, "http://"+address+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, answers, "rabbitmq")
	require.NotContains(t, answers, "hunter2")
}

func TestEveryFaultOfTheConfigurationIsReportedAtOnceWithoutItsValue(t *testing.T) {
	c := valid("redis://127.0.0.1:1", "amqp://127.0.0.1:1")
	c.GatewayURL, c.CallbackKey, c.Timeout, c.InFlight, c.Shutdown, c.DisableAfter = "gateway", "hunter2", 0, 0, 0, 0
	c.Keyring = "k1:hunter2"
	c.Schedule = []time.Duration{time.Second, -time.Second}
	c.Questions, c.Origin, c.PublicURL = []time.Duration{0}, "hunter2 says", ""
	_, err := start(t.Context(), c, service.New(zaptest.NewLogger(t)))
	for _, name := range []string{
		"WEBHOOK_GATEWAY_URL", "WEBHOOK_CALLBACK_KEY", "WEBHOOK_CALLBACK_TIMEOUT", "WEBHOOK_MAX_IN_FLIGHT", "WEBHOOK_SHUTDOWN_TIMEOUT",
		"WEBHOOK_RETRY_SCHEDULE", "WEBHOOK_DISABLE_AFTER", "WEBHOOK_KEYRING entry 1", "WEBHOOK_VERIFICATION_SCHEDULE", "WEBHOOK_ORIGIN",
	} {
		require.ErrorContains(t, err, name)
	}
	require.NotContains(t, err.Error(), "hunter2")
}
