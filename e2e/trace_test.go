package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// tracedStack runs all four services in the place of the stack's own, with their spans sent to a collector.
type tracedStack struct {
	*scene
	*spans

	processes map[string]*exec.Cmd
}

func startTraced(t *testing.T) *tracedStack {
	t.Helper()
	control(t)
	s := &tracedStack{scene: setScene(t), spans: startCollector(t), processes: map[string]*exec.Cmd{}}
	settings := []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + s.url, "OTEL_EXPORTER_OTLP_HEADERS=x-collector-key=" + collectorKey,
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=e2e", "OTEL_BSP_SCHEDULE_DELAY=100", "WEBHOOK_LOG_LEVEL=debug", "WEBHOOK_RETRY_SCHEDULE=250ms,1s",
	}
	ready := func(url string) func() bool { return func() bool { return status(url+"/readyz") == http.StatusOK } }
	subscriptions, listener, callbacks := s.health()
	for name, is := range map[string]func() bool{
		"subscription-service": ready(subscriptions.url), "event-listener": ready(listener.url), "callback-service": ready(callbacks.url),
		"gateway": func() bool { return status(s.GatewayURL+"/orders/subscribe") == http.StatusUnauthorized },
	} {
		s.processes[name] = inPlaceOf(t, name, is, settings...)
	}
	return s
}

// end stops all processes as they are stopped in production, and returns what they logged.
func (s *tracedStack) end(t *testing.T) map[string]string {
	t.Helper()
	for _, cmd := range s.processes {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	}
	logs := map[string]string{}
	for name, cmd := range s.processes {
		require.NoError(t, cmd.Wait(), name)
		logs[name] = strings.ReplaceAll(cmd.Stdout.(*bytes.Buffer).String(), `\"`, `"`) // the gateway quotes what the runner says
	}
	return logs
}

// traceOf is a context that a producer may have.
func traceOf(n int, flags string) (trace, parent string) {
	trace = fmt.Sprintf("4bf92f3577b34da6a3ce92%010x", time.Now().UnixNano()%1e6*100+int64(n))
	return trace, "00-" + trace + "-00f067aa0ba902b7-" + flags
}

const producersSpan = "00f067aa0ba902b7"

func (s *tracedStack) event(id string, headers map[string]any) rabbit.Message {
	m := s.producer.Message(world.Event{Resource: s.resource, ID: id, Type: "order.created", Data: []byte(`{"card":"body-s3cret"}`)})
	for name, value := range headers {
		m.Headers[name] = value
	}
	return m
}

// The whole way of an event, with an attempt that fails and one that works, is one trace: the producer's.
func TestOneTraceFromTheProducerToTheEndpoint(t *testing.T) {
	s := startTraced(t)
	endpoint := receiver(t, func(n int, _ world.Callback) int { return map[bool]int{true: 500, false: 204}[n == 1] })
	subscribing, parent := traceOf(1, "01")
	made, err := s.consumer.With("traceparent", parent).With("baggage", "user=alice").Want(ctx(t), 201, "POST", s.path(), map[string]any{
		"callback_url": endpoint.URL + "?token=query-s3cret", "headers": map[string]string{"X-Team": "header-s3cret"},
		"auth": map[string]string{"type": "bearer", "token": "bearer-s3cret"},
	})
	require.NoError(t, err)
	id := made.Field("id")
	s.subscribeIsOneTrace(t, subscribing)

	trace, parent := traceOf(2, "01")
	require.NoError(t, s.producer.Publish(ctx(t), s.event("one", map[string]any{"cloudEvents_traceparent": parent, "cloudEvents_tracestate": "shop=1"})))
	got, err := endpoint.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	s.deliveryIsOneTrace(t, trace, got)
	s.attemptsTellTheTrace(t, id, got[0].ID(), trace)

	s.otherWaysIn(t, endpoint)
	s.noSecretIsInASpan(t, made.Field("secret"))
	s.collectorHangs(t, endpoint)
	s.linesShareTheTrace(t, trace, got[0].ID())
}

// subscribeIsOneTrace checks the caller's trace: plugin → API → Redis.
func (s *tracedStack) subscribeIsOneTrace(t *testing.T, trace string) {
	t.Helper()
	plugin := s.await(t, trace, "webhook-subscribe", 1)[0]
	require.Equal(t, producersSpan, plugin.parent())
	require.Equal(t, "webhook-runner", plugin.service)
	request := s.await(t, trace, "POST /{resource}/subscribe", 1)[0]
	require.Equal(t, plugin.id(), request.parent())
	require.Equal(t, "subscription-service", request.service)
	require.Equal(t, "/{resource}/subscribe", request.attribute("http.route"))
	eventually(t, "the store's spans are below it", func() bool {
		for _, name := range []string{"evalsha", "pipeline", "get", "hget"} {
			for _, redis := range s.named(trace, name) {
				if redis.parent() == request.id() && redis.attribute("db.system.name") == "redis" {
					return true
				}
			}
		}
		return false
	})
}

func (s *tracedStack) deliveryIsOneTrace(t *testing.T, trace string, got []world.Callback) {
	t.Helper()
	event := s.await(t, trace, "process webhook.events", 1)[0]
	require.Equal(t, producersSpan, event.parent())
	require.Equal(t, "event-listener", event.service)
	require.Equal(t, "one", event.attribute("cloudevents.event_id"))
	require.Equal(t, "matched", event.attribute("webhook.result"))
	require.NotEmpty(t, event.links(), "to the batch that it came in")
	delivery := s.await(t, trace, "create webhook.commands", 1)[0]
	require.Equal(t, event.id(), delivery.parent())
	require.Equal(t, got[0].ID(), delivery.attribute("webhook.delivery.id"))

	attempts, gateway := s.await(t, trace, "process webhook.commands", 2), s.await(t, trace, "POST /-/callback", 2)
	plugin, egress := s.await(t, trace, "webhook-callback", 2), s.await(t, trace, "POST", 2)
	for i := range 2 {
		require.Equal(t, delivery.id(), attempts[i].parent(), "attempts stand side by side")
		require.Equal(t, attempts[i].id(), gateway[i].parent())
		require.Equal(t, gateway[i].id(), plugin[i].parent())
		require.Equal(t, plugin[i].id(), egress[i].parent())
		require.Equal(t, "127.0.0.1", egress[i].attribute("server.address"))
		require.Contains(t, egress[i].events(), "first byte")
		require.Equal(t, "00-"+trace+"-"+egress[i].id()+"-01", got[i].Header.Get("Traceparent"), "what the endpoint does stands below the call")
		require.Equal(t, "shop=1", got[i].Header.Get("Tracestate"))
		require.Empty(t, got[i].Header.Get("Baggage"))
	}
	require.Equal(t, []string{attempts[0].id()}, attempts[1].links(), "each knows the one before")
	require.Empty(t, attempts[0].links())
	require.Equal(t, "500", attempts[0].attribute("error.type"))
	require.Empty(t, attempts[1].attribute("error.type"))
	require.Contains(t, egress[0].events(), "connect")
}

func (s *tracedStack) attemptsTellTheTrace(t *testing.T, subscription, delivery, trace string) {
	t.Helper()
	eventually(t, "both attempts are recorded", func() bool {
		answer, err := s.consumer.Want(ctx(t), 200, "GET", s.path()+"/"+subscription+"/deliveries/"+delivery, nil)
		require.NoError(t, err)
		return strings.Count(string(answer.Body), `"trace_id":"`+trace+`"`) == 2
	})
}

// otherWaysIn are traces that come as a header of AMQP or HTTP, none, a broken one, and one that is not recorded.
func (s *tracedStack) otherWaysIn(t *testing.T, endpoint *world.Receiver) {
	t.Helper()
	byAMQP, amqpParent := traceOf(3, "01")
	byHTTP, httpParent := traceOf(4, "01")
	unsampled, unsampledParent := traceOf(5, "00")
	require.NoError(t, s.producer.Publish(ctx(t), s.event("amqp", map[string]any{"traceparent": amqpParent})))
	_, err := s.consumer.With("traceparent", httpParent).With("baggage", "user=alice").With("Content-Type", "application/cloudevents+json").Want(ctx(t), 202, "POST", "/"+s.resource+"/events",
		`{"specversion":"1.0","id":"http","source":"/e2e","type":"order.created","data":"body-s3cret"}`)
	require.NoError(t, err)
	require.NoError(t, s.producer.Publish(ctx(t), s.event("unsampled", map[string]any{"cloudEvents_traceparent": unsampledParent}),
		s.event("none", nil), s.event("broken", map[string]any{"cloudEvents_traceparent": "00-zzz", "cloudEvents_tracestate": strings.Repeat("x", 2000)})))
	got, err := endpoint.WaitFor(ctx(t), 7)
	require.NoError(t, err)
	seen := map[string]string{}
	for _, c := range got[2:] {
		var event struct{ ID string }
		require.NoError(t, json.Unmarshal(c.Body, &event))
		require.Regexp(t, `^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`, c.Header.Get("Traceparent"), event.ID)
		require.Empty(t, c.Header.Get("Baggage"))
		seen[event.ID] = c.Header.Get("Traceparent")
	}
	require.Contains(t, seen["amqp"], byAMQP)
	require.Contains(t, seen["http"], byHTTP)
	require.Regexp(t, "^00-"+unsampled+"-.*-00$", seen["unsampled"])
	for _, made := range []string{"none", "broken"} {
		trace := strings.Split(seen[made], "-")[1]
		require.Empty(t, s.await(t, trace, "process webhook.events", 1)[0].parent(), "a trace of its own begins here")
		s.await(t, trace, "POST", 1)
	}
	require.Equal(t, producersSpan, s.await(t, byAMQP, "process webhook.events", 1)[0].parent())
	sent := s.await(t, byHTTP, "send webhook.events", 1)[0]
	require.Equal(t, sent.id(), s.await(t, byHTTP, "process webhook.events", 1)[0].parent())
	require.Equal(t, s.await(t, byHTTP, "POST /{resource}/events", 1)[0].id(), sent.parent())
	require.Empty(t, s.named(unsampled, "POST"))
}

func (s *tracedStack) noSecretIsInASpan(t *testing.T, signing string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, map[string]bool{collectorKey: true}, s.keys)
	for _, secret := range []string{"s3cret", "user=alice", "/hooks", strings.TrimPrefix(signing, "whsec_"), s.consumer.Header.Get("apikey"), s.AdminToken} {
		require.False(t, bytes.Contains(s.raw, []byte(secret)), secret)
	}
	for name, secret := range ownSecrets(t) {
		require.False(t, bytes.Contains(s.raw, []byte(secret)), name)
	}
}

// collectorHangs: deliveries go on as if nothing was, and so does the end of the processes, which is next.
func (s *tracedStack) collectorHangs(t *testing.T, endpoint *world.Receiver) {
	t.Helper()
	s.hang.Store(true)
	const many = 300
	began := time.Now()
	s.publish(t, ids("hanging", many)...)
	_, err := endpoint.WaitFor(ctx(t), 7+many)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 15*time.Second)
}

// linesShareTheTrace checks that each attempt has one line in the callback service's log and one in the runner's.
func (s *tracedStack) linesShareTheTrace(t *testing.T, trace, delivery string) {
	t.Helper()
	began := time.Now()
	logs := s.end(t)
	require.Less(t, time.Since(began), 15*time.Second, "nobody waits for a collector that hangs")
	for name, want := range map[string]struct {
		message string
		n       int
	}{"event-listener": {"event", 1}, "callback-service": {"attempt", 2}, "gateway": {"call", 2}} {
		log, n := logs[name], 0
		require.NotContains(t, log, "s3cret", name)
		for line := range strings.Lines(log) {
			if strings.Contains(line, `"msg":"`+want.message+`"`) && strings.Contains(line, trace) {
				n++
				require.Regexp(t, `"trace_id":"`+trace+`".*"span_id":"[0-9a-f]{16}"`, line)
				require.True(t, name == "event-listener" || strings.Contains(line, `"delivery":"`+delivery+`"`), line)
			}
		}
		require.Equal(t, want.n, n, "%s:\n%s", name, log)
	}
	require.Regexp(t, `"route":"POST /{resource}/events".*"trace_id":"[0-9a-f]{32}"`, logs["subscription-service"])
}
