package tracing

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) {
	// The global error handler of OpenTelemetry is set once and stays.
	goleak.VerifyTestMain(m)
}

func serve(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return server.URL
}

func open(t *testing.T, c Config) (*Tracer, *Exporting, *observer.ObservedLogs) {
	t.Helper()
	core, lines := observer.New(zap.DebugLevel)
	tracer, exporting, err := Open(c, "event-listener", zap.New(core))
	require.NoError(t, err)
	return tracer, exporting, lines
}

// A real collector's protocol, from end to end.
func TestSpansReachTheCollectorAtTheLatestWhenTheProcessEnds(t *testing.T) {
	got := make(chan *collector.ExportTraceServiceRequest, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil && proto.Unmarshal(body, &request) == nil && r.URL.Path == "/v1/traces" && r.Header.Get("X-Key") == "k" {
			got <- &request
		}
	})
	tracer, exporting, _ := open(t, Config{Endpoint: url, Headers: "x-key=k", Resource: "service.version=7"})
	ctx, above := tracer.Start(context.Background(), Parse(parent, "shop=1"), Consumer, "process", Parse(parent, ""))
	_, below := tracer.Child(ctx, Client, "POST")
	below.Set(attribute.String("long", string(make([]byte, 9999))))
	below.Event("dns", time.Now())
	below.Fail("timeout")
	below.End()
	above.End()
	require.NoError(t, exporting.Close(t.Context()))

	resource := (<-got).GetResourceSpans()[0]
	require.Contains(t, resource.GetResource().String(), "event-listener")
	require.Contains(t, resource.GetResource().String(), "service.version")
	all := resource.GetScopeSpans()[0].GetSpans()
	require.Len(t, all, 2)
	child, root := all[0], all[1]
	want := Parse(parent, "")
	for _, s := range all {
		require.Equal(t, want.TraceID().String(), trace.TraceID(s.GetTraceId()).String())
	}
	require.Equal(t, want.SpanID().String(), trace.SpanID(root.GetParentSpanId()).String())
	require.Equal(t, root.GetSpanId(), child.GetParentSpanId())
	require.Len(t, root.GetLinks(), 1)
	require.Equal(t, spans.Status_STATUS_CODE_ERROR, child.GetStatus().GetCode())
	require.Len(t, child.GetAttributes()[0].GetValue().GetStringValue(), maxText)
	require.Equal(t, "dns", child.GetEvents()[0].GetName())
}

func TestATraceThatIsNamedBeginsWithThatID(t *testing.T) {
	tracer, exporting, _ := open(t, Config{Endpoint: "http://127.0.0.1:1"})
	named := trace.SpanContext{}.WithTraceID(trace.TraceID{1, 2})
	_, span := tracer.Start(context.Background(), named, Consumer, "process")
	require.Equal(t, named.TraceID(), span.Context().TraceID())
	require.True(t, span.Context().IsSampled())
	span.End()
	require.NoError(t, exporting.Close(t.Context()))
}

func TestACollectorThatHangsHoldsNobodyUp(t *testing.T) {
	release := make(chan struct{})
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
	})
	defer close(release)
	tracer, exporting, lines := open(t, Config{Endpoint: url})
	began := time.Now()
	for range 3 * maxQueue {
		_, span := tracer.Start(context.Background(), trace.SpanContext{}, Internal, "step")
		span.End()
	}
	require.Less(t, time.Since(began), 2*time.Second, "what finds no room is dropped")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.NoError(t, exporting.Close(ctx))
	require.Less(t, time.Since(began), 4*time.Second)
	require.NotZero(t, lines.FilterMessage("the last spans were not sent in time").Len())
}

func TestACollectorsFailuresAreALineNowAndThenWithoutSecrets(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such key: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
	})
	tracer, exporting, lines := open(t, Config{Endpoint: url, Headers: "authorization=Bearer%20s3cret"})
	for range 3 * maxBatch {
		_, span := tracer.Start(context.Background(), trace.SpanContext{}, Internal, "step")
		span.End()
	}
	require.NoError(t, exporting.Close(t.Context()))
	require.Equal(t, 1, lines.Len())
	line := lines.All()[0]
	require.Equal(t, "spans cannot be sent to the collector", line.Message)
	require.NotContains(t, line.ContextMap()["error"], "s3cret")
	require.Contains(t, line.ContextMap()["error"], "401")
}

func BenchmarkStart(b *testing.B) {
	tracers := map[string]*Tracer{"off": nil}
	for name, ratio := range map[string]string{"1%": "0.01", "all": "1"} {
		tracer, exporting, err := Open(Config{Endpoint: "http://127.0.0.1:1", Sampler: "traceidratio", SamplerArg: ratio}, "bench", zap.NewNop())
		require.NoError(b, err)
		defer func() { _ = exporting.Close(b.Context()) }()
		tracers[name] = tracer
	}
	for name, tracer := range tracers {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, span := tracer.Start(context.Background(), Complete(trace.SpanContext{}), Consumer, "process")
				if span.Recording() {
					span.Set(attribute.String("a", "b"))
				}
				span.End()
			}
		})
	}
}
