package egress

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
)

const plugin = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestTheEndpointsTraceStandsBelowTheCallAndNoBaggageGoesOut(t *testing.T) {
	got := make(chan http.Header, 2)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header
		w.WriteHeader(map[string]int{"/ok": 204, "/broken": 500}[r.URL.Path])
	}))
	t.Cleanup(endpoint.Close)
	tracer, spans := testkit.NewTracer()
	core, lines := observer.New(zap.DebugLevel)
	b := newBench(t, func(o *Options) { o.Trace, o.Log = tracer, zap.New(core) })
	for _, path := range []string{"/ok", "/broken"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url, strings.NewReader("{}"))
		require.NoError(t, err)
		request.Header = http.Header{"Traceparent": {plugin}, "Tracestate": {"shop=1"}, "Baggage": {"user=alice"},
			"X-Webhook-Pass": {b.issue(pass.Grant{Target: parse(t, endpoint.URL+path+"?token=s3cret"), Subscription: "sub_1", Delivery: "dlv_1"})}}
		response, err := b.client.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	require.Eventually(t, func() bool { return lines.Len() == 2 }, 5*time.Second, time.Millisecond)

	kept := spans.GetSpans()
	for i, level := range []string{"debug", "info"} {
		header, line := <-got, lines.All()[i]
		require.Equal(t, tracing.Parse(plugin, "").SpanID(), kept[i].Parent.SpanID())
		require.Equal(t, kept[i].SpanContext.SpanID(), tracing.FromHTTP(header).SpanID())
		require.Equal(t, "shop=1", header.Get("Tracestate"))
		require.NotContains(t, header, "Baggage")
		require.Equal(t, level, line.Level.String())
		require.Equal(t, kept[i].SpanContext.TraceID().String(), line.ContextMap()["trace_id"])
		require.Equal(t, "dlv_1", line.ContextMap()["delivery"])
		for _, a := range kept[i].Attributes {
			require.NotContains(t, a.Value.String(), "s3cret")
			require.NotContains(t, a.Value.String(), path(i))
		}
		require.Equal(t, "first byte", kept[i].Events[len(kept[i].Events)-1].Name)
		for _, e := range kept[i].Events {
			require.False(t, e.Time.Before(kept[i].StartTime) || e.Time.After(kept[i].EndTime), e.Name)
		}
	}
	require.Equal(t, "connect", kept[0].Events[0].Name)
}

func path(i int) string { return []string{"/ok", "/broken"}[i] }
