package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const orderSchema = `{"type":"object","required":["total"],"properties":{"total":{"type":"number","minimum":0}}}`

// catalogued makes a consumer with both grants on orders, which have two types and a policy.
func (w *world) catalogued(policy string) (consumer string) {
	w.t.Helper()
	consumer = w.consumer("acme", "orders")
	w.setPolicy(policy)
	return consumer
}

func (w *world) setPolicy(policy string) {
	w.t.Helper()
	a := w.asAdmin("PUT", "/admin/v1/resources/orders", fmt.Sprintf(
		`{"types":[{"name":"order.created","description":"Somebody ordered.","schema":%s},{"name":"order.paid"}],"policy":%s}`, orderSchema, policy))
	require.Equal(w.t, http.StatusOK, a.status, "%s", a.body)
}

func TestAPolicyIsRefusedByField(t *testing.T) {
	w := newWorld(t)
	for policy, location := range map[string]string{
		`{"color":"red"}`:                      "body.policy.color",
		`{"schema_mode":"loud"}`:               "body.policy.schema_mode",
		`{"schema_mode":1}`:                    "body.policy.schema_mode",
		`{"callback_hosts":["a.*.example"]}`:   "body.policy.callback_hosts[0]",
		`{"callback_hosts":"a.example"}`:       "body.policy.callback_hosts",
		`{"callback_schemes":["https","ftp"]}`: "body.policy.callback_schemes[1]",
		`{"verification":"trust"}`:             "body.policy.verification",
		`{"max_subscriptions":0}`:              "body.policy.max_subscriptions",
		`{"max_subscriptions":1.5}`:            "body.policy.max_subscriptions",
		`{"max_payload":10485761}`:             "body.policy.max_payload",
		`{"timeouts":{"read":"5s"}}`:           "body.policy.timeouts.read",
		`{"retry_schedule":["0s"]}`:            "body.policy.retry_schedule[0]",
		`{"log":{"max_age":"1m"}}`:             "body.policy.log.max_age",
		`{"log":{"max_age":"a day"}}`:          "body.policy.log.max_age",
		`{"log":{"max_bytes":1}}`:              "body.policy.log.max_bytes",
		`{"log":{"body_excerpt":16385}}`:       "body.policy.log.body_excerpt",
		`{"log":{"days":1}}`:                   "body.policy.log.days",
	} {
		body := `{"policy":` + policy + `}`
		require.Contains(t, w.asAdmin("PUT", "/admin/v1/resources/orders", body).problem(t, http.StatusUnprocessableEntity), location, policy)
		require.Contains(t, w.asAdmin("PATCH", "/admin/v1/resources/orders", body).problem(t, http.StatusUnprocessableEntity), location, policy)
	}
	whole := `{"schema_mode":"warn","callback_hosts":["a.example","*.b.example"],"callback_schemes":["https"],"verification":"any","max_subscriptions":2,"max_payload":1000,` +
		`"retry_schedule":[],"timeouts":{"total":"20s"},"log":{"max_age":"24h","max_bytes":1048576,"body_excerpt":0}}`
	a := w.asAdmin("PUT", "/admin/v1/resources/orders", `{"policy":`+whole+`}`)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	require.JSONEq(t, `{"name":"orders","types":[],"policy":`+whole+`}`, string(a.body))
	require.JSONEq(t, string(a.body), string(w.asAdmin("GET", "/admin/v1/resources/orders", nil).body))
}

func TestASchemaThatCanNotBeUsedIsRefusedWithItsPlace(t *testing.T) {
	w := newWorld(t)
	for schema, says := range map[string]string{
		`{"properties":{"a":{"type":"strin"}}}`:                          "/properties/a/type",
		`{"properties":{"a":{"pattern":"(?=x)"}}}`:                       "/properties/a/pattern is not a regular expression of the RE2 syntax",
		`{"properties":{"a":{"$ref":"http://127.0.0.1:1/secret.json"}}}`: "/properties/a/$ref refers to another document",
		`{"$ref":"file:///etc/passwd"}`:                                  "/$ref refers to another document",
		strings.Repeat(`{"not":`, 70) + `{}` + strings.Repeat(`}`, 70):   "nested deeper than 64",
	} {
		body := `{"types":[{"name":"a"},{"name":"b","schema":` + schema + `}]}`
		at := w.asAdmin("PUT", "/admin/v1/resources/orders", body).problem(t, http.StatusUnprocessableEntity)
		require.Contains(t, at["body.types[1].schema"], says)
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, w.asAdmin("PUT", "/admin/v1/resources/orders",
		`{"types":[{"name":"a","schema":{"description":"`+strings.Repeat("x", 64<<10)+`"}}]}`).status)
	require.Empty(t, w.asAdmin("GET", "/admin/v1/resources", nil).items(t))
}

func TestAnEventThatBreaksItsSchemaIsRefusedByFieldInRejectMode(t *testing.T) {
	w := newWorld(t)
	acme := w.catalogued(`{"schema_mode":"reject","max_payload":200}`)
	publish := func(eventType, data string) answer {
		return w.as(acme, "POST", "/orders/events", fmt.Sprintf(`{"specversion":"1.0","id":"e1","source":"/shop","type":"%s","data":%s}`, eventType, data), "Content-Type", structured)
	}
	for _, c := range []struct{ eventType, data, location, says string }{
		{"order.created", `{"total":-5}`, "body.data/total", "must be at least 0"},
		{"order.created", `{"total":"s3cr3t"}`, "body.data/total", "make it number"},
		{"order.created", `{}`, "body.data", "lacks total: add it"},
		{"order.lost", `{}`, "body.type", "not in the catalogue"},
		{"order.paid", `"` + strings.Repeat("x", 200) + `"`, "body.data", "at most 200"},
	} {
		a := publish(c.eventType, c.data)
		require.Contains(t, a.problem(t, http.StatusUnprocessableEntity)[c.location], c.says)
		require.NotContains(t, string(a.body), "s3cr3t")
	}
	a := w.as(acme, "POST", "/orders/events", `{"total":-5}`, "Content-Type", "application/json",
		"ce-specversion", "1.0", "ce-id", "e1", "ce-source", "/shop", "ce-type", "order.created")
	require.Contains(t, a.problem(t, http.StatusUnprocessableEntity), "body/total", "in the binary mode the data is the body")
	batch := `[` + strings.Replace(oneEvent, `"e1"`, `"e0"`, 1) + `,` + strings.Replace(oneEvent, "1.50", "-1", 1) + `]`
	a = w.as(acme, "POST", "/orders/events", batch, "Content-Type", "application/cloudevents-batch+json")
	require.Len(t, a.problem(t, http.StatusUnprocessableEntity), 1)
	require.Contains(t, string(a.body), `[1].data/total`)
	require.Empty(t, w.publisher.take())
	require.NotContains(t, w.transcript.String(), "s3cr3t")
	require.Equal(t, http.StatusAccepted, publish("order.created", `{"total":5}`).status)
	require.Equal(t, http.StatusAccepted, publish("order.paid", `5`).status, "a type without a schema")
	require.NoError(t, testutil.GatherAndCompare(w.app.Metrics, strings.NewReader(`
# HELP webhook_schema_violations_total Events that break the schemas of their resource, by mode: warn (taken), reject (refused).
# TYPE webhook_schema_violations_total counter
webhook_schema_violations_total{mode="reject",resource="orders"} 6
`), "webhook_schema_violations_total"))

	for _, policy := range []string{`{"schema_mode":"warn"}`, `{"schema_mode":"off"}`, `{}`} {
		w.setPolicy(policy)
		require.Equal(t, http.StatusAccepted, publish("order.created", `{}`).status, policy)
		require.Equal(t, http.StatusAccepted, publish("order.lost", `{}`).status, policy)
	}
}

func TestAChangeOfAnotherReplicaHoldsWithinASecond(t *testing.T) {
	w := newWorld(t)
	acme := w.catalogued(`{}`)
	_, err := w.store.ChangeResource(context.Background(), "orders", func(r *contract.Resource) { r.Policy = json.RawMessage(`{"schema_mode":"reject"}`) })
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		a := w.as(acme, "POST", "/orders/events", oneEvent[:len(oneEvent)-len(`{"total": 1.50}}`)]+`{}}`, "Content-Type", structured)
		return a.status == http.StatusUnprocessableEntity
	}, time.Second, 10*time.Millisecond)
}

func TestAPolicyBoundsWhereCallbacksGo(t *testing.T) {
	w := newWorld(t)
	acme := w.catalogued(`{"callback_hosts":["*.example.com"],"callback_schemes":["https"]}`)
	subscribe := func(url string) answer {
		return w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": url})
	}
	require.Contains(t, subscribe("https://hooks.example.org/").problem(t, http.StatusUnprocessableEntity)["body.callback_url"], "use *.example.com")
	require.Contains(t, subscribe("https://10.1.0.1/").problem(t, http.StatusUnprocessableEntity), "body.callback_url", "an address that the service allows")
	require.Contains(t, subscribe("http://hooks.example.com/").problem(t, http.StatusUnprocessableEntity), "body.callback_url", "the service's own rules")
	require.Zero(t, w.stored(acme, "orders"))
	made := subscribe("https://hooks.example.com/")
	require.Equal(t, http.StatusCreated, made.status, "%s", made.body)
	path := "/orders/subscribe/" + made.text(t, "id")

	patch := func(body string) answer { return w.as(acme, "PATCH", path, body) }
	require.Contains(t, patch(`{"callback_url":"https://example.com/"}`).problem(t, http.StatusUnprocessableEntity), "body.callback_url")
	require.Equal(t, http.StatusOK, patch(`{"callback_url":"https://b.hooks.example.com/"}`).status)
	w.setPolicy(`{"callback_hosts":["only.example"]}`)
	require.Equal(t, http.StatusOK, patch(`{"description":"d"}`).status, "nothing starts by that")
	require.Equal(t, http.StatusOK, patch(`{"status":"paused"}`).status)
	require.Contains(t, patch(`{"status":"active"}`).problem(t, http.StatusUnprocessableEntity), "body.callback_url")
	require.Equal(t, http.StatusOK, patch(`{"status":"active","callback_url":"https://only.example/"}`).status)
}

func TestConcurrentSubscribersGetAsManySubscriptionsAsThePolicyAllows(t *testing.T) {
	w := newWorld(t)
	acme := w.catalogued(`{"max_subscriptions":2}`)
	statement := w.statement(acme, "orders", "subscribe")
	answers := make([]answer, 10)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			a, err := w.try("POST", w.gateway+"/gateway/orders/subscribe", fmt.Sprintf(`{"callback_url":"https://consumer.example/%d"}`, i), contract.HeaderStatement, statement)
			if answers[i] = a; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	created := 0
	for _, a := range answers {
		if a.status == http.StatusCreated {
			created++
			continue
		}
		a.problem(t, http.StatusConflict)
		require.Contains(t, string(a.body), "orders allows each consumer 2 subscriptions (max_subscriptions): end one of yours first")
	}
	require.Equal(t, 2, created)
	require.Equal(t, 2, w.stored(acme, "orders"))
	bob := w.asAdmin("POST", "/admin/v1/consumers", `{"name":"bob","grants":[{"resource":"orders","actions":["subscribe"]}]}`).text(t, "id")
	require.Equal(t, http.StatusCreated, w.as(bob, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).status)
}

func TestEitherGrantReadsTheTypesAndTheDocuments(t *testing.T) {
	w := newWorld(t)
	acme := w.catalogued(`{"schema_mode":"reject"}`)
	for _, action := range []string{"subscribe", "publish"} {
		get := func(path string) answer {
			return w.call("GET", w.gateway+"/gateway/orders/events/"+path, nil, contract.HeaderStatement, w.statement(acme, "orders", action))
		}
		types := get("types")
		require.Equal(t, http.StatusOK, types.status, "%s", types.body)
		require.JSONEq(t, `{"items":[{"name":"order.created","description":"Somebody ordered.","schema":`+orderSchema+`},{"name":"order.paid"}]}`, string(types.body))
		for path, media := range map[string]string{"openapi.json": "application/vnd.oai.openapi+json;version=3.1", "asyncapi.json": "application/vnd.aai.asyncapi+json;version=3.0.0"} {
			a := get(path)
			require.Equal(t, http.StatusOK, a.status, "%s", a.body)
			require.Equal(t, media, a.header.Get("Content-Type"))
			require.Contains(t, string(a.body), "Somebody ordered.")
			require.Equal(t, string(a.body), string(w.asAdmin("GET", "/admin/v1/resources/orders/"+path, nil).body))
		}
		require.Contains(t, string(get("asyncapi.json").body), `"test.events"`, "the exchange of this installation")
		get("nothing").problem(t, http.StatusNotFound)
	}
	read := w.statement(acme, "orders", "subscribe")
	for method, path := range map[string]string{"POST": "/gateway/orders/events", "PUT": "/gateway/orders/events/types"} {
		w.call(method, w.gateway+path, nil, contract.HeaderStatement, read).problem(t, http.StatusUnauthorized)
	}
	w.call("GET", w.gateway+"/gateway/orders/events", nil, contract.HeaderStatement, read).problem(t, http.StatusMethodNotAllowed)
	w.call("GET", w.gateway+"/gateway/payments/events/types", nil, contract.HeaderStatement, read).problem(t, http.StatusUnauthorized)
	w.as(acme, "GET", "/gone/events/types", nil).problem(t, http.StatusNotFound)
	w.asAdmin("GET", "/admin/v1/resources/gone/openapi.json", nil).problem(t, http.StatusNotFound)
	w.call("GET", w.admin+"/admin/v1/resources/orders/openapi.json", nil).problem(t, http.StatusUnauthorized)
}
