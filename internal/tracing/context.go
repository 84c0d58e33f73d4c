package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// The names of a trace context's two parts, as headers of AMQP and as attributes of an event (CloudEvents extension "distributed
// tracing"). HTTP has the same, in its own spelling.
const (
	Parent = "traceparent"
	State  = "tracestate"

	headerParent = "Traceparent"
	headerState  = "Tracestate"
)

// maxState bounds a tracestate: W3C Trace Context, section 3.3.1.5, wants at least as much to be handed on.
const maxState = 512

// carrier is one trace context for the library's propagator.
type carrier struct{ parent, state string }

func (c *carrier) Get(key string) string {
	if key == Parent {
		return c.parent
	}
	return c.state
}

func (c *carrier) Set(key, value string) {
	if key == Parent {
		c.parent = value
	} else {
		c.state = value
	}
}

func (*carrier) Keys() []string { return []string{Parent, State} }

// Parse reads a trace context from outside. One that is malformed is not valid; a malformed tracestate is left out, and of one that
// is too long the oldest entries.
func Parse(parent, state string) trace.SpanContext {
	if parent == "" {
		return trace.SpanContext{}
	}
	for len(state) > maxState {
		state = state[:max(0, strings.LastIndexByte(state, ','))]
	}
	found := propagation.TraceContext{}.Extract(context.Background(), &carrier{parent, state})
	return trace.SpanContextFromContext(found)
}

// Format is the way back; "" and "" for a context that is not valid.
func Format(of trace.SpanContext) (parent, state string) {
	if !of.IsValid() {
		return "", ""
	}
	var c carrier
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), of), &c)
	return c.parent, c.state
}

// FromHTTP reads the trace context of a request. Of several, none is the right one.
func FromHTTP(header http.Header) trace.SpanContext {
	if len(header[headerParent]) != 1 {
		return trace.SpanContext{}
	}
	return Parse(header[headerParent][0], strings.Join(header[headerState], ","))
}

// ToHTTP puts a valid trace context in the place of what a request's header has.
func ToHTTP(of trace.SpanContext, header http.Header) {
	parent, state := Format(of)
	if parent == "" {
		return
	}
	header[headerParent] = []string{parent}
	if delete(header, headerState); state != "" {
		header[headerState] = []string{state}
	}
}

// FromMessage reads the trace context among the headers of a message.
func FromMessage(headers map[string]any) trace.SpanContext {
	parent, _ := headers[Parent].(string)
	state, _ := headers[State].(string)
	return Parse(parent, state)
}

// ToMessage puts a valid trace context among the headers of a message.
func ToMessage(of trace.SpanContext, headers map[string]any) {
	parent, state := Format(of)
	if parent != "" {
		headers[Parent] = parent
	}
	if state != "" {
		headers[State] = state
	}
}

// OfEvent is the trace that an event belongs to: its own, or else the one that it was carried with. Where there is neither, it has
// a trace id and no span, and is not valid.
func OfEvent(e *event.Event, carried trace.SpanContext) trace.SpanContext {
	extensions := e.Extensions()
	parent, _ := extensions[Parent].(string)
	state, _ := extensions[State].(string)
	if own := Parse(parent, state); own.IsValid() {
		return own
	}
	if carried.IsValid() {
		return carried
	}
	return trace.SpanContext{}.WithTraceID(idOf(e.Source(), e.ID()))
}

// OfCommand is what the attempts of a command stand below: the context that it was made in, or that of its event.
func OfCommand(c contract.Command) trace.SpanContext {
	if made := Parse(c.TraceParent, c.TraceState); made.IsValid() {
		return made
	}
	return OfEvent(c.Event, trace.SpanContext{})
}

// idOf is the same for the same event.
func idOf(source, id string) (t trace.TraceID) {
	sum := sha256.Sum256([]byte("trace\x00" + source + "\x00" + id))
	copy(t[:], sum[:])
	return t
}

// Complete gives a context that lacks a span, or the trace, random ones, not sampled.
func Complete(of trace.SpanContext) trace.SpanContext {
	if !of.HasTraceID() {
		of = of.WithTraceID(randomTrace())
	}
	if !of.HasSpanID() {
		of = of.WithSpanID(randomSpan())
	}
	return of
}

// Trace ids need to be unique and not secret, so a fast generator does.
func randomTrace() (id trace.TraceID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64()) // #nosec G404
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64()) // #nosec G404
	}
	return id
}

func randomSpan() (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64()) // #nosec G404
	}
	return id
}
