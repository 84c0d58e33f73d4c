package listener

import (
	"context"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// trace begins the spans of a batch: one for the batch, which leads to the events' traces, and one in the trace of each event.
// A batch that has to be left to the broker ends none of them, so none is sent.
func (l *Listener) trace(jobs []*job) {
	batch := l.received(jobs)
	for _, j := range jobs {
		if j.event != nil {
			l.begin(j, batch)
		}
	}
}

func (l *Listener) received(jobs []*job) trace.SpanContext {
	if !l.Trace.On() {
		return trace.SpanContext{}
	}
	var links []trace.SpanContext
	for _, j := range jobs {
		if j.event != nil {
			links = append(links, tracing.OfEvent(j.event, tracing.FromMessage(j.message.Headers)))
		}
	}
	_, span := l.Trace.Start(context.Background(), trace.SpanContext{}, tracing.Client, "receive webhook.events", links...)
	defer span.End()
	if !span.Recording() {
		return trace.SpanContext{}
	}
	span.Set(append(tracing.Message(tracing.Receive, l.Names.Events), tracing.Batch(len(jobs)))...)
	return span.Context()
}

// begin starts the span of an event, below what its producer says. Without spans, what a message was carried with goes on where the
// event has nothing of its own.
func (l *Listener) begin(j *job, batch trace.SpanContext) {
	carried := tracing.FromMessage(j.message.Headers)
	if !l.Trace.On() {
		if carried.IsValid() && tracing.OfEvent(j.event, carried).Equal(carried) {
			j.parent, j.state = tracing.Format(carried)
		}
		return
	}
	_, j.span = l.Trace.Start(context.Background(), tracing.OfEvent(j.event, carried), tracing.Consumer, "process webhook.events", batch, carried)
	j.parent, j.state = tracing.Format(j.span.Context())
	if j.span.Recording() {
		j.span.Set(append(tracing.Event(j.event, j.resource), tracing.Message(tracing.Process, l.Names.Events)...)...)
	}
}

// created makes the span of a command, which its attempts stand below. Those of a large fan-out stand below the event.
func (l *Listener) created(j *job, c *contract.Command) {
	if !j.span.Recording() || j.large {
		return
	}
	span := l.Trace.Below(j.span, tracing.Producer, "create webhook.commands")
	span.Set(append(tracing.Delivery(c.Subscription, c.Delivery), tracing.Message(tracing.Create, l.Names.Commands)...)...)
	span.Set(tracing.MessageID(c.Delivery))
	span.End()
	c.TraceParent, c.TraceState = tracing.Format(span.Context())
}

// traced ends the span of an event with what became of it, and writes its line.
func (l *Listener) traced(j *job, result string) {
	if j.span.Recording() {
		j.span.Set(tracing.Result(result), tracing.Deliveries(j.commands))
	}
	if j.reason != "" {
		j.span.Fail(string(j.dead))
	}
	j.span.End()
	if line := l.Log.Check(zap.DebugLevel, "event"); line != nil {
		line.Write(append(j.ids(), zap.String("result", result), zap.Int("deliveries", j.commands))...)
	}
}

// ids are what a line about an event says of it.
func (j *job) ids() []zap.Field {
	if j.event == nil {
		return nil
	}
	in := j.span.Context()
	if !in.IsValid() {
		in = tracing.OfEvent(j.event, tracing.FromMessage(j.message.Headers))
	}
	return []zap.Field{
		zap.String("event", contract.Printable(j.event.ID())), zap.String("source", contract.Printable(j.event.Source())), zap.String("resource", j.resource),
		zap.Stringer("trace_id", in.TraceID()), zap.Stringer("span_id", in.SpanID()),
	}
}
