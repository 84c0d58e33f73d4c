package filter_test

import (
	"net/http"
	"testing"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
)

const caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestWhatComesNextStandsBelowThePlugin(t *testing.T) {
	g, _ := gate(nil)
	tracer, spans := testkit.NewTracer()
	g.TraceBy(tracer)
	ours := requesttest.New(t, "GET", "/mine", "traceparent", caller, "tracestate", "shop=1")
	require.Nil(t, requesttest.Call(t, "{}", ours, g.Plugin("p", handler(pass))))
	theirs := requesttest.New(t, "GET", "/another", "traceparent", caller)
	require.Nil(t, requesttest.Call(t, "{}", theirs, g.Plugin("p", handler(pass))))
	refuse := func(filter.Config, pkgHTTP.Request) *filter.Refusal { return filter.Refuse(http.StatusForbidden, "no") }
	require.NotNil(t, requesttest.Call(t, "{}", requesttest.New(t, "GET", "/mine", "traceparent", "broken"), g.Plugin("q", handler(refuse))))

	kept := spans.GetSpans()
	require.Len(t, kept, 2, "what is somebody else's is left alone")
	require.Equal(t, "p", kept[0].Name)
	require.Equal(t, tracing.Parse(caller, "").SpanID(), kept[0].Parent.SpanID())
	require.Equal(t, kept[0].SpanContext.SpanID(), tracing.FromHTTP(ours.Header().View()).SpanID())
	require.Equal(t, "shop=1", ours.Header().Get("Tracestate"))
	require.Equal(t, caller, theirs.Header().Get("Traceparent"))
	require.False(t, kept[1].Parent.IsValid())
}

func TestWithoutTracingACallKeepsWhatItCameWith(t *testing.T) {
	g, _ := gate(nil)
	r := requesttest.New(t, "GET", "/mine", "traceparent", caller)
	require.Nil(t, requesttest.Call(t, "{}", r, g.Plugin("p", handler(pass))))
	require.Equal(t, caller, r.Header().Get("Traceparent"))
}
