package listener

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

const producer = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// A command has a header of its own only where the event does not say it.
func TestWithoutTracingACommandIsCarriedAsItsEventWas(t *testing.T) {
	f := newFake(t)
	f.subscribe("sub_1", "orders")
	plain, carried, own := someEvent(1), someEvent(2), someEvent(3)
	carried.Headers["traceparent"], carried.Headers["tracestate"] = producer, "shop=1"
	own.Headers["cloudEvents_traceparent"], own.Headers["traceparent"] = producer, "00-aaaa2f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	f.send(plain, carried, own)
	commands := f.commands(3)
	for i, want := range []any{nil, producer, nil} {
		require.Equal(t, want, commands[i].Headers["traceparent"], i)
	}
	require.Equal(t, "shop=1", commands[1].Headers["tracestate"])
	require.Equal(t, producer, commands[2].Headers["cloudEvents_traceparent"])
}

func TestEachDeliveryHasASpanBelowItsEventSaveOfALargeFanOut(t *testing.T) {
	f := newFake(t)
	tracer, kept := testkit.NewTracer()
	f.listener.Trace = tracer
	f.subscribe("sub_1", "orders")
	f.subscribe("sub_2", "orders")
	for i := range mostInLine + 1 {
		f.subscribe(fmt.Sprint("sub_", i), "large")
	}
	event := someEvent(1)
	event.Headers["traceparent"] = producer
	large := binary("large.a", "l1", "a", nil)
	f.send(event, large, binary("nobody.a", "n1", "a", nil))

	spans := map[string][]trace.SpanContext{}
	parents := map[trace.SpanID]trace.SpanID{}
	for _, s := range kept.GetSpans() {
		spans[s.Name] = append(spans[s.Name], s.SpanContext)
		parents[s.SpanContext.SpanID()] = s.Parent.SpanID()
	}
	require.Len(t, spans["receive webhook.events"], 1)
	require.Len(t, spans["process webhook.events"], 3)
	deliveries := spans["create webhook.commands"]
	require.Len(t, deliveries, 2, "and none of the large fan-out")
	process := parents[deliveries[0].SpanID()]
	require.Equal(t, process, parents[deliveries[1].SpanID()])
	require.Equal(t, tracing.Parse(producer, "").SpanID(), parents[process])
	for i, m := range f.commands(2) {
		require.Equal(t, deliveries[i].SpanID(), tracing.FromMessage(m.Headers).SpanID())
	}
	bulk := tracing.FromMessage(f.bulk(mostInLine + 1)[0].Headers)
	require.Contains(t, parents, bulk.SpanID())
	require.False(t, parents[bulk.SpanID()].IsValid(), "the event's, whose trace begins here")
}
