package listener

import (
	"context"
	"errors"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// verdicts are what a catalogue says, by the event's id.
type verdicts struct {
	notLoaded int // how often it is not loaded
	warn      map[string]error
	refuse    map[string]error
}

func (v *verdicts) Check(_ string, e *event.Event) (warn, refuse error) {
	if v.notLoaded > 0 {
		v.notLoaded--
		return nil, catalogue.ErrNotLoaded
	}
	return v.warn[e.ID()], v.refuse[e.ID()]
}

func TestWhatTheCatalogueRefusesIsADeadLetterAndWhatItWarnsOfIsDelivered(t *testing.T) {
	f := newFake(t)
	core, logs := observer.New(zapcore.InfoLevel)
	f.listener.Log = zap.New(core)
	registry := prometheus.NewRegistry()
	f.listener.Metrics = NewMetrics(registry)
	violation := &catalogue.Faults{Places: []catalogue.Fault{{At: "data/total", Message: "must be at least 0"}}}
	f.listener.Catalogue = &verdicts{
		warn:   map[string]error{"warned": violation},
		refuse: map[string]error{"refused": violation, "unreadable": errors.New("the policy")},
	}
	f.resource("orders")
	f.subscribe("sub_1", "orders")
	f.send(binary("orders.a", "refused", "a", []byte(`"secret"`)), binary("orders.a", "warned", "a", []byte(`"secret"`)),
		binary("orders.a", "good", "a", nil), binary("orders.a", "unreadable", "a", nil), rabbit.Message{RoutingKey: "orders.no.event"})

	var delivered, dead []string
	for _, c := range decode(t, f.commands(2)) {
		delivered = append(delivered, c.Event.ID())
	}
	require.Equal(t, []string{"warned", "good"}, delivered)
	for _, m := range f.dead(3) {
		dead = append(dead, m.Headers[rabbit.HeaderReason].(string))
	}
	require.Equal(t, []string{"data/total must be at least 0", "the policy"}, dead[:2])
	require.Len(t, f.archived("orders", 2), 2, "what is refused is no event of the past")
	warned := logs.FilterMessage("an event breaks the schema of its type").All()
	require.Len(t, warned, 1)
	require.Equal(t, zapcore.InfoLevel, warned[0].Level)
	require.NotContains(t, warned[0].ContextMap(), "data")
	require.Equal(t, 2, testutil.CollectAndCount(registry, "webhook_schema_violations_total"), "by mode")
}

func TestEventsWaitForACatalogueThatIsNotLoaded(t *testing.T) {
	f := newFake(t)
	f.listener.Catalogue = &verdicts{notLoaded: 2}
	f.resource("orders")
	f.subscribe("sub_1", "orders")
	f.send(binary("orders.a", "e1", "a", nil))
	require.Len(t, f.commands(1), 1)
	require.Equal(t, []int{1, 2}, f.waits)

	stopped, stop := context.WithCancel(never())
	stop()
	f.listener.Catalogue = &verdicts{notLoaded: 1000}
	require.Equal(t, []fate{keep}, f.listener.process(stopped, never(), []rabbit.Message{binary("orders.a", "e2", "a", nil)}))
}
