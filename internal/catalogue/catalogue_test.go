package catalogue

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a store in memory.
type source struct {
	mu      sync.Mutex
	version string
	all     []contract.Resource
	err     error
	reads   int
}

func (s *source) ResourcesSince(_ context.Context, known string) (string, []contract.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	switch {
	case s.err != nil:
		return known, nil, s.err
	case known == s.version:
		return known, nil, nil
	}
	return s.version, s.all, nil
}

func (s *source) set(version string, err error, all ...contract.Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version, s.all, s.err = version, all, err
}

func orders(policy string) contract.Resource {
	return contract.Resource{Name: "orders", Policy: json.RawMessage(policy), Types: []contract.EventType{
		{Name: "order.created", Schema: json.RawMessage(`{"type":"object","required":["id"]}`)}, {Name: "order.paid"},
	}}
}

func eventOf(eventType, contentType, data string) *event.Event {
	e := event.New()
	e.SetType(eventType)
	if contentType != "" {
		e.SetDataContentType(contentType)
	}
	e.DataEncoded = []byte(data)
	return &e
}

func loaded(t *testing.T, resources ...contract.Resource) *Catalogue {
	t.Helper()
	c := New(&source{all: resources}, zap.NewNop())
	require.NoError(t, c.Refresh(context.Background()))
	return c
}

func TestAnEventIsHeldAgainstTheCatalogue(t *testing.T) {
	const jsonType = "application/json"
	good, bad := eventOf("order.created", jsonType, `{"id":1}`), eventOf("order.created", jsonType, `{}`)
	for _, c := range []struct {
		name, policy string
		event        *event.Event
		warn, refuse string // parts of what is said; "": nothing
	}{
		{"good", `{"schema_mode":"reject"}`, good, "", ""},
		{"no policy", ``, bad, "", ""},
		{"off", `{"schema_mode":"off"}`, bad, "", ""},
		{"warn", `{"schema_mode":"warn"}`, bad, "data lacks id", ""},
		{"reject", `{"schema_mode":"reject"}`, bad, "", "data lacks id"},
		{"without a content type", `{"schema_mode":"reject"}`, eventOf("order.created", "", `{}`), "", "data lacks id"},
		{"JSON by its suffix", `{"schema_mode":"reject"}`, eventOf("order.created", "application/x+json", `{}`), "", "data lacks id"},
		{"no JSON", `{"schema_mode":"reject"}`, eventOf("order.created", "text/plain", `{"id":1}`), "", "text/plain"},
		{"no data", `{"schema_mode":"reject"}`, eventOf("order.created", "", ``), "", "data is missing"},
		{"a type without a schema", `{"schema_mode":"reject"}`, eventOf("order.paid", "text/plain", `x`), "", ""},
		{"a type that is not listed", `{"schema_mode":"reject"}`, eventOf("order.lost", jsonType, `{}`), "", "order.lost is not in the catalogue"},
		{"one that is not listed, warned of", `{"schema_mode":"warn"}`, eventOf("order.lost", jsonType, `{}`), "order.lost", ""},
		{"one that is not listed, off", `{}`, eventOf("order.lost", jsonType, `{}`), "", ""},
		{"as long as allowed", `{"max_payload":8}`, good, "", ""},
		{"too long", `{"max_payload":7}`, good, "", "data has 8 bytes: the resource takes at most 7"},
		{"too long, warned of", `{"max_payload":1,"schema_mode":"warn"}`, bad, "", "max_payload"},
		{"a policy that can't be read", `{"schema_mode":5}`, good, "", "put the resource again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			warn, refuse := loaded(t, orders(c.policy)).Check("orders", c.event)
			requireSays(t, warn, c.warn)
			requireSays(t, refuse, c.refuse)
		})
	}
	warn, refuse := loaded(t, contract.Resource{Name: "orders", Policy: []byte(`{"schema_mode":"reject"}`)}).Check("orders", bad)
	require.NoError(t, errors.Join(warn, refuse), "a resource that lists no types has them all")
	warn, refuse = loaded(t, orders(`{"schema_mode":"reject"}`)).Check("payments", bad)
	require.NoError(t, errors.Join(warn, refuse), "another resource")
}

func requireSays(t *testing.T, err error, part string) {
	t.Helper()
	if part == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, part)
	requireOneLine(t, err)
}

func TestAChangeHoldsWithinASecondAndWhatWasKnownStaysWhileTheSourceIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{err: errors.New("away")}
		core, logs := observer.New(zapcore.InfoLevel)
		c := New(s, zap.New(core))
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- c.Run(ctx) }()
		second := func() { time.Sleep(time.Second); synctest.Wait() } // of the bubble's clock
		bad := eventOf("order.created", "", `{}`)

		second()
		_, refuse := c.Check("orders", bad)
		require.ErrorIs(t, refuse, ErrNotLoaded)

		s.set("v1", nil, orders(`{"schema_mode":"reject"}`))
		second()
		_, refuse = c.Check("orders", bad)
		require.Error(t, refuse)

		s.set("v2", errors.New("away"), orders(``))
		second()
		_, refuse = c.Check("orders", bad)
		require.Error(t, refuse, "the last good state")

		s.set("v2", nil, orders(``))
		second()
		_, refuse = c.Check("orders", bad)
		require.NoError(t, refuse)
		require.Equal(t, 4, logs.Len(), "each change of the source once: %v", logs.All())
		cancel()
		require.NoError(t, <-ran)
	})
}

func TestViolationsAreCountedByResourceAndMode(t *testing.T) {
	registry := prometheus.NewRegistry()
	v := NewViolations(registry)
	c := loaded(t, orders(`{"schema_mode":"warn","max_payload":5}`))
	warn, _ := c.Check("orders", eventOf("order.created", "", `{}`))
	v.Count("orders", contract.SchemaWarn, warn)
	v.Count("orders", contract.SchemaReject, nil)
	_, tooLong := c.Check("orders", eventOf("order.created", "", `{"id":1}`))
	require.Error(t, tooLong)
	v.Count("orders", contract.SchemaReject, tooLong)
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP webhook_schema_violations_total Events that break the schemas of their resource, by mode: warn (taken), reject (refused).
# TYPE webhook_schema_violations_total counter
webhook_schema_violations_total{mode="warn",resource="orders"} 1
`)))
}

func BenchmarkCheck(b *testing.B) {
	for name, policy := range map[string]string{"off": ``, "reject": `{"schema_mode":"reject"}`} {
		b.Run(name, func(b *testing.B) {
			c := New(&source{all: []contract.Resource{orders(policy)}}, zap.NewNop())
			require.NoError(b, c.Refresh(context.Background()))
			e := eventOf("order.created", "application/json", `{"id":"4711","total":12.5,"lines":[{"sku":"a"},{"sku":"b"}]}`)
			b.ReportAllocs()
			for b.Loop() {
				if _, refuse := c.Check("orders", e); refuse != nil {
					b.Fatal(refuse)
				}
			}
		})
	}
}
