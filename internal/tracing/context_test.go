package tracing

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestAMalformedContextCountsAsNone(t *testing.T) {
	for _, value := range []string{
		"", "x", parent[:54], parent + "0", parent + "\r\nX-Evil: 1", strings.ToUpper(parent), "ff" + parent[2:], "00-" + strings.Repeat("0", 32) + parent[35:],
		parent[:36] + strings.Repeat("0", 16) + "-01", " " + parent, strings.Repeat("0", 1<<20),
	} {
		require.False(t, Parse(value, "a=1").IsValid(), value)
	}
	require.True(t, Parse("01"+parent[2:]+"-later", "").IsValid(), "a version to come is read as far as it is known")
}

func TestAContextComesBackAsItWas(t *testing.T) {
	got, state := Format(Parse(parent, "shop=1,other=a b"))
	require.Equal(t, parent, got)
	require.Equal(t, "shop=1,other=a b", state)
	header := http.Header{"Tracestate": {"old=1"}}
	ToHTTP(Parse(parent, ""), header)
	require.Equal(t, http.Header{"Traceparent": {parent}}, header)
	require.Equal(t, parent, formatted(FromHTTP(header)))
	ToHTTP(trace.SpanContext{}, header)
	require.Equal(t, parent, header.Get("Traceparent"), "nothing replaces nothing")
	header.Add("Traceparent", parent)
	require.False(t, FromHTTP(header).IsValid(), "of two, none is the right one")
	require.Equal(t, parent, formatted(FromMessage(map[string]any{"traceparent": parent, "tracestate": 7})))
}

func formatted(c trace.SpanContext) string {
	text, _ := Format(c)
	return text
}

func TestAStateIsBoundedAndABrokenOneLeftOut(t *testing.T) {
	var entries []string
	for i := range 31 {
		entries = append(entries, string(rune('a'+i%26))+strings.Repeat("x", i%7+1)+"="+strings.Repeat("v", 40))
	}
	_, state := Format(Parse(parent, strings.Join(entries, ",")))
	require.LessOrEqual(t, len(state), 512)
	require.True(t, strings.HasPrefix(strings.Join(entries, ","), state+","), "the newest entries are first, and stay")
	for _, broken := range []string{"a\r\nX-Evil: 1", "no pair", "a=1,a=2", strings.Repeat("a", 10000)} {
		got, state := Format(Parse(parent, broken))
		require.Equal(t, parent, got)
		require.Empty(t, state, broken)
	}
}

func TestAnEventsOwnTraceComesFirstThenTheCarriedThenOneThatFollowsFromTheEvent(t *testing.T) {
	e := event.New()
	e.SetID("1")
	e.SetSource("/shop")
	carried := Parse(strings.Replace(parent, "4bf9", "aaaa", 1), "")
	named := OfEvent(&e, trace.SpanContext{})
	require.True(t, named.HasTraceID())
	require.False(t, named.IsValid())
	require.Equal(t, named.TraceID(), OfEvent(&e, trace.SpanContext{}).TraceID(), "the same for the same event")
	require.Equal(t, carried, OfEvent(&e, carried))
	e.SetExtension("traceparent", "broken")
	require.Equal(t, carried, OfEvent(&e, carried))
	e.SetExtension("traceparent", parent)
	e.SetExtension("tracestate", "shop=1")
	require.Equal(t, parent, formatted(OfEvent(&e, carried)))
	e.SetID("2")
	e.SetExtension("traceparent", nil)
	require.NotEqual(t, named.TraceID(), OfEvent(&e, trace.SpanContext{}).TraceID())
}

func TestACompleteContextIsValidAndNotSampled(t *testing.T) {
	whole := Complete(trace.SpanContext{})
	require.True(t, whole.IsValid())
	require.False(t, whole.IsSampled())
	e := event.New()
	e.SetID("1")
	named := OfEvent(&e, trace.SpanContext{})
	require.Equal(t, named.TraceID(), Complete(named).TraceID())
	require.Equal(t, parent, formatted(Complete(Parse(parent, ""))))
}

func FuzzParse(f *testing.F) {
	f.Add(parent, "a=1,b=2")
	f.Add("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", "x@y=z")
	f.Fuzz(func(t *testing.T, given, state string) {
		found := Parse(given, state)
		again, rest := Format(found)
		require.LessOrEqual(t, len(rest), maxState)
		require.NotContains(t, rest, "\n")
		if found.IsValid() {
			require.Len(t, again, len(parent))
			require.Equal(t, found, Parse(again, rest))
		}
	})
}
