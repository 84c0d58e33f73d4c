package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes the spans of one process. Nil makes none: what it is given goes on as it is.
type Tracer struct{ tracer trace.Tracer }

// scope is the name of the library that the spans are from.
const scope = "github.com/apisix-webhooks/apisix-webhooks"

// New makes a tracer of a provider; Open is for production.
func New(provider trace.TracerProvider) *Tracer { return &Tracer{provider.Tracer(scope)} }

// On reports whether spans are made.
func (t *Tracer) On() bool { return t != nil }

// Kind of a span; see OpenTelemetry's specification.
type Kind = trace.SpanKind

// The kinds.
const (
	Internal = trace.SpanKindInternal
	Server   = trace.SpanKindServer
	Client   = trace.SpanKindClient
	Producer = trace.SpanKindProducer
	Consumer = trace.SpanKindConsumer
)

// Span is one step of a trace. The zero value, and one of a tracer that makes none, does nothing but know its context.
type Span struct {
	span    trace.Span // nil: there is none
	context trace.SpanContext
}

// Start begins a span below one that came from elsewhere, or of the trace that is named. Without a tracer the span's context is
// that very one.
func (t *Tracer) Start(ctx context.Context, below trace.SpanContext, kind Kind, name string, links ...trace.SpanContext) (context.Context, Span) {
	if t == nil {
		return ctx, Span{context: below}
	}
	switch {
	case below.IsValid():
		ctx = trace.ContextWithRemoteSpanContext(ctx, below)
	case below.HasTraceID():
		ctx = context.WithValue(trace.ContextWithSpanContext(ctx, trace.SpanContext{}), wantedKey{}, below.TraceID())
	}
	return t.start(ctx, kind, name, links)
}

// Child begins a span below the context's own.
func (t *Tracer) Child(ctx context.Context, kind Kind, name string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	return t.start(ctx, kind, name, nil)
}

// Below begins a span below another one.
func (t *Tracer) Below(above Span, kind Kind, name string) Span {
	if t == nil {
		return Span{context: above.context}
	}
	_, span := t.start(trace.ContextWithSpan(context.Background(), above.span), kind, name, nil)
	return span
}

// Step begins a span below the context's own where that one is recorded, and none elsewhere: for what is of interest only as a part
// of something.
func Step(ctx context.Context, kind Kind, name string) (context.Context, Span) {
	above := trace.SpanFromContext(ctx)
	if !above.IsRecording() {
		return ctx, Span{}
	}
	ctx, span := above.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithSpanKind(kind))
	return ctx, Span{span, span.SpanContext()}
}

// Of is the trace context of the span that a context is in.
func Of(ctx context.Context) trace.SpanContext { return trace.SpanContextFromContext(ctx) }

func (t *Tracer) start(ctx context.Context, kind Kind, name string, links []trace.SpanContext) (context.Context, Span) {
	options := make([]trace.SpanStartOption, 1, 2)
	options[0] = trace.WithSpanKind(kind)
	if to := linked(links); len(to) > 0 {
		options = append(options, trace.WithLinks(to...))
	}
	ctx, span := t.tracer.Start(ctx, name, options...)
	return ctx, Span{span, span.SpanContext()}
}

// linked leaves out what nobody has recorded.
func linked(to []trace.SpanContext) []trace.Link {
	var links []trace.Link
	for _, l := range to {
		if l.IsValid() && l.IsSampled() {
			links = append(links, trace.Link{SpanContext: l})
		}
	}
	return links
}

// Context is what the next hop continues.
func (s Span) Context() trace.SpanContext { return s.context }

// Recording reports whether what is said of the span is kept; ask before saying much.
func (s Span) Recording() bool { return s.span != nil && s.span.IsRecording() }

// Set says more of the span.
func (s Span) Set(attributes ...attribute.KeyValue) {
	if s.span != nil {
		s.span.SetAttributes(attributes...)
	}
}

// Rename is for what is known only later; the name is of a fixed set all the same.
func (s Span) Rename(name string) {
	if s.span != nil {
		s.span.SetName(name)
	}
}

// Event notes that something happened at a time.
func (s Span) Event(name string, at time.Time, attributes ...attribute.KeyValue) {
	if s.span != nil {
		s.span.AddEvent(name, trace.WithTimestamp(at), trace.WithAttributes(attributes...))
	}
}

// Fail says that the span's work failed: kind is of a fixed set. What an error says is left to the log.
func (s Span) Fail(kind string) {
	if s.span != nil {
		s.span.SetAttributes(semconv.ErrorTypeKey.String(kind))
		s.span.SetStatus(codes.Error, "")
	}
}

// End ends the span.
func (s Span) End() {
	if s.span != nil {
		s.span.End()
	}
}
