package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestAdminToken(t *testing.T) {
	w := newWorld(t)
	cases := map[string][]string{
		"none": nil, "empty": {"Authorization", ""}, "another": {"Authorization", "Bearer another-token-of-the-tests"},
		"basic": {"Authorization", "Basic " + adminToken}, "bare": {"Authorization", adminToken}, "prefix": {"Authorization", "Bearer " + adminToken[:10]},
		"two": {"Authorization", "Bearer " + adminToken, "Authorization", "Bearer " + adminToken}, "longer": {"Authorization", "Bearer " + adminToken + "x"},
		"api key": {"apikey", adminToken}, "statement": {contract.HeaderStatement, w.statement("x", "orders", "subscribe")},
	}
	for name, headers := range cases {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/admin/v1/consumers", "/admin/v1/resources/x", "/admin/v1/nothing", "/", "/orders/subscribe", "/gateway/orders/subscribe"} {
				a := w.call("POST", w.admin+path, "{not JSON", headers...)
				a.problem(t, http.StatusUnauthorized)
				require.NotEmpty(t, a.header.Get("WWW-Authenticate"))
			}
		})
	}
	require.Equal(t, http.StatusOK, w.call("GET", w.admin+"/admin/v1/consumers", nil, "authorization", "bearer "+adminToken).status)
	w.asAdmin("GET", "/orders/subscribe", nil).problem(t, http.StatusNotFound)
}

func TestResources(t *testing.T) {
	w := newWorld(t)
	body := `{"types":[{"name":"order.created","description":"d","schema":{"type":"object"}}],"policy":{"max_payload":1.50e3,"retry_schedule":["1s","2m0s"],"timeouts":{"total":"20s"}}}`
	a := w.asAdmin("PUT", "/admin/v1/resources/orders", body)
	require.Equal(t, http.StatusCreated, a.status)
	require.JSONEq(t, `{"name":"orders",`+body[1:], string(a.body))
	require.Contains(t, string(a.body), "1.50e3", "kept as it came")
	require.Equal(t, http.StatusOK, w.asAdmin("PUT", "/admin/v1/resources/orders", body).status)
	require.Equal(t, string(a.body), string(w.asAdmin("GET", "/admin/v1/resources/orders", nil).body))
	require.Equal(t, http.StatusCreated, w.asAdmin("PUT", "/admin/v1/resources/a-resource", `{}`).status)
	items := w.asAdmin("GET", "/admin/v1/resources", nil).items(t)
	require.Equal(t, []any{"a-resource", "orders"}, []any{items[0]["name"], items[1]["name"]})
	require.Equal(t, []any{}, items[0]["types"])

	patched := w.asAdmin("PATCH", "/admin/v1/resources/orders", `{"types":[{"name":"a"}]}`).json(t)
	require.Equal(t, []any{map[string]any{"name": "a"}}, patched["types"])
	require.NotNil(t, patched["policy"])
	require.NotContains(t, w.asAdmin("PATCH", "/admin/v1/resources/orders", `{"policy":null}`).json(t), "policy")
	badPatch := w.asAdmin("PATCH", "/admin/v1/resources/orders", `{"policy":{"retry_schedule":["soon"]}}`).problem(t, http.StatusUnprocessableEntity)
	require.Contains(t, badPatch, "body.policy.retry_schedule[0]")
	w.asAdmin("PATCH", "/admin/v1/resources/nothing", `{}`).problem(t, http.StatusNotFound)
	w.asAdmin("GET", "/admin/v1/resources/nothing", nil).problem(t, http.StatusNotFound)

	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	w.asAdmin("DELETE", "/admin/v1/resources/orders", nil).problem(t, http.StatusConflict)
	require.Equal(t, http.StatusNoContent, w.as(acme, "DELETE", "/orders/subscribe/"+id, nil).status)
	require.Equal(t, http.StatusNoContent, w.asAdmin("DELETE", "/admin/v1/resources/orders", nil).status)
	w.asAdmin("DELETE", "/admin/v1/resources/orders", nil).problem(t, http.StatusNotFound)
}

func TestBadAdminCalls(t *testing.T) {
	w := newWorld(t)
	cases := []struct {
		name, method, path, body, location string
		status                             int
	}{
		{"resource name", "PUT", "/admin/v1/resources/Orders", `{}`, "path.resource", 422},
		{"reserved", "PUT", "/admin/v1/resources/admin", `{}`, "path.resource", 422},
		{"the callback's", "PUT", "/admin/v1/resources/-", `{}`, "path.resource", 422},
		{"long name", "PUT", "/admin/v1/resources/a" + strings.Repeat("b", 63), `{}`, "path.resource", 422},
		{"encoded slash", "PUT", "/admin/v1/resources/a%2Fb", `{}`, "path.resource", 422},
		{"no JSON", "PUT", "/admin/v1/resources/orders", `{`, "body", 400},
		{"unknown field", "PUT", "/admin/v1/resources/orders", `{"type":[]}`, "body.type", 422},
		{"type without a name", "PUT", "/admin/v1/resources/orders", `{"types":[{}]}`, "body.types[0].name", 422},
		{"type pattern", "PUT", "/admin/v1/resources/orders", `{"types":[{"name":"a.*"}]}`, "body.types[0].name", 422},
		{"type twice", "PUT", "/admin/v1/resources/orders", `{"types":[{"name":"a"},{"name":"a"}]}`, "body.types[1].name", 422},
		{"schema no object", "PUT", "/admin/v1/resources/orders", `{"types":[{"name":"a","schema":[]}]}`, "body.types[0].schema", 422},
		{"policy no object", "PUT", "/admin/v1/resources/orders", `{"policy":1}`, "body.policy", 422},
		{"schedule no list", "PUT", "/admin/v1/resources/orders", `{"policy":{"retry_schedule":5}}`, "body.policy.retry_schedule", 422},
		{"bad wait", "PUT", "/admin/v1/resources/orders", `{"policy":{"retry_schedule":["1s","soon"]}}`, "body.policy.retry_schedule[1]", 422},
		{"no wait", "PUT", "/admin/v1/resources/orders", `{"policy":{"retry_schedule":["0s"]}}`, "body.policy.retry_schedule[0]", 422},
		{"timeouts no object", "PUT", "/admin/v1/resources/orders", `{"policy":{"timeouts":"5s"}}`, "body.policy.timeouts", 422},
		{"unknown timeout", "PUT", "/admin/v1/resources/orders", `{"policy":{"timeouts":{"read":"5s"}}}`, "body.policy.timeouts.read", 422},
		{"timeout too long", "PUT", "/admin/v1/resources/orders", `{"policy":{"timeouts":{"total":"1h"}}}`, "body.policy.timeouts.total", 422},
		{"consumer without a name", "POST", "/admin/v1/consumers", `{}`, "body.name", 422},
		{"blank name", "POST", "/admin/v1/consumers", `{"name":"  "}`, "body.name", 422},
		{"grant of a bad resource", "POST", "/admin/v1/consumers", `{"name":"x","grants":[{"resource":"A","actions":["publish"]}]}`, "body.grants[0].resource", 422},
		{"grant without actions", "POST", "/admin/v1/consumers", `{"name":"x","grants":[{"resource":"a","actions":[]}]}`, "body.grants[0].actions", 422},
		{"unknown action", "POST", "/admin/v1/consumers", `{"name":"x","grants":[{"resource":"a","actions":["fly"]}]}`, "body.grants[0].actions[0]", 422},
		{"id of one's own", "POST", "/admin/v1/consumers", `{"name":"x","id":"con_1"}`, "body.id", 422},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, w.asAdmin(c.method, c.path, c.body).problem(t, c.status), c.location)
		})
	}
	require.Empty(t, w.asAdmin("GET", "/admin/v1/resources", nil).items(t))
	require.Empty(t, w.asAdmin("GET", "/admin/v1/consumers", nil).items(t))
}

func TestConsumersAndKeys(t *testing.T) {
	w := newWorld(t)
	a := w.asAdmin("POST", "/admin/v1/consumers", `{"name":"acme","grants":[{"resource":"not-yet","actions":["subscribe"]}]}`)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	path := a.header.Get("Location")
	require.Equal(t, "/admin/v1/consumers/"+a.text(t, "id"), path)
	require.Equal(t, string(a.body), string(w.asAdmin("GET", path, nil).body))
	require.Len(t, w.asAdmin("GET", "/admin/v1/consumers", nil).items(t), 1)

	changed := w.asAdmin("PATCH", path, `{"grants":[{"resource":"orders","actions":["subscribe","publish"]}]}`).json(t)
	require.Equal(t, "acme", changed["name"])
	require.Equal(t, "orders", changed["grants"].([]any)[0].(map[string]any)["resource"])

	var keys []answer
	for range 2 {
		key := w.asAdmin("POST", path+"/keys", nil)
		require.Equal(t, http.StatusCreated, key.status, "%s", key.body)
		require.Len(t, key.json(t), 3)
		keys = append(keys, key)
	}
	opens := func(key answer) []string {
		access, err := w.store.Authenticate(context.Background(), contract.HashKey(key.text(t, "key")), "orders")
		require.NoError(t, err)
		return access.Actions
	}
	require.Equal(t, []string{"subscribe", "publish"}, opens(keys[0]))
	list := w.asAdmin("GET", path+"/keys", nil)
	require.Len(t, list.items(t), 2)
	require.NotContains(t, string(list.body), "whk_")

	require.Equal(t, http.StatusNoContent, w.asAdmin("DELETE", path+"/keys/"+keys[0].text(t, "id"), nil).status)
	require.Empty(t, opens(keys[0]))
	require.NotEmpty(t, opens(keys[1]))
	w.asAdmin("DELETE", path+"/keys/"+keys[0].text(t, "id"), nil).problem(t, http.StatusNotFound)
	w.asAdmin("DELETE", "/admin/v1/consumers/con_other/keys/"+keys[1].text(t, "id"), nil).problem(t, http.StatusNotFound)

	require.Equal(t, http.StatusNoContent, w.asAdmin("DELETE", path, nil).status)
	require.Empty(t, opens(keys[1]))
	for _, c := range []struct{ method, path string }{{"GET", path}, {"DELETE", path}, {"GET", path + "/keys"}, {"POST", path + "/keys"}} {
		w.asAdmin(c.method, c.path, nil).problem(t, http.StatusNotFound)
	}
	w.asAdmin("PATCH", path, `{"name":"back"}`).problem(t, http.StatusNotFound)
}

func TestConsumerPatchesRace(t *testing.T) {
	w := newWorld(t)
	path := "/admin/v1/consumers/" + w.consumer("acme")
	var wg sync.WaitGroup
	for _, patch := range []string{`{"name":"new"}`, `{"grants":[{"resource":"a","actions":["publish"]}]}`} {
		wg.Go(func() {
			if a, err := w.try("PATCH", w.admin+path, patch, "Authorization", "Bearer "+adminToken); err != nil || a.status != http.StatusOK {
				t.Errorf("%v: %d %s", err, a.status, a.body)
			}
		})
	}
	wg.Wait()
	got := w.asAdmin("GET", path, nil).json(t)
	require.Equal(t, "new", got["name"])
	require.Len(t, got["grants"], 1)
}

func TestDocument(t *testing.T) {
	w := newWorld(t)
	a := w.call("GET", w.admin+"/openapi.json", nil)
	require.Equal(t, http.StatusOK, a.status)
	document := a.json(t)
	require.Regexp(t, `^3\.1\.`, document["openapi"])
	paths := document["paths"].(map[string]any)
	want := map[string]string{
		"/{resource}/subscribe": "get post", "/{resource}/subscribe/preview": "post", "/{resource}/subscribe/{id}": "delete get patch", "/{resource}/subscribe/{id}/rotate-secret": "post",
		"/{resource}/subscribe/{id}/test": "post", "/{resource}/subscribe/{id}/verify": "post", "/{resource}/subscribe/{id}/deliveries/{delivery_id}/replay": "post",
		"/{resource}/subscribe/{id}/replay": "post", "/{resource}/subscribe/{id}/replay/{replay_id}": "get",
		"/{resource}/subscribe/{id}/deliveries": "get", "/{resource}/subscribe/{id}/deliveries/{delivery_id}": "get", "/{resource}/events": "post",
		"/{resource}/subscribe/{id}/deliveries/live": "get", "/{resource}/subscribe/{id}/stats": "get", "/admin/v1/stats": "get",
		"/{resource}/subscribe/{id}/explain": "get", "/admin/v1/events/{source}/{id}/explain": "get",
		"/admin/v1/resources": "get", "/admin/v1/resources/{resource}": "delete get patch put", "/admin/v1/consumers": "get post",
		"/admin/v1/consumers/{id}": "delete get patch", "/admin/v1/consumers/{id}/keys": "get post", "/admin/v1/consumers/{id}/keys/{key_id}": "delete", "/admin/v1/audit": "get",
		"/{resource}/events/types": "get", "/{resource}/events/asyncapi.json": "get", "/{resource}/events/openapi.json": "get",
		"/admin/v1/resources/{resource}/asyncapi.json": "get", "/admin/v1/resources/{resource}/openapi.json": "get",
		"/{resource}/subscribe/{id}/stream": "get", "/{resource}/subscribe/{id}/stream/ack": "post",
		"/{resource}/events/docs": "get", "/admin/v1/resources/{resource}/docs": "get",
		contract.PathWebhookKeys: "get",
		contract.PathPortalLinks: "post", "/admin/v1/portal-links": "post", "/admin/v1/consumers/{id}/portal-links": "post",
		"/admin/v1/dead-letters": "get", "/admin/v1/dead-letters/replay": "post", "/admin/v1/breakers": "get", "/admin/v1/overview": "get",
	}
	require.Len(t, paths, len(want))
	for path, methods := range want {
		for _, method := range strings.Fields(methods) {
			op, ok := paths[path].(map[string]any)[method].(map[string]any)
			require.True(t, ok, "%s %s", method, path)
			require.Equal(t, contract.IsPublic(path), len(op["security"].([]any)) == 0, "%s %s", method, path)
			require.NotEmpty(t, op["responses"])
		}
		require.Len(t, paths[path], len(strings.Fields(methods)), path)
	}
	schemes := document["components"].(map[string]any)["securitySchemes"].(map[string]any)
	require.Contains(t, schemes, "apikey")
	require.Contains(t, schemes, "bearer")
	references(t, document, document)

	y := w.call("GET", w.admin+"/openapi.yaml", nil)
	require.Equal(t, http.StatusOK, y.status)
	var same map[string]any
	require.NoError(t, yaml.Unmarshal(y.body, &same))
	require.Equal(t, "3.1.0", same["openapi"])
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		require.Equal(t, http.StatusOK, w.call("GET", w.admin+path, nil).status, path)
	}
}

// references wants every $ref to lead somewhere.
func references(t *testing.T, document map[string]any, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			if ref, ok := child.(string); ok && k == "$ref" {
				var at any = document
				for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
					at = at.(map[string]any)[step]
				}
				require.NotNil(t, at, ref)
			}
			references(t, document, child)
		}
	case []any:
		for _, child := range v {
			references(t, document, child)
		}
	}
}

func TestMetricsAndAccessLog(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.as(acme, "GET", "/orders/subscribe/sub_x", nil, "X-Request-Id", "req-of-the-gateway")
	w.as(acme, "GET", "/orders/subscribe/sub_y", nil, "X-Request-Id", "not\tfit for a log")
	metrics := string(w.call("GET", w.admin+"/metrics", nil).body)
	require.Contains(t, metrics, `webhook_http_requests_total{class="4xx",route="GET /{resource}/subscribe/{id}"} 2`)
	require.Contains(t, metrics, `webhook_http_request_seconds_bucket{class="4xx",route="GET /{resource}/subscribe/{id}"`)
	require.NotContains(t, metrics, "sub_x")
	lines := 0
	for line := range strings.SplitSeq(w.transcript.String(), "\n") {
		if !strings.Contains(line, "/{resource}/subscribe/{id}") {
			continue
		}
		lines++
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry))
		require.Equal(t, acme, entry["consumer"])
		require.EqualValues(t, 404, entry["status"])
	}
	require.Equal(t, 2, lines, "one line per request")
	require.Contains(t, w.transcript.String(), "req-of-the-gateway")
	require.NotContains(t, w.transcript.String(), "fit for a log")
}

func TestWithoutRedis(t *testing.T) {
	server := testkit.StartRedis(t)
	w := newWorldOn(t, server.URL)
	acme := w.consumer("acme", "orders")
	server.Stop()
	for range 3 {
		a := w.as(acme, "GET", "/orders/subscribe", nil, "X-Request-Id", "the-request")
		a.problem(t, http.StatusServiceUnavailable)
		require.Contains(t, string(a.body), "store")
		require.Contains(t, string(a.body), "the-request")
		require.NotContains(t, string(a.body), "127.0.0.1")
	}
	require.Equal(t, 3, strings.Count(w.transcript.String(), `"status":503`), "logged once per request")
	require.Equal(t, http.StatusServiceUnavailable, w.call("GET", w.admin+"/readyz", nil).status)
	require.Equal(t, http.StatusOK, w.call("GET", w.admin+"/healthz", nil).status)
}

// TestNoSecretLeaves goes through everything that has a secret and then searches all that came out.
func TestNoSecretLeaves(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	var out strings.Builder // all answers save those that show a secret once
	secrets := []string{adminToken, gatewayKey, "t0ken-of-acme", "p4ssword-of-acme", "s3cr3t-in-a-url", "k3y-in-a-broken-body"}
	see := func(a answer) answer {
		out.Write(a.body)
		for name, values := range a.header {
			out.WriteString(name + strings.Join(values, ","))
		}
		return a
	}
	once := func(a answer, field string) answer {
		secrets = append(secrets, a.text(t, field))
		return a
	}
	subscribe := map[string]any{"callback_url": hook, "auth": map[string]any{"type": "bearer", "token": "t0ken-of-acme"}}
	sub := once(w.as(acme, "POST", "/orders/subscribe", subscribe), "secret")
	path := "/orders/subscribe/" + sub.text(t, "id")
	see(w.as(acme, "POST", "/orders/subscribe", subscribe))
	once(w.as(acme, "POST", path+"/rotate-secret", nil), "secret")
	see(w.as(acme, "PATCH", path, map[string]any{"auth": map[string]any{"type": "basic", "username": "u", "password": "p4ssword-of-acme"}}))
	see(w.as(acme, "PATCH", path, map[string]any{"auth": map[string]any{"type": "basic", "password": "p4ssword-of-acme", "token": "t0ken-of-acme"}}))
	see(w.as(acme, "PATCH", path, map[string]any{"auth": []string{"t0ken-of-acme"}}))
	see(w.as(acme, "PATCH", path, map[string]any{"auth": map[string]any{"type": "t0ken-of-acme"}}))
	see(w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": "https://u:s3cr3t-in-a-url@consumer.example/"}))
	see(w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": "s3cr3t-in-a-url://u:s3cr3t-in-a-url@127.0.0.1:6379/#x"}))
	see(w.as(acme, "POST", "/orders/subscribe", `{"auth":{"type":"bearer","token":"k3y-in-a-broken-body"`))
	see(w.as(acme, "GET", path, nil))
	see(w.as(acme, "GET", "/orders/subscribe", nil))
	key := once(w.asAdmin("POST", "/admin/v1/consumers/"+acme+"/keys", nil), "key")
	see(w.asAdmin("GET", "/admin/v1/consumers/"+acme+"/keys", nil))
	see(w.asAdmin("GET", "/admin/v1/consumers/"+acme, nil))
	see(w.call("GET", w.admin+"/admin/v1/consumers", nil, "Authorization", "Bearer "+key.text(t, "key")))
	statement := w.statement(acme, "payments", "subscribe")
	secrets = append(secrets, statement)
	see(w.call("GET", w.gateway+"/gateway/orders/subscribe?apikey=x", nil, contract.HeaderStatement, statement))
	see(w.call("GET", w.gateway+"/gateway/orders/subscribe", nil, contract.HeaderStatement, statement+"x", "apikey", key.text(t, "key")))
	for _, open := range []string{"/openapi.json", "/openapi.yaml", "/metrics", "/readyz", "/healthz"} {
		see(w.call("GET", w.admin+open, nil))
	}
	for _, secret := range secrets {
		require.NotContains(t, out.String(), secret, "in an answer")
		require.NotContains(t, w.transcript.String(), secret, "in the log")
	}
}
