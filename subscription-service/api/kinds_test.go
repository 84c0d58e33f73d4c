package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// kind is what kind of problem came back; that it is one of the catalogue answer.problem asks for in every test.
func (a answer) kind(t *testing.T) contract.Kind {
	t.Helper()
	var p contract.Problem
	require.NoError(t, json.Unmarshal(a.body, &p), "%s", a.body)
	kind, _ := p.Kind()
	return kind
}

func TestProblemsOfOneStatusAreToldApartByTheirKind(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	require.Equal(t, http.StatusOK, w.call("PATCH", w.admin+"/admin/v1/resources/orders", `{"policy":{"max_subscriptions":1}}`,
		"Authorization", "Bearer "+adminToken, "Content-Type", "application/json").status)
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	at := "/orders/subscribe/" + id
	require.Equal(t, http.StatusOK, w.as(acme, "PATCH", at, map[string]any{"status": "paused"}).status)
	for kind, got := range map[contract.Kind]answer{
		contract.KindUnvouched:        w.call("GET", w.gateway+"/gateway"+at, nil),
		contract.KindUnauthorized:     w.call("GET", w.admin+"/admin/v1/consumers", nil),
		contract.KindTooMany:          w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook + "/other"}),
		contract.KindNotActive:        w.as(acme, "POST", at+"/test", nil),
		contract.KindInvalid:          w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": "ftp://x"}),
		contract.KindBadRequest:       w.as(acme, "POST", "/orders/subscribe", "{"),
		contract.KindNotFound:         w.as(acme, "GET", "/orders/subscribe/sub_x", nil),
		contract.KindMethodNotAllowed: w.as(acme, "PUT", "/orders/subscribe", nil),
		contract.KindMediaType:        w.as(acme, "POST", "/orders/subscribe", "{}", "Content-Type", "text/plain"),
		contract.KindConflict:         w.call("DELETE", w.admin+"/admin/v1/resources/orders", nil, "Authorization", "Bearer "+adminToken),
	} {
		require.Equal(t, kind, got.kind(t), "%s", got.body)
		got.problem(t, kind.Status())
	}
}
