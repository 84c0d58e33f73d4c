package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Redis with one resource, an API that writes and an index that reads, in processes of their own.
type world struct {
	t     *testing.T
	api   *store.Store
	index *Index
}

func open(t *testing.T, url, namespace string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{URL: url, Namespace: namespace, Keyring: keyring.Ephemeral()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newWorld(t *testing.T, url string) *world {
	t.Helper()
	namespace := testkit.Namespace(t)
	w := &world{t, open(t, url, namespace), New(open(t, url, namespace), zap.NewNop())}
	w.resource("orders")
	return w
}

func (w *world) resource(name string) {
	w.t.Helper()
	_, err := w.api.PutResource(w.t.Context(), contract.Resource{Name: name})
	require.NoError(w.t, err)
}

func (w *world) subscribe(id, resource string, types ...string) {
	w.t.Helper()
	_, _, err := w.api.CreateSubscription(w.t.Context(), contract.Subscription{
		ID: id, Consumer: "con_1", Resource: resource, CallbackURL: "https://consumer.example/" + id, Types: types,
		Status: contract.StatusActive, CreatedAt: time.Now(),
	})
	require.NoError(w.t, err)
}

func (w *world) pause(id string) {
	w.t.Helper()
	_, err := w.api.ChangeSubscription(w.t.Context(), id, func(s *contract.Subscription) error { s.Status = contract.StatusPaused; return nil })
	require.NoError(w.t, err)
}

// wanting looks and matches, as the listener does for an event.
func (w *world) wanting(resource, eventType string) []string {
	w.t.Helper()
	view, err := w.index.Look(w.t.Context(), []string{resource}, nil)
	require.NoError(w.t, err)
	ids := []string{}
	for _, c := range view.All(resource, eventType, "") {
		ids = append(ids, c.Subscription)
	}
	return ids
}

// What was acknowledged to a consumer before is found, and what ended before is not, however soon the look comes.
func TestALookIsNeverOlderThanWhatWasAcknowledged(t *testing.T) {
	w := newWorld(t, testkit.Redis(t))
	want := []string{}
	for i := range 50 {
		id := fmt.Sprintf("sub_%02d", i)
		w.subscribe(id, "orders", "a.*")
		want = append(want, id)
		require.Equal(t, want, w.wanting("orders", "a.b"))
	}
	w.pause("sub_00")
	require.Equal(t, want[1:], w.wanting("orders", "a.b"))
	require.NoError(t, w.api.DeleteSubscription(t.Context(), "sub_01"))
	require.Equal(t, want[2:], w.wanting("orders", "a.b"))
}

// The same with many writers, whose subscriptions the index reads while it loads.
func TestALookIsNeverOlderThanWhatWasAcknowledgedByManyAtATime(t *testing.T) {
	w := newWorld(t, testkit.Redis(t))
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for j := range 30 {
				id := fmt.Sprintf("sub_%d_%d", i, j)
				_, _, err := w.api.CreateSubscription(t.Context(), contract.Subscription{
					ID: id, Consumer: "con_1", Resource: "orders", CallbackURL: "https://consumer.example/" + id, Status: contract.StatusActive, CreatedAt: time.Now(),
				})
				view, lookErr := w.index.Look(t.Context(), []string{"orders"}, nil)
				if err != nil || lookErr != nil {
					t.Error(err, lookErr)
					return
				}
				found, _ := view.Match("orders", "x", 1000)
				if !contains(found, id) {
					t.Errorf("%s was acknowledged and is not found", id)
				}
			}
		})
	}
	writers.Wait()
}

func contains(found []store.Candidate, id string) bool {
	for _, c := range found {
		if c.Subscription == id {
			return true
		}
	}
	return false
}

func TestAResourceThatDoesNotExistIsToldFromOneWithoutSubscriptions(t *testing.T) {
	w := newWorld(t, testkit.Redis(t))
	view, err := w.index.Look(t.Context(), []string{"orders", "none"}, nil)
	require.NoError(t, err)
	require.True(t, view.Exists("orders"))
	require.False(t, view.Exists("none"))
	require.Empty(t, view.All("none", "a", ""))
}

func TestAFanOutGoesOnAfterWhatIsDone(t *testing.T) {
	w := newWorld(t, testkit.Redis(t))
	for _, id := range []string{"c", "a", "d", "b"} {
		w.subscribe(id, "orders")
	}
	view, err := w.index.Look(t.Context(), []string{"orders"}, nil)
	require.NoError(t, err)
	for after, want := range map[string]int{"": 4, "a": 3, "bb": 2, "d": 0} {
		require.Len(t, view.All("orders", "x", after), want, after)
	}
}

// A stream that was trimmed, or is gone with all that Redis kept, leads to a new beginning.
func TestTheIndexBeginsAnewWhenTheChangesDoNotReachBack(t *testing.T) {
	server := testkit.StartRedis(t)
	w := newWorld(t, server.URL)
	w.subscribe("sub_1", "orders")
	require.Equal(t, []string{"sub_1"}, w.wanting("orders", "x"))
	w.index.at.Token = "of another time" // as far as the stream is concerned, the place where it stood is gone
	w.subscribe("sub_2", "orders")
	require.Equal(t, []string{"sub_1", "sub_2"}, w.wanting("orders", "x"))

	loseEverything(t, server.URL)
	w.resource("orders")
	require.Empty(t, w.wanting("orders", "x"))
	w.subscribe("sub_3", "orders")
	require.Equal(t, []string{"sub_3"}, w.wanting("orders", "x"))
}

func loseEverything(t *testing.T, url string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimSuffix(strings.TrimPrefix(url, "redis://"), "/0"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte("FLUSHALL\r\n"))
	require.NoError(t, err)
	answer := make([]byte, 5)
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", string(answer))
}

// With nobody looking, a change is known within a second.
func TestRunReadsEverythingAndFollows(t *testing.T) {
	w := newWorld(t, testkit.Redis(t))
	w.resource("payments")
	w.subscribe("sub_1", "orders")
	w.subscribe("sub_2", "payments")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.index.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	size := func() int { n, _ := w.index.Size(); return n }
	require.Eventually(t, func() bool { return size() == 2 }, 10*time.Second, time.Millisecond)
	w.subscribe("sub_3", "orders")
	acknowledged := time.Now()
	require.Eventually(t, func() bool { return size() == 3 }, 10*time.Second, time.Millisecond)
	require.Less(t, time.Since(acknowledged), time.Second)
}

// broken is a store whose reading fails so many times.
type broken struct {
	*store.Store
	fails int
}

var errBroken = errors.New("no answer")

func (b *broken) EachCandidate(ctx context.Context, resource string, tell func(store.Candidate)) error {
	if b.fails--; b.fails >= 0 {
		tell(store.Candidate{Subscription: "half read"})
		return errBroken
	}
	return b.Store.EachCandidate(ctx, resource, tell)
}

func TestAResourceThatCouldNotBeReadIsReadAgain(t *testing.T) {
	w := newWorld(t, testkit.Redis(t))
	w.subscribe("sub_1", "orders")
	w.index = New(&broken{w.api, 1}, zap.NewNop())
	_, err := w.index.Look(t.Context(), []string{"orders"}, nil)
	require.ErrorIs(t, err, errBroken)
	require.Equal(t, []string{"sub_1"}, w.wanting("orders", "x"))
}

// meddling changes something while a resource is being read.
type meddling struct {
	*store.Store
	meddle func()
}

func (m *meddling) EachCandidate(ctx context.Context, resource string, tell func(store.Candidate)) error {
	err := m.Store.EachCandidate(ctx, resource, tell)
	if m.meddle != nil {
		m.meddle()
	}
	return err
}

func TestWhatChangesWhileAResourceIsReadIsNotMissed(t *testing.T) {
	w := newWorld(t, testkit.Redis(t))
	w.subscribe("sub_1", "orders")
	slow := &meddling{Store: w.api}
	w.index = New(slow, zap.NewNop())
	slow.meddle = func() { // another look hears of the change before the resource is there
		slow.meddle = nil
		w.subscribe("sub_2", "orders")
		_, err := w.index.catchUp(t.Context(), nil, nil)
		require.NoError(t, err)
	}
	require.Equal(t, []string{"sub_1", "sub_2"}, w.wanting("orders", "x"))
}

func TestAnIndexThatBeginsAnewWhileAResourceIsReadReadsItAgain(t *testing.T) {
	w := newWorld(t, testkit.Redis(t))
	w.subscribe("sub_1", "orders")
	slow := &meddling{Store: w.api}
	w.index = New(slow, zap.NewNop())
	slow.meddle = func() {
		slow.meddle = nil
		w.index.forget()
		w.subscribe("sub_2", "orders")
	}
	require.Equal(t, []string{"sub_1", "sub_2"}, w.wanting("orders", "x"))
}
