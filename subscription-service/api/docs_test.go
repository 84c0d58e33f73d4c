package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestThePageOfTheAPIShowsEveryCall(t *testing.T) {
	w := newWorld(t)
	page := w.call("GET", w.admin+"/docs", nil)
	require.Equal(t, http.StatusOK, page.status)
	require.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
	require.Contains(t, page.header.Get("Content-Security-Policy"), "default-src 'none'")
	var document struct {
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]any }
	}
	require.NoError(t, json.Unmarshal(w.call("GET", w.admin+"/openapi.json", nil).body, &document))
	for _, calls := range document.Paths {
		for _, call := range calls {
			require.Contains(t, string(page.body), `id="call-`+call.OperationID+`"`)
		}
	}
	for name := range document.Components.Schemas {
		require.Contains(t, string(page.body), `id="schema-`+name+`"`)
	}
	require.Contains(t, string(page.body), contract.KindInvalid.URL())
}

func TestThePageOfAResourceIsForWhoeverMayReadItsDocuments(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	page := w.as(acme, "GET", "/orders/events/docs", nil)
	require.Equal(t, http.StatusOK, page.status, "%s", page.body)
	require.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
	require.Contains(t, page.header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Contains(t, string(page.body), "webhook-signature")
	w.call("GET", w.gateway+"/gateway/orders/events/docs", nil).problem(t, http.StatusUnauthorized)
	w.call("GET", w.admin+"/admin/v1/resources/orders/docs", nil).problem(t, http.StatusUnauthorized)
	require.Equal(t, page.body, w.call("GET", w.admin+"/admin/v1/resources/orders/docs", nil, "Authorization", "Bearer "+adminToken).body)
}
