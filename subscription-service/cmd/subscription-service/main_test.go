package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

const (
	patience   = 30 * time.Second
	gatewayKey = "the-key-of-the-tests-0123456789-abcdef"
	adminToken = "the-admin-token-of-the-tests"
	oneRing    = "k1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startService(t *testing.T, redis, amqp, namespace string) addresses {
	t.Helper()
	return startWith(t, redis, amqp, namespace, oneRing)
}

func startWith(t *testing.T, redis, amqp, namespace, ring string) addresses {
	t.Helper()
	app := service.New(zaptest.NewLogger(t))
	t.Cleanup(func() {
		testkit.LintMetrics(t, app.Metrics)
		testkit.DescribedMetrics(t, app.Metrics, "subscription-service")
		require.NoError(t, app.Stop(10*time.Second))
	})
	at, err := start(context.Background(), config{
		RedisURL: redis, AMQPURL: amqp, GatewayKey: gatewayKey, AdminToken: adminToken, Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Namespace: namespace,
		Rate: 1000, EventRate: 1000, Subscriptions: 1000, AuditEntries: 1000, Keyring: ring, PortalAdmin: "listener",
	}, app)
	require.NoError(t, err)
	return at
}

func call(t *testing.T, method, url, mediaType, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", mediaType)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(raw)
}

func statement(t *testing.T, action string) string {
	t.Helper()
	return statementOf(t, "con_x", action, "POST", "/orders/events")
}

func statementOf(t *testing.T, consumer, action, method, path string) string {
	t.Helper()
	signer, err := contract.NewSigner([]byte(gatewayKey), time.Now)
	require.NoError(t, err)
	s, err := signer.SignCaller(contract.Caller{Consumer: consumer, Resource: "orders", Action: action, Method: method, Path: path})
	require.NoError(t, err)
	return s
}

const oneEvent = `{"specversion":"1.0","id":"e1","source":"/shop","type":"order.created","data":{"total": 1.50}}`

func TestAnEventReachesTheBroker(t *testing.T) {
	url, namespace := testkit.Rabbit(t), testkit.Namespace(t)
	at := startService(t, testkit.Redis(t), url, namespace)
	require.Eventually(t, func() bool {
		status, _ := call(t, "GET", "http://"+at.admin+"/readyz", "", "")
		return status == http.StatusOK
	}, patience, 20*time.Millisecond)
	status, body := call(t, "POST", "http://"+at.gateway+"/gateway/orders/events", "application/cloudevents+json", oneEvent,
		contract.HeaderStatement, statement(t, contract.ActionPublish))
	require.Equal(t, http.StatusAccepted, status, body)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := rabbit.Open(ctx, url, rabbit.Options{Namespace: namespace, Name: t.Name()})
	require.NoError(t, err)
	defer conn.Close()
	var got rabbit.Message
	require.NoError(t, conn.Consume(ctx, conn.Names().Events, rabbit.ConsumeOptions{}, func(_ context.Context, batch []*rabbit.Delivery) {
		got = batch[0].Message
		rabbit.AckAll(batch)
		cancel()
	}))
	require.Equal(t, "orders.order.created", got.RoutingKey)
	e, err := contract.ParseEvent(got.ContentType, got.Headers, got.Body)
	require.NoError(t, err)
	require.Equal(t, `{"total": 1.50}`, string(e.DataEncoded))
}

func TestServesWhileTheBrokerIsAway(t *testing.T) {
	at := startService(t, testkit.Redis(t), "amqp://user:s3cr3tpw@127.0.0.1:1/", testkit.Namespace(t))
	status, body := call(t, "PUT", "http://"+at.admin+"/admin/v1/resources/orders", "application/json", `{}`, "Authorization", "Bearer "+adminToken)
	require.Equal(t, http.StatusCreated, status, body)
	status, body = call(t, "POST", "http://"+at.gateway+"/gateway/orders/events", "application/cloudevents+json", oneEvent,
		contract.HeaderStatement, statement(t, contract.ActionPublish))
	require.Equal(t, http.StatusServiceUnavailable, status, body)
	status, body = call(t, "GET", "http://"+at.admin+"/readyz", "", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	var answers map[string]string
	require.NoError(t, json.Unmarshal([]byte(body), &answers))
	require.Equal(t, "ok", answers["redis"])
	require.NotEqual(t, "ok", answers["rabbitmq"])
	require.NotContains(t, body, "s3cr3tpw")
}

func TestAllFaultsOfTheConfigurationAtOnce(t *testing.T) {
	c := config{GatewayKey: "short-s3cr3t", AdminToken: "tiny-s3cr3t", AllowCIDRs: []string{"10.0.0.0"}, Keyring: "k1:s3cr3t", DNS: "s3cr3t"}
	_, err := start(context.Background(), c, service.New(zaptest.NewLogger(t)))
	for _, name := range []string{"WEBHOOK_GATEWAY_KEY", "WEBHOOK_ADMIN_TOKEN", "WEBHOOK_ALLOW_CIDRS", "WEBHOOK_KEYRING", "WEBHOOK_DNS"} {
		require.ErrorContains(t, err, name)
	}
	require.NotContains(t, err.Error(), "s3cr3t")
}

func TestWithoutAKeyRingItDoesNotStart(t *testing.T) {
	c := config{GatewayKey: gatewayKey, AdminToken: adminToken}
	_, err := start(context.Background(), c, service.New(zaptest.NewLogger(t)))
	require.ErrorContains(t, err, `WEBHOOK_KEYRING is missing: make one with: echo "k1:$(openssl rand -base64 32)"`)
}

// A service that was given another ring than the one that sealed what Redis holds is not ready, and says which key it lacks.
func TestWithAnotherKeyRingItIsNotReady(t *testing.T) {
	redis, namespace := testkit.Redis(t), testkit.Namespace(t)
	at := startService(t, redis, "amqp://127.0.0.1:1/", namespace)
	status, body := call(t, "PUT", "http://"+at.admin+"/admin/v1/resources/orders", "application/json", `{}`, "Authorization", "Bearer "+adminToken)
	require.Equal(t, http.StatusCreated, status, body)
	status, body = call(t, "POST", "http://"+at.admin+"/admin/v1/consumers", "application/json",
		`{"name":"acme","grants":[{"resource":"orders","actions":["subscribe"]}]}`, "Authorization", "Bearer "+adminToken)
	require.Equal(t, http.StatusCreated, status, body)
	var consumer struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(body), &consumer))
	status, body = call(t, "POST", "http://"+at.gateway+"/gateway/orders/subscribe", "application/json", `{"callback_url":"https://example.com/"}`,
		contract.HeaderStatement, statementOf(t, consumer.ID, contract.ActionSubscribe, "POST", "/orders/subscribe"))
	require.Equal(t, http.StatusCreated, status, body)
	require.Equal(t, "ok", readiness(t, at)["keyring"])

	other := startWith(t, redis, "amqp://127.0.0.1:1/", namespace, "k2:MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI=")
	require.Contains(t, readiness(t, other)["keyring"], "the key ring lacks a key: k1")
	status, body = call(t, "GET", "http://"+other.gateway+"/gateway/orders/subscribe", "", "",
		contract.HeaderStatement, statementOf(t, consumer.ID, contract.ActionSubscribe, "GET", "/orders/subscribe"))
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "a key is missing here")
}

func readiness(t *testing.T, at addresses) (answers map[string]string) {
	t.Helper()
	_, body := call(t, "GET", "http://"+at.admin+"/readyz", "", "")
	require.NoError(t, json.Unmarshal([]byte(body), &answers))
	return answers
}
