package e2e

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collectorKey is what the collector wants to see.
const collectorKey = "collector-s3cret"

// spans is a collector of OpenTelemetry that keeps what it gets.
type spans struct {
	url  string
	hang atomic.Bool
	stop chan struct{} // ends what hangs

	mu   sync.Mutex
	all  []span
	raw  []byte
	keys map[string]bool // of the callers
}

// span is one of them, with whose it is.
type span struct {
	*otlp.Span
	service string
}

func startCollector(t *testing.T) *spans {
	t.Helper()
	c := &spans{stop: make(chan struct{}), keys: map[string]bool{}}
	server := httptest.NewServer(c)
	c.url = server.URL
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(c.stop) })
	return c
}

// ServeHTTP takes spans, or keeps the caller waiting.
func (c *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if c.hang.Load() {
		<-c.stop
		return
	}
	var request collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &request) != nil {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, body...)
	c.keys[r.Header.Get("X-Collector-Key")] = true
	for _, resource := range request.GetResourceSpans() {
		service := ""
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.all = append(c.all, span{s, service})
			}
		}
	}
}

// named are the spans of a trace with a name.
func (c *spans) named(trace, name string) (found []span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.all {
		if hex.EncodeToString(s.GetTraceId()) == trace && s.GetName() == name {
			found = append(found, s)
		}
	}
	return found
}

// await waits for spans of a trace with a name, and returns them in the order of their begin.
func (c *spans) await(t *testing.T, trace, name string, n int) []span {
	t.Helper()
	eventually(t, name+" of "+trace, func() bool { return len(c.named(trace, name)) >= n })
	found := c.named(trace, name)
	require.Len(t, found, n, "%s of %s", name, trace)
	for i := range found {
		for j := range found[:i] {
			if found[i].GetStartTimeUnixNano() < found[j].GetStartTimeUnixNano() {
				found[i], found[j] = found[j], found[i]
			}
		}
	}
	return found
}

func (s span) id() string     { return hex.EncodeToString(s.GetSpanId()) }
func (s span) parent() string { return hex.EncodeToString(s.GetParentSpanId()) }

func (s span) attribute(name string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == name {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

func (s span) links() (ids []string) {
	for _, l := range s.GetLinks() {
		ids = append(ids, hex.EncodeToString(l.GetSpanId()))
	}
	return ids
}

func (s span) events() (names []string) {
	for _, e := range s.GetEvents() {
		names = append(names, e.GetName())
	}
	return names
}
