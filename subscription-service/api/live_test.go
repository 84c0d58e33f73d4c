package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// logAttempt logs an attempt as the callback service does.
func (w *world) logAttempt(subscription, delivery string, n int) contract.Delivery {
	w.t.Helper()
	at := time.Now().UTC().Truncate(time.Millisecond)
	d := contract.Delivery{
		ID: delivery, Subscription: subscription, EventID: "e " + delivery, EventSource: "/s", EventType: "a.b", Status: contract.DeliverySucceeded,
		CreatedAt: at, UpdatedAt: at, AttemptCount: n, Attempts: []contract.Attempt{{Number: n, At: at, Status: 200, Outcome: contract.OutcomeResponse}},
	}
	record(w.t, w.store, d)
	d.Attempts[0].Request = &contract.AttemptRequest{Method: "POST", URL: hook, Headers: []contract.Header{{Name: "X-Key", Value: contract.Hidden}}, Body: "{}", BodyBytes: 2}
	d.Attempts[0].Timings = &contract.Timings{QueuedMS: 1.5, TotalMS: 20}
	require.NoError(w.t, w.store.LogAttempts(context.Background(), []store.AttemptLog{{Delivery: d}}))
	return d
}

func TestADeliveryHasTheDetailsOfItsAttempts(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	path := "/orders/subscribe/" + id + "/deliveries"
	d := w.logAttempt(id, "dlv_1", 1)
	var got contract.Delivery
	a := w.as(acme, "GET", path+"/dlv_1", nil)
	require.NoError(t, json.Unmarshal(a.body, &got))
	require.Equal(t, d, got)
	require.NotContains(t, string(w.as(acme, "GET", path, nil).body), "request")
}

func TestDeliveriesAreSearched(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	path := "/orders/subscribe/" + id + "/deliveries"
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, kind := range []string{"order.paid", "order.created"} {
		record(t, w.store, contract.Delivery{ID: fmt.Sprint("dlv_", i), Subscription: id, EventID: fmt.Sprint("e", i), EventSource: "/s", EventType: kind,
			Status: contract.DeliveryFailed, CreatedAt: at.Add(time.Duration(i) * time.Hour), UpdatedAt: at})
	}
	for query, want := range map[string]string{
		"?type=order.paid": "dlv_0", "?event_id=e1": "dlv_1", "?since=2026-01-02T04:00:00Z": "dlv_1", "?until=2026-01-02T04:00:00Z": "dlv_0",
		"?status=failed&type=order.created&since=2026-01-02T03:04:05Z": "dlv_1",
	} {
		items := w.as(acme, "GET", path+query, nil).items(t)
		require.Len(t, items, 1, query)
		require.Equal(t, want, items[0]["id"], query)
	}
	require.Empty(t, w.as(acme, "GET", path+"?type=order", nil).items(t), "it is no prefix")
	require.Contains(t, w.as(acme, "GET", path+"?since=yesterday", nil).problem(t, http.StatusUnprocessableEntity), "query.since")
}

// watching is a client of the live stream.
type watching struct {
	t      *testing.T
	lines  *bufio.Scanner
	lastID string
}

func (w *world) watch(consumer, id, last string) *watching {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", w.gateway+"/gateway/orders/subscribe/"+id+"/deliveries/live", nil)
	require.NoError(w.t, err)
	req.Header.Set(contract.HeaderStatement, w.statement(consumer, "orders", contract.ActionSubscribe))
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := w.client.Do(req)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	require.Equal(w.t, http.StatusOK, resp.StatusCode)
	s := &watching{t: w.t, lines: bufio.NewScanner(resp.Body)}
	require.True(w.t, s.lines.Scan()) // it is open: what happens from now on is seen
	return s
}

// next is the delivery and the attempt of the next event.
func (s *watching) next() (d contract.Delivery, a contract.Attempt) {
	s.t.Helper()
	name := ""
	for s.lines.Scan() {
		field, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch field {
		case "event":
			name = value
		case "id":
			s.lastID = value
		case "data":
			var body struct {
				Delivery contract.Delivery
				Attempt  contract.Attempt
			}
			require.NoError(s.t, json.Unmarshal([]byte(value), &body))
			require.Equal(s.t, "attempt", name)
			return body.Delivery, body.Attempt
		}
	}
	s.t.Fatal("the stream ended: ", s.lines.Err())
	return d, a
}

func TestAttemptsAreSeenAsTheyAreLogged(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	w.logAttempt(id, "dlv_before", 1)
	one, two := w.watch(acme, id, ""), w.watch(acme, id, "")
	want := w.logAttempt(id, "dlv_1", 1)
	for _, s := range []*watching{one, two} {
		d, a := s.next()
		require.Equal(t, want.Attempts[0], a)
		d.Attempts = want.Attempts
		require.Equal(t, want, d)
	}
	last := one.lastID
	w.logAttempt(id, "dlv_2", 1)
	w.logAttempt(id, "dlv_3", 1)
	for _, s := range []*watching{one, two, w.watch(acme, id, last)} { // the last one was away meanwhile
		for _, want := range []string{"dlv_2", "dlv_3"} {
			d, _ := s.next()
			require.Equal(t, want, d.ID)
		}
	}
	w.as(acme, "GET", "/orders/subscribe/"+id+"/deliveries/live", nil, "Last-Event-ID", "nonsense").problem(t, http.StatusBadRequest)
	w.as(w.consumer("other", "orders"), "GET", "/orders/subscribe/"+id+"/deliveries/live", nil).problem(t, http.StatusNotFound)
}

// Who reads slowly misses nothing and keeps nobody else waiting.
func TestManyAttemptsReachEveryViewerInOrder(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	viewers := []*watching{w.watch(acme, id, ""), w.watch(acme, id, "")}
	const n = 100
	var all sync.WaitGroup
	for _, v := range viewers {
		all.Go(func() {
			for i := range n {
				if d, _ := v.next(); d.ID != fmt.Sprint("dlv_", i) {
					t.Errorf("%s came in the place of %d", d.ID, i)
					return
				}
			}
		})
	}
	for i := range n {
		w.logAttempt(id, fmt.Sprint("dlv_", i), 1)
	}
	all.Wait()
}

func TestHowThingsWentOverTime(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	now := w.clock.Now()
	var counts contract.Counts
	counts.Attempt(true, 20*time.Millisecond)
	counts.Attempt(false, 20*time.Millisecond)
	events := counts
	events.Events = 7
	require.NoError(t, w.store.AddStats(context.Background(), []store.Stat{
		{Resource: "orders", Subscription: id, At: now, Counts: counts}, {Resource: "orders", At: now, Counts: events}, {At: now, Counts: events},
	}))
	type series struct {
		Step   string
		Points []contract.StatPoint
	}
	read := func(a answer) (got series, sum contract.StatPoint) {
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		require.NoError(t, json.Unmarshal(a.body, &got))
		for _, p := range got.Points {
			sum.Events, sum.Succeeded, sum.Failed = sum.Events+p.Events, sum.Succeeded+p.Succeeded, sum.Failed+p.Failed
		}
		return got, sum
	}
	path := "/orders/subscribe/" + id + "/stats"
	day, sum := read(w.as(acme, "GET", path, nil))
	require.Equal(t, "5m", day.Step)
	require.Len(t, day.Points, 24*12+1)
	require.Equal(t, contract.StatPoint{Succeeded: 1, Failed: 1}, sum)
	require.Positive(t, day.Points[len(day.Points)-1].P99MS)
	hours, sum := read(w.as(acme, "GET", path+"?step=6h&since=2020-01-01T00:00:00Z", nil))
	require.Equal(t, contract.StatPoint{Succeeded: 1, Failed: 1}, sum)
	require.InDelta(t, 14*4, len(hours.Points), 2, "no more than there is")
	for _, step := range []string{"1m", "7m", "0s", "-5m", "25h", "x"} {
		require.Contains(t, w.as(acme, "GET", path+"?step="+step, nil).problem(t, http.StatusUnprocessableEntity), "query.step", step)
	}
	none, _ := read(w.as(acme, "GET", path+"?since=2100-01-01T00:00:00Z", nil))
	require.Empty(t, none.Points)
	w.as(w.consumer("other", "orders"), "GET", path, nil).problem(t, http.StatusNotFound)

	for _, query := range []string{"", "?resource=orders"} {
		_, sum := read(w.asAdmin("GET", "/admin/v1/stats"+query, nil))
		require.Equal(t, contract.StatPoint{Events: 7, Succeeded: 1, Failed: 1}, sum)
	}
	w.asAdmin("GET", "/admin/v1/stats?resource=nothing", nil).problem(t, http.StatusNotFound)
}
