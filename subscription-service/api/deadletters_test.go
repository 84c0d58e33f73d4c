package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// deadEvent puts an event into the queue of dead letters and, listed or not, returns its id as a dead letter.
func (w *world) deadEvent(key, body string, listed bool) string {
	w.t.Helper()
	m := rabbit.NamesFor("test").ToDead("it was bad", rabbit.Message{RoutingKey: key, ContentType: "application/json", Body: []byte(body)})
	m.Headers[rabbit.HeaderRoutingKey] = key
	w.queue.put(m)
	l := contract.DeadLetter{
		ID: contract.DeadEventID(key, "application/json", nil, []byte(body)), Kind: contract.DeadEvent, Resource: contract.ResourceOf(key), Reason: "it was bad",
		At: w.clock.Now().UTC(), RoutingKey: key,
	}
	if listed {
		require.NoError(w.t, w.store.Bury(w.t.Context(), []contract.DeadLetter{l}))
	}
	return l.ID
}

// deadDelivery records a delivery in a state, lists it, and puts its command into the queue.
func (w *world) deadDelivery(sub, resource string, status contract.DeliveryStatus) contract.DeadLetter {
	w.t.Helper()
	now := w.clock.Now().UTC().Truncate(time.Millisecond)
	d := contract.Delivery{ID: contract.NewID("dlv"), Subscription: sub, EventID: "e1", EventSource: "/shop", EventType: "order.created", Status: status,
		Reason: "given up", CreatedAt: now, UpdatedAt: now, AttemptCount: 3}
	require.NoError(w.t, w.store.Record(w.t.Context(), []store.Record{{Delivery: d}}))
	l := contract.DeadLetter{ID: d.ID, Kind: contract.DeadDelivery, Resource: resource, Reason: d.Reason, At: now, Created: now, Subscription: sub, Attempts: 3}
	require.NoError(w.t, w.store.Bury(w.t.Context(), []contract.DeadLetter{l}))
	w.queue.put(rabbit.NamesFor("test").ToDead("given up", rabbit.Message{ID: d.ID, RoutingKey: "test.commands", Headers: map[string]any{"x-webhook-delivery": d.ID}}))
	return l
}

func (w *world) subscribed(consumer, resource string) string {
	w.t.Helper()
	a := w.as(consumer, "POST", "/"+resource+"/subscribe", map[string]any{"callback_url": "https://hooks.example.com/" + contract.NewID("x")})
	require.Equal(w.t, http.StatusCreated, a.status, "%s", a.body)
	return a.text(w.t, "id")
}

// keys are the routing keys of messages, in their order.
func routingKeys(messages []rabbit.Message) (keys []string) {
	for _, m := range messages {
		keys = append(keys, m.Exchange+" "+m.RoutingKey)
	}
	return keys
}

func TestDeadLettersAreListedAndFiltered(t *testing.T) {
	w := newWorld(t)
	w.dns.set("hooks.example.com", "93.184.216.34")
	consumer := w.consumer("acme", "orders", "users")
	sub := w.subscribed(consumer, "orders")
	event := w.deadEvent("users.user.created", "{", true)
	w.clock.Advance(time.Second)
	delivery := w.deadDelivery(sub, "orders", contract.DeliveryFailed)
	w.deadDelivery(sub, "orders", contract.DeliverySucceeded) // it was delivered since

	ids := func(query string) (ids []any) {
		for _, item := range w.asAdmin("GET", "/admin/v1/dead-letters?"+query, nil).items(t) {
			ids = append(ids, item["id"])
		}
		return ids
	}
	require.Equal(t, []any{delivery.ID, event}, ids(""))
	require.Equal(t, []any{event}, ids("kind=event"))
	require.Equal(t, []any{delivery.ID}, ids("resource=orders&kind=delivery&subscription="+sub))
	require.Equal(t, []any{event}, ids("reason=WAS+bad"))
	require.Equal(t, []any{delivery.ID}, ids("since="+delivery.At.Format(time.RFC3339Nano)))
	require.Empty(t, ids("kind=event&resource=orders"))
	page := w.asAdmin("GET", "/admin/v1/dead-letters?limit=1", nil)
	require.Equal(t, []any{event}, ids("cursor="+page.text(t, "next_cursor")))
	w.asAdmin("GET", "/admin/v1/dead-letters?cursor=nonsense", nil).problem(t, http.StatusBadRequest)
	w.asAdmin("GET", "/admin/v1/dead-letters?kind=other", nil).problem(t, http.StatusUnprocessableEntity)
	w.as(consumer, "GET", "/admin/v1/dead-letters", nil).problem(t, http.StatusUnauthorized)
}

func TestDeadDeliveriesAreTriedAgainByAReplayOfEachSubscription(t *testing.T) {
	w := newWorld(t)
	w.dns.set("hooks.example.com", "93.184.216.34")
	consumer := w.consumer("acme", "orders")
	one, paused := w.subscribed(consumer, "orders"), w.subscribed(consumer, "orders")
	first := w.deadDelivery(one, "orders", contract.DeliveryFailed)
	w.clock.Advance(time.Minute)
	last := w.deadDelivery(one, "orders", contract.DeliveryFailed)
	w.deadDelivery(paused, "orders", contract.DeliveryFailed)
	w.deadDelivery("sub_gone", "orders", contract.DeliveryFailed)
	require.Equal(t, http.StatusOK, w.as(consumer, "PATCH", "/orders/subscribe/"+paused, `{"status":"paused"}`).status)

	a := w.asAdmin("POST", "/admin/v1/dead-letters/replay", `{"kind":"delivery","resource":"orders"}`)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	begun := a.json(t)
	require.EqualValues(t, 1, begun["replays"])
	require.EqualValues(t, 2, begun["deliveries"])
	require.Len(t, begun["skipped"], 2)
	require.Contains(t, string(a.body), "it is gone")
	require.Contains(t, string(a.body), paused)
	jobs := w.publisher.take()
	require.Equal(t, []string{" test.replays"}, routingKeys(jobs))
	replay, err := w.store.Replay(t.Context(), one, jobs[0].ID)
	require.NoError(t, err)
	require.Equal(t, contract.DeliveryFailed, replay.Status)
	require.Equal(t, []time.Time{first.Created, last.Created}, []time.Time{replay.Since, replay.Until})

	again := w.asAdmin("POST", "/admin/v1/dead-letters/replay", `{"kind":"delivery","resource":"orders"}`).json(t)
	require.EqualValues(t, 0, again["replays"])
	require.EqualValues(t, 1, again["running"])
	require.Empty(t, w.publisher.take())
	require.EqualValues(t, 0, w.asAdmin("POST", "/admin/v1/dead-letters/replay", `{"kind":"delivery","ids":["dlv_none"]}`).json(t)["deliveries"])
	entries := w.asAdmin("GET", "/admin/v1/audit?action=replay-dead-letters", nil).items(t)
	require.Len(t, entries, 3)
	require.Equal(t, []any{"kind", "resource"}, entries[1]["fields"])
}

func TestDeadEventsArePublishedAnewAndTheRestOfTheQueueStays(t *testing.T) {
	w := newWorld(t)
	w.dns.set("hooks.example.com", "93.184.216.34")
	sub := w.subscribed(w.consumer("acme", "orders"), "orders")
	wanted := w.deadEvent("orders.order.created", "{", true)
	other := w.deadEvent("users.user.created", "{", true)
	dead := w.deadDelivery(sub, "orders", contract.DeliveryFailed)
	w.deadDelivery(sub, "orders", contract.DeliverySucceeded)

	begun := w.asAdmin("POST", "/admin/v1/dead-letters/replay", `{"kind":"event","ids":["`+wanted+`"]}`).json(t)
	require.EqualValues(t, 1, begun["events"])
	require.EqualValues(t, 4, begun["scanned"])
	require.EqualValues(t, 0, begun["remaining"])
	published := w.publisher.take()
	require.Equal(t, []string{"test.events orders.order.created", "test.dead users.user.created", "test.dead test.commands"}, routingKeys(published),
		"what was delivered since is nobody's dead letter any more")
	require.NotContains(t, published[0].Headers, rabbit.HeaderReason)
	require.NotContains(t, published[0].Headers, rabbit.HeaderRoutingKey)
	require.Equal(t, "it was bad", published[1].Headers[rabbit.HeaderReason])
	require.Equal(t, dead.ID, published[2].ID)
	left, _, err := w.store.DeadLetters(t.Context(), store.DeadQuery{Kind: contract.DeadEvent, Limit: 10})
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, other, left[0].ID)
}

func TestALongQueueOfDeadEventsIsGoneThroughByCallsThatGoOn(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.deadEvent("orders.order.created", fmt.Sprint("{", i), i%2 == 0) // those that nobody listed are asked for too
	}
	w.queue.most = 3
	remaining, events := 0.0, 0.0
	for n := 0; n == 0 || remaining > 0; n++ {
		begun := w.asAdmin("POST", "/admin/v1/dead-letters/replay", map[string]any{"resource": "orders", "remaining": remaining}).json(t)
		remaining, events = begun["remaining"].(float64), events+begun["events"].(float64)
		require.Less(t, n, 3)
	}
	require.EqualValues(t, 7, events)
	require.Len(t, w.publisher.take(), 7)
}

func TestADeadEventThatCanNotBePublishedStaysOne(t *testing.T) {
	w := newWorld(t)
	id := w.deadEvent("orders.order.created", "{", true)
	w.publisher.fail(errors.New("no broker"))
	w.asAdmin("POST", "/admin/v1/dead-letters/replay", `{}`).problem(t, http.StatusServiceUnavailable)
	letters, err := w.store.DeadLettersOf(t.Context(), []string{id})
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Len(t, w.queue.messages, 1)
}

func TestOpenBreakersAndTheOverview(t *testing.T) {
	w := newWorld(t)
	w.dns.set("hooks.example.com", "93.184.216.34")
	consumer := w.consumer("acme", "orders")
	sub := w.subscribed(consumer, "orders")
	require.Empty(t, w.asAdmin("GET", "/admin/v1/breakers", nil).items(t))
	require.NoError(t, w.store.ReportBreakers(t.Context(), "one", []contract.Breaker{{Subscription: sub, Resource: "orders", Consumer: consumer, Since: w.clock.Now(), Reason: "no answer", Parked: 4}}))
	items := w.asAdmin("GET", "/admin/v1/breakers?resource=orders&consumer="+consumer, nil).items(t)
	require.Len(t, items, 1)
	require.Equal(t, []any{sub, "one", "no answer", 4.0}, []any{items[0]["subscription_id"], items[0]["replica"], items[0]["reason"], items[0]["parked"]})
	require.Empty(t, w.asAdmin("GET", "/admin/v1/breakers?resource=users", nil).items(t))
	w.deadEvent("orders.order.created", "{", true)
	view := w.asAdmin("GET", "/admin/v1/overview", nil).json(t)
	require.EqualValues(t, 1, view["breakers_open"])
	require.EqualValues(t, 1, view["dead_letters"])
	require.Contains(t, view["queues"], map[string]any{"name": "test.dead", "messages": 1.0, "about": "dead letters"})
	w.queue.err = errors.New("away")
	w.asAdmin("GET", "/admin/v1/overview", nil).problem(t, http.StatusServiceUnavailable)
}
