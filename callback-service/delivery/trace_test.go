package delivery

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

const producer = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestEachAttemptHasOneLineAndASpanBesideTheOneBefore(t *testing.T) {
	core, lines := observer.New(zap.DebugLevel)
	tracer, spans := testkit.NewTracer()
	b := start(t, status(500, 204))
	b.restart(t, func(o *Options) { o.Log, o.Trace = zap.New(core), tracer })
	m := b.message("one", 1)
	m.Headers["traceparent"] = producer
	b.send(t, m)
	calls := []gateway.Call{b.call(t), b.call(t)}
	recorded := b.settledAs(t, b.id("one"), contract.DeliverySucceeded)
	b.halt(t)

	kept := spans.GetSpans()
	require.Len(t, kept, 2)
	parent := tracing.Parse(producer, "")
	for i, s := range kept {
		require.Equal(t, "process webhook.commands", s.Name)
		require.Equal(t, parent.SpanID(), s.Parent.SpanID())
		require.Equal(t, parent.TraceID().String(), recorded.Attempts[i].TraceID)
		require.Contains(t, calls[i].Header.Get("Traceparent"), s.SpanContext.SpanID().String())
		line := lines.FilterMessage("attempt").All()[i].ContextMap()
		require.Equal(t, s.SpanContext.SpanID().String(), line["span_id"])
		require.Equal(t, parent.TraceID().String(), line["trace_id"])
		require.EqualValues(t, []int{500, 204}[i], line["status"])
		for _, id := range []string{"delivery", "subscription", "resource", "event", "source", "attempt", "outcome", "took"} {
			require.NotEmpty(t, line[id], id)
		}
	}
	require.Empty(t, kept[0].Links)
	require.Equal(t, kept[0].SpanContext.SpanID(), kept[1].Links[0].SpanContext.SpanID())
	require.Len(t, lines.FilterMessage("attempt").All(), 2)
}

// Without tracing and without a producer's, the attempts still are of one trace, which endpoint, log and record agree on.
func TestWithoutTracingTheAttemptsShareATrace(t *testing.T) {
	core, lines := observer.New(zap.DebugLevel)
	b := start(t, status(500, 204))
	b.restart(t, func(o *Options) { o.Log, o.QuietSuccess = zap.New(core), true })
	b.send(t, b.message("one", 1))
	first, second := b.call(t).Header.Get("Traceparent"), b.call(t).Header.Get("Traceparent")
	recorded := b.settledAs(t, b.id("one"), contract.DeliverySucceeded)
	b.halt(t)
	trace := strings.Split(first, "-")[1]
	require.Contains(t, second, trace)
	require.NotEqual(t, first, second)
	require.Equal(t, trace, recorded.Attempts[1].TraceID)
	require.Equal(t, 1, lines.FilterMessage("attempt").Len(), "of the one that failed")
	require.Equal(t, trace, lines.FilterMessage("attempt").All()[0].ContextMap()["trace_id"])
}

// BenchmarkTold is what a span and a line cost an attempt.
func BenchmarkTold(b *testing.B) {
	discard := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(nowhere{}), zap.InfoLevel)
	tracer, exporting, err := tracing.Open(tracing.Config{Endpoint: "http://127.0.0.1:1", Sampler: "traceidratio", SamplerArg: "0.01"}, "bench", zap.NewNop())
	require.NoError(b, err)
	defer func() { _ = exporting.Close(context.Background()) }()
	for name, e := range map[string]*Engine{
		"off":     {Options: Options{Log: zap.NewNop()}},
		"line":    {Options: Options{Log: zap.New(discard)}},
		"line+1%": {Options: Options{Log: zap.New(discard), Trace: tracer}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s := &starting{task: &task{cmd: command("application/json", `{}`)}}
			s.cmd.Delivery, s.cmd.Subscription, s.cmd.Resource, s.cmd.Attempt = "dlv_tqrca4muumdtvxkbyc6uimwoqi", "sub_twilbiclxp2dx4xerzjorrjez4", "orders", 1
			answer := gateway.Answer{Outcome: contract.OutcomeResponse, Status: 204}
			for b.Loop() {
				_, span := e.begin(context.Background(), s)
				span.Outcome(answer.Outcome, answer.Detail, answer.Status)
				e.logAttempt(s, answer, Verdict{}, time.Millisecond, nil)
				span.End()
			}
		})
	}
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
