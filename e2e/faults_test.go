package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// health asks the two questions of a service, which its metrics URL leads to.
type health struct{ name, url string }

func (s *scene) health() (subscriptions, listener, callbacks health) {
	of := func(name, metrics string) health { return health{name, strings.TrimSuffix(metrics, "/metrics")} }
	return of("subscription-service", s.SubscriptionMetricsURL), of("event-listener", s.ListenerMetricsURL), of("callback-service", s.CallbackMetricsURL)
}

// await polls until the service is ready, or is not because of one thing. It must live all the while.
func (h health) await(t *testing.T, because string) {
	t.Helper()
	client := world.Client{Base: h.url}
	eventually(t, fmt.Sprintf("%s is ready, but for: %q", h.name, because), func() bool {
		_, err := client.Want(ctx(t), http.StatusOK, "GET", "/healthz", nil)
		require.NoError(t, err)
		ready, err := client.Do(ctx(t), "GET", "/readyz", nil)
		require.NoError(t, err)
		if because == "" {
			return ready.Status == http.StatusOK
		}
		return ready.Status == http.StatusServiceUnavailable && ready.Field(because) != "ok"
	})
}

func ids(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(prefix, "-", i)
	}
	return all
}

func TestWhileTheBrokersDiskIsFullNothingIsLost(t *testing.T) {
	run := control(t)
	s := setScene(t)
	subscriptions, listener, callbacks := s.health()
	steady := receiver(t, nil)
	url, begun, again, fail := failsOnce(t)
	s.subscribe(t, steady.URL, map[string]any{"format": "data", "types": []string{"order.created"}})
	s.subscribe(t, url, map[string]any{"types": []string{"order.paid"}})
	const few = 20
	s.publish(t, ids("before", few)...)
	require.NoError(t, s.producer.PublishEvents(ctx(t), world.Event{Resource: s.resource, ID: "held", Type: "order.paid", Data: []byte("1")}))
	_, err := steady.WaitFor(ctx(t), few)
	require.NoError(t, err)
	held := receive(t, begun, 1)

	alarm := func(limit string) { require.NoError(t, run("rabbitmqctl", "set_disk_free_limit", limit)) }
	t.Cleanup(func() { alarm("100MB") })
	alarm("1000000GB")
	fail() // and the broker does not take the next attempt, which is when it says why
	callbacks.await(t, "rabbitmq")
	answer, err := s.consumer.With("Content-Type", "application/cloudevents+json").Do(ctx(t), "POST", "/"+s.resource+"/events",
		`{"specversion":"1.0","id":"http","source":"/e2e","type":"refund","data":1}`)
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, answer.Status, "%s", answer.Body)
	subscriptions.await(t, "rabbitmq")
	published := make(chan struct{})
	go func() {
		defer close(published)
		for _, id := range ids("during", few) {
			s.publishUntilConfirmed(t, id)
		}
	}()

	alarm("100MB")
	for _, h := range []health{subscriptions, listener, callbacks} {
		h.await(t, "")
	}
	<-published
	s.publish(t, ids("after", few)...)
	_, err = steady.Wait(ctx(t), func(got []world.Callback) bool { return distinct(got) == 3*few })
	require.NoError(t, err)
	require.Equal(t, held, receive(t, again, 1))
}

// succeeded leaves out what the endpoint did not take.
func succeeded(got []world.Callback) (good []world.Callback) {
	for _, c := range got {
		if c.Status < 300 {
			good = append(good, c)
		}
	}
	return good
}

// failsOnce is an endpoint that holds the first attempt of each delivery until fail, answers it 500, and the later ones 204.
func failsOnce(t *testing.T) (url string, begun, again chan string, fail func()) {
	t.Helper()
	begun, again = make(chan string, 1000), make(chan string, 1000)
	failed, fail := context.WithCancel(context.Background())
	var seen sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("Webhook-Id")
		if _, known := seen.LoadOrStore(id, true); known {
			w.WriteHeader(http.StatusNoContent)
			again <- id
			return
		}
		begun <- id
		<-failed.Done()
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(fail)
	return server.URL, begun, again, fail
}

func TestWhileRedisIsFullNothingIsLost(t *testing.T) {
	run := control(t)
	s := setScene(t)
	subscriptions, listener, callbacks := s.health()
	r := receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"format": "data"})
	const few = 20
	s.publish(t, ids("before", few)...)
	_, err := r.WaitFor(ctx(t), few)
	require.NoError(t, err)

	limit := func(bytes string) { require.NoError(t, run("redis-cli", "config", "set", "maxmemory", bytes)) }
	t.Cleanup(func() { limit("0") })
	limit("1")
	s.publish(t, ids("during", few)...)
	for _, h := range []health{subscriptions, listener, callbacks} {
		h.await(t, "redis")
	}

	limit("0")
	for _, h := range []health{subscriptions, listener, callbacks} {
		h.await(t, "")
	}
	s.publish(t, ids("after", few)...)
	got, err := r.Wait(ctx(t), func(got []world.Callback) bool { return distinct(got) == 3*few })
	require.NoError(t, err)
	require.Len(t, got, 3*few, "nothing broke a call, so nothing is sent twice")
}

// slowEndpoint answers when it is told to. It says which deliveries were begun.
func slowEndpoint(t *testing.T) (url string, begun chan string, release func()) {
	t.Helper()
	begun = make(chan string, 1000)
	released, release := context.WithCancel(context.Background())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- r.Header.Get("Webhook-Id")
		select {
		case <-released.Done():
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(release)
	return server.URL, begun, release
}

// foreground runs the callback service in the place of the stack's own until the test ends.
func foreground(t *testing.T, s *scene, settings ...string) *exec.Cmd {
	t.Helper()
	_, _, callbacks := s.health()
	return inPlaceOf(t, "callback-service", func() bool {
		answer, err := world.Client{Base: callbacks.url}.Do(ctx(t), "GET", "/readyz", nil)
		return err == nil && answer.Status == http.StatusOK
	}, settings...)
}

// inPlaceOf runs a service with settings of its own in the place of the stack's until the test ends.
func inPlaceOf(t *testing.T, name string, ready func() bool, settings ...string) *exec.Cmd {
	t.Helper()
	run := control(t)
	stack, err := world.NewControl()
	require.NoError(t, err)
	require.NoError(t, run("stop", name))
	cmd := stack.With(settings...).Command(ctx(t), "run", name)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the %s said:\n%s", name, &said)
		}
		require.NoError(t, run("start", name))
	})
	eventually(t, "the "+name+" is ready", ready)
	return cmd
}

func receive(t *testing.T, from <-chan string, n int) (all []string) {
	t.Helper()
	for range n {
		select {
		case id := <-from:
			all = append(all, id)
		case <-ctx(t).Done():
			require.Len(t, all, n)
		}
	}
	return all
}

func TestAnAttemptUnderWayIsFinishedBeforeTheServiceStops(t *testing.T) {
	s := setScene(t)
	url, begun, release := slowEndpoint(t)
	s.subscribe(t, url, map[string]any{"max_in_flight": 5})
	service := foreground(t, s)
	s.publish(t, ids("event", 20)...)
	ids := receive(t, begun, 5)
	require.NoError(t, service.Process.Signal(syscall.SIGTERM))
	_, _, callbacks := s.health()
	callbacks.await(t, "process")
	release()
	require.NoError(t, service.Wait(), "it exits with 0")

	require.NoError(t, control(t)("start", "callback-service"))
	ids = append(ids, receive(t, begun, 15)...)
	seen := map[string]bool{}
	for _, id := range ids {
		require.False(t, seen[id], "%s was sent twice", id)
		seen[id] = true
	}
}

func TestAnAttemptThatOutlivesTheDeadlineIsMadeAgain(t *testing.T) {
	s := setScene(t)
	url, begun, release := slowEndpoint(t)
	s.subscribe(t, url, map[string]any{"max_in_flight": 5})
	service := foreground(t, s, "WEBHOOK_SHUTDOWN_TIMEOUT=2s")
	s.publish(t, ids("event", 5)...)
	first := receive(t, begun, 5)
	require.NoError(t, service.Process.Signal(syscall.SIGTERM))
	stopping := time.Now()
	require.NoError(t, service.Wait(), "it exits with 0")
	require.Less(t, time.Since(stopping), 4*time.Second)

	release()
	require.NoError(t, control(t)("start", "callback-service"))
	require.ElementsMatch(t, first, receive(t, begun, 5))
}

func TestAStopAfterALostConnectionTakesNoLonger(t *testing.T) {
	run := control(t)
	s := setScene(t)
	url, begun, release := slowEndpoint(t)
	s.subscribe(t, url, map[string]any{"max_in_flight": 5})
	service := foreground(t, s)
	s.publish(t, ids("event", 20)...)
	receive(t, begun, 5)
	require.NoError(t, run("rabbitmqctl", "close_all_connections", "a test"))
	release()
	receive(t, begun, 15)
	require.NoError(t, service.Process.Signal(syscall.SIGTERM))
	stopping := time.Now()
	require.NoError(t, service.Wait(), "it exits with 0")
	require.Less(t, time.Since(stopping), 10*time.Second)
}
