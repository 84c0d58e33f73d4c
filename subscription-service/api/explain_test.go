package api_test

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// shelf is an archive in memory; err is what reading it fails with.
type shelf struct {
	mu     sync.Mutex
	events []contract.Archived
	err    error
	during func() // what happens while it is read
}

func (s *shelf) ReadStream(ctx context.Context, _ string, _ rabbit.StreamOffset, handle func(context.Context, []rabbit.StreamMessage) error) error {
	if s.during != nil {
		s.during()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	body, err := contract.EncodePack(s.events)
	if err != nil {
		return err
	}
	_ = handle(ctx, []rabbit.StreamMessage{{Message: rabbit.Message{ContentType: contract.MediaPack, Body: body}}})
	return nil
}

// took is what the listener leaves behind of an event.
func (w *world) took(resource, source, id, eventType, data string, commands int) {
	w.t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource(source)
	e.SetType(eventType)
	e.DataEncoded = []byte(data)
	taken := w.clock.Now().Add(time.Second).UTC().Truncate(time.Millisecond)
	w.archive.mu.Lock()
	w.archive.events = append(w.archive.events, contract.Archive(&e, resource, taken))
	w.archive.mu.Unlock()
	mark := store.Mark{Event: store.EventKey{Resource: resource, Source: source, ID: id}, Taken: taken, Commands: commands}
	require.NoError(w.t, w.store.MarkSeen(w.t.Context(), []store.Mark{mark}))
}

func TestAConsumerLearnsWhyAnEventDidNotReachIt(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders", "payments")
	created := w.as(acme, http.MethodPost, "/orders/subscribe", `{"callback_url":"https://consumer.example/hooks","types":["order.*"]}`)
	id := created.text(t, "id")
	_, err := w.store.ChangeSubscription(t.Context(), id, func(s *contract.Subscription) error { s.Filter = "data.total > 100.0"; return nil })
	require.NoError(t, err)
	w.took("orders", "/shop", "1", "order.paid", `{"total":5}`, 0)
	w.took("orders", "/shop", "2", "user.left", `{}`, 0)
	ask := func(query string) answer {
		return w.as(acme, http.MethodGet, "/orders/subscribe/"+id+"/explain?"+query, nil)
	}

	a := ask("event=1&source=/shop")
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, false, a.json(t)["matched"])
	require.Equal(t, "filter", a.text(t, "reason"))
	require.Equal(t, []any{map[string]any{"expression": "data.total", "value": "5"}}, a.json(t)["values"])
	require.Equal(t, "order.paid", a.text(t, "type"))
	require.Equal(t, "type", ask("event=2").text(t, "reason"), "without its source it is searched for")

	delivery := contract.Delivery{
		ID: contract.DeliveryID("/shop", "3", id), Subscription: id, EventID: "3", EventSource: "/shop", EventType: "order.paid", Status: contract.DeliverySucceeded,
		CreatedAt: time.Now(), UpdatedAt: time.Now(), AttemptCount: 1, Attempts: []contract.Attempt{{Number: 1, Status: 204, Outcome: contract.OutcomeResponse}},
	}
	require.NoError(t, w.store.Record(t.Context(), []store.Record{{Delivery: delivery}}))
	w.took("orders", "/shop", "3", "order.paid", `{"total":500}`, 1)
	a = ask("event=3")
	require.Equal(t, true, a.json(t)["matched"])
	require.Contains(t, string(a.body), `"attempt_count":1`)
	require.Contains(t, string(a.body), `"commands":1`)

	require.Equal(t, http.StatusNotFound, ask("event=none").status)
	require.Equal(t, http.StatusNotFound, ask("event=none&source=/shop").status)
	require.Equal(t, http.StatusUnprocessableEntity, ask("").status)
	other := w.consumer("other", "orders")
	require.Equal(t, http.StatusNotFound, w.as(other, http.MethodGet, "/orders/subscribe/"+id+"/explain?event=1", nil).status, "it is another's subscription")
	w.archive.err = rabbit.ErrUnavailable
	require.Equal(t, http.StatusServiceUnavailable, ask("event=1&source=/shop").status)
}

func TestAnEventIsExplainedToWhoAsksTooSoon(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, http.MethodPost, "/orders/subscribe", `{"callback_url":"https://consumer.example/hooks","types":["none"]}`).text(t, "id")
	asked := make(chan answer)
	go func() {
		asked <- w.as(acme, http.MethodGet, "/orders/subscribe/"+id+"/explain?event=1&source=/shop", nil)
	}()
	w.took("orders", "/shop", "1", "order.paid", `{}`, 0)
	require.Equal(t, "type", (<-asked).text(t, "reason"))
}

func TestAnAdminSeesWhatBecameOfAnEvent(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders", "payments")
	wants := w.as(acme, http.MethodPost, "/orders/subscribe", `{"callback_url":"https://consumer.example/a"}`).text(t, "id")
	w.as(acme, http.MethodPost, "/orders/subscribe", `{"callback_url":"https://consumer.example/b","types":["user.*"]}`)
	w.took("orders", "https://shop.example/x", "1/2", "order.paid", `{"total":5}`, 1)
	ask := func(source, id, query string) answer {
		return w.asAdmin(http.MethodGet, "/admin/v1/events/"+url.PathEscape(source)+"/"+url.PathEscape(id)+"/explain"+query, nil)
	}
	a := ask("https://shop.example/x", "1/2", "")
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, "orders", a.text(t, "resource"))
	require.Contains(t, string(a.body), `"reason":"type"`)
	require.Contains(t, string(a.body), `"subscription_id":"`+wants+`"`)
	require.Contains(t, string(a.body), `"reason":"unknown"`)
	w.took("payments", "https://shop.example/x", "1/2", "paid", `{}`, 0)
	require.Equal(t, http.StatusBadRequest, ask("https://shop.example/x", "1/2", "").status)
	require.Equal(t, "payments", ask("https://shop.example/x", "1/2", "?resource=payments").text(t, "resource"))
	require.Equal(t, http.StatusNotFound, ask("/none", "1", "").status)

	dead := store.Mark{Event: store.EventKey{Resource: "orders", Source: "/shop", ID: "9"}, Taken: time.Now(), Reason: "data/total is no number"}
	require.NoError(t, w.store.MarkSeen(t.Context(), []store.Mark{dead}))
	a = ask("/shop", "9", "")
	require.Equal(t, "data/total is no number", a.text(t, "dead_letter"))
	require.Contains(t, string(a.body), `"reason":"policy"`)
}

func TestSearchesOfTheArchiveUnderWayAreBounded(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	path := "/orders/subscribe/" + w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id") + "/explain?event=none"
	w.took("orders", "/shop", "1", "order.paid", `{}`, 0)
	arrived, release := make(chan struct{}), make(chan struct{})
	w.archive.during = func() {
		arrived <- struct{}{}
		<-release
	}
	done := make(chan int)
	for range 8 {
		statement := w.statement(acme, "orders", contract.ActionSubscribe)
		go func() {
			a, _ := w.try("GET", w.gateway+"/gateway"+path, nil, contract.HeaderStatement, statement)
			done <- a.status
		}()
		<-arrived
	}
	refused := w.as(acme, "GET", path, nil)
	refused.problem(t, http.StatusServiceUnavailable)
	require.Equal(t, "1", refused.header.Get("Retry-After"))
	close(release)
	for range 8 {
		require.Equal(t, http.StatusNotFound, <-done)
	}
	require.Contains(t, string(w.call("GET", w.admin+"/metrics", nil).body), `webhook_limited_total{limit="searches"} 1`)
}
