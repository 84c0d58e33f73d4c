package api_test

import (
	"context"
	"encoding/base64"
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

const hook = "https://consumer.example/hooks"

func TestSubscribe(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	asked := map[string]any{
		"callback_url": hook, "types": []string{"order.created", "order.*"}, "format": "data", "headers": map[string]string{"X-Team": "billing"},
		"auth": map[string]any{"type": "bearer", "token": "t0ken"}, "description": "billing", "rate_limit": 0.5, "max_in_flight": 100,
		"ordering": "subject", "retry_schedule": []string{"1s", "2m"}, "timeouts": map[string]string{"connect": "300ms", "total": "20s"},
	}
	a := w.as(acme, "POST", "/orders/subscribe", asked)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	got := a.json(t)
	require.Equal(t, "/orders/subscribe/"+a.text(t, "id"), a.header.Get("Location"))
	require.Equal(t, "orders", got["resource"])
	require.Equal(t, "active", got["status"])
	require.Equal(t, map[string]any{"type": "bearer"}, got["auth"])
	require.Equal(t, got["created_at"], got["updated_at"])
	for field, value := range asked {
		if field != "auth" {
			require.EqualValues(t, fmt.Sprint(value), fmt.Sprint(got[field]), field)
		}
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(a.text(t, "secret"), "whsec_"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(raw), 24)
	created, err := time.Parse(time.RFC3339Nano, a.text(t, "created_at"))
	require.NoError(t, err)
	require.Equal(t, time.UTC, created.Location())

	t.Run("the same again is the first", func(t *testing.T) {
		w.clock.Advance(time.Minute / 2)
		asked["types"] = []string{"order.*", "order.created"}
		again := w.as(acme, "POST", "/orders/subscribe", asked)
		require.Equal(t, http.StatusOK, again.status)
		delete(got, "secret")
		require.Equal(t, got, again.json(t))
		require.Equal(t, a.header.Get("Location"), again.header.Get("Location"))
	})
	t.Run("get", func(t *testing.T) {
		require.Equal(t, got, w.as(acme, "GET", "/orders/subscribe/"+got["id"].(string), nil).json(t))
	})
	t.Run("only the URL is required", func(t *testing.T) {
		a := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook})
		require.Equal(t, http.StatusCreated, a.status)
		require.Equal(t, "cloudevents-structured", a.text(t, "format"))
		again := w.as(acme, "POST", "/orders/subscribe", `{"callback_url":"`+hook+`","types":[],"headers":{},"auth":null,"format":"cloudevents-structured","filter":null,
			"rate_limit":null,"max_in_flight":10.0,"ordering":"none","retry_schedule":null,"timeouts":{}}`)
		require.Equal(t, http.StatusOK, again.status, "%s", again.body)
		require.Equal(t, a.text(t, "id"), again.text(t, "id"))
	})
	t.Run("no such resource", func(t *testing.T) {
		w.as(acme, "POST", "/payments/subscribe", map[string]any{"callback_url": hook}).problem(t, http.StatusNotFound)
	})
	t.Run("a consumer that is gone", func(t *testing.T) {
		gone := w.consumer("gone", "orders")
		require.Equal(t, http.StatusNoContent, w.asAdmin("DELETE", "/admin/v1/consumers/"+gone, nil).status)
		w.as(gone, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).problem(t, http.StatusForbidden)
		require.Zero(t, w.stored(gone, "orders"))
	})
}

func TestConcurrentEqualCreates(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	const n = 20
	answers := make([]answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			answers[i], _ = w.try("POST", w.gateway+"/gateway/orders/subscribe", map[string]any{"callback_url": hook},
				contract.HeaderStatement, w.statement(acme, "orders", "subscribe"))
		})
	}
	wg.Wait()
	created := 0
	for _, a := range answers {
		require.Contains(t, []int{http.StatusOK, http.StatusCreated}, a.status, "%s", a.body)
		require.Equal(t, answers[0].text(t, "id"), a.text(t, "id"))
		_, secret := a.json(t)["secret"]
		require.Equal(t, a.status == http.StatusCreated, secret)
		if secret {
			created++
		}
	}
	require.Equal(t, 1, created)
	require.Equal(t, 1, w.stored(acme, "orders"))
}

func TestForeignSubscriptionsDoNotExist(t *testing.T) {
	w := newWorld(t)
	acme, other := w.consumer("acme", "orders", "payments"), w.consumer("other", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	calls := []struct {
		method, path string
		body         any
	}{
		{"GET", "", nil}, {"PATCH", "", map[string]any{"status": "paused"}}, {"DELETE", "", nil}, {"POST", "/rotate-secret", nil}, {"POST", "/test", nil},
		{"GET", "/deliveries", nil}, {"GET", "/deliveries/dlv_x", nil}, {"POST", "/deliveries/dlv_x/replay", nil},
		{"POST", "/replay", map[string]any{"since": w.ago(time.Hour)}}, {"GET", "/replay/rpl_x", nil},
	}
	for _, c := range calls {
		for caller, resource := range map[string]string{other: "orders", acme: "payments"} {
			path := "/" + resource + "/subscribe/" + id + c.path
			a := w.as(caller, c.method, path, c.body)
			a.problem(t, http.StatusNotFound)
			missing := w.as(caller, c.method, "/"+resource+"/subscribe/sub_none"+c.path, c.body)
			require.Equal(t, string(missing.body), string(a.body), "the answer must not tell a foreign one from none: %s", c.path)
		}
	}
	require.Empty(t, w.as(other, "GET", "/orders/subscribe", nil).items(t))
	require.Equal(t, "active", w.as(acme, "GET", "/orders/subscribe/"+id, nil).text(t, "status"))
}

func TestPatch(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	first := w.as(acme, "POST", "/orders/subscribe", map[string]any{
		"callback_url": hook, "types": []string{"a.b"}, "description": "one", "auth": map[string]any{"type": "basic", "username": "u", "password": "p"},
	})
	path := "/orders/subscribe/" + first.text(t, "id")
	w.clock.Advance(time.Second)

	paused := w.as(acme, "PATCH", path, map[string]any{"status": "paused"}).json(t)
	require.Equal(t, "paused", paused["status"])
	require.NotEqual(t, paused["created_at"], paused["updated_at"])
	require.Equal(t, []any{"a.b"}, paused["types"])
	require.Equal(t, map[string]any{"type": "basic"}, paused["auth"])
	require.NotContains(t, paused, "secret")

	changed := w.as(acme, "PATCH", path, `{"auth":null,"types":null,"description":null,"callback_url":"https://two.example/","status":"active"}`,
		"Content-Type", "application/merge-patch+json").json(t)
	require.NotContains(t, changed, "auth")
	require.NotContains(t, changed, "types")
	require.NotContains(t, changed, "description")
	require.Equal(t, "https://two.example/", changed["callback_url"])
	require.Equal(t, "active", changed["status"])

	second := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook})
	require.Equal(t, http.StatusCreated, second.status)
	w.as(acme, "PATCH", "/orders/subscribe/"+second.text(t, "id"), map[string]any{"callback_url": "https://two.example/"}).problem(t, http.StatusConflict)
	require.Equal(t, hook, w.as(acme, "GET", "/orders/subscribe/"+second.text(t, "id"), nil).text(t, "callback_url"))
}

func TestPatchOfThePace(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	path := "/orders/subscribe/" + w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	patch := func(body string) map[string]any {
		a := w.as(acme, "PATCH", path, body)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		return a.json(t)
	}
	fresh := patch(`{}`)
	require.EqualValues(t, 10, fresh["max_in_flight"])
	require.Equal(t, "none", fresh["ordering"])
	for _, unset := range []string{"rate_limit", "retry_schedule", "timeouts", "status_reason"} {
		require.NotContains(t, fresh, unset)
	}

	set := patch(`{"rate_limit":12.3,"max_in_flight":1e3,"ordering":"subject","retry_schedule":["1h30m","168h"],"timeouts":{"connect":"1s","header":"2s"}}`)
	require.InDelta(t, 12.3, set["rate_limit"], 1e-9)
	require.EqualValues(t, 1000, set["max_in_flight"])
	require.Equal(t, "subject", set["ordering"])
	require.Equal(t, []any{"1h30m", "168h"}, set["retry_schedule"])
	require.Equal(t, map[string]any{"connect": "1s", "header": "2s"}, set["timeouts"])

	once := patch(`{"retry_schedule":[],"timeouts":{"total":"5s"}}`)
	require.Equal(t, []any{}, once["retry_schedule"], "no retry is not the same as the default")
	require.Equal(t, map[string]any{"total": "5s"}, once["timeouts"])
	require.Equal(t, "subject", once["ordering"], "what is not sent stays")

	again := patch(`{"rate_limit":null,"max_in_flight":null,"ordering":null,"retry_schedule":null,"timeouts":null}`)
	delete(fresh, "updated_at")
	delete(again, "updated_at")
	require.Equal(t, fresh, again)
}

func TestAReasonGoesWithItsStatus(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	_, err := w.store.ChangeSubscription(context.Background(), id, func(sub *contract.Subscription) error {
		sub.Status, sub.StatusReason = contract.StatusDisabled, "the endpoint answered 410"
		return nil
	})
	require.NoError(t, err)
	path := "/orders/subscribe/" + id
	require.Equal(t, "the endpoint answered 410", w.as(acme, "GET", path, nil).text(t, "status_reason"))
	require.Equal(t, "disabled", w.as(acme, "PATCH", path, map[string]any{"description": "d"}).text(t, "status"))
	require.Equal(t, "the endpoint answered 410", w.as(acme, "GET", path, nil).text(t, "status_reason"))
	active := w.as(acme, "PATCH", path, map[string]any{"status": "active"}).json(t)
	require.Equal(t, "active", active["status"])
	require.NotContains(t, active, "status_reason")
}

func TestAnActiveSubscriptionStartsWithoutFailures(t *testing.T) {
	w := newWorld(t)
	acme, other := w.consumer("acme", "orders"), w.consumer("other", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	failingSince := func() time.Time {
		since, err := w.store.FailingSince(context.Background(), []string{id}, w.clock.Now())
		require.NoError(t, err)
		return since[id]
	}
	first := failingSince()
	w.clock.Advance(time.Hour)
	w.as(other, "PATCH", "/orders/subscribe/"+id, map[string]any{"status": "active"}).problem(t, http.StatusNotFound)
	require.Equal(t, http.StatusOK, w.as(acme, "PATCH", "/orders/subscribe/"+id, map[string]any{"status": "paused"}).status)
	require.Equal(t, first, failingSince())
	require.Equal(t, http.StatusOK, w.as(acme, "PATCH", "/orders/subscribe/"+id, map[string]any{"status": "active"}).status)
	require.WithinDuration(t, w.clock.Now(), failingSince(), time.Second)
}

func TestPatchesRace(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	path := "/orders/subscribe/" + w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	patches := []map[string]any{
		{"description": "d"}, {"status": "paused"}, {"types": []string{"a.*"}}, {"headers": map[string]string{"X-A": "1"}}, {"format": "data"},
	}
	var wg sync.WaitGroup
	for _, patch := range patches {
		wg.Go(func() {
			a, err := w.try("PATCH", w.gateway+"/gateway"+path, patch, contract.HeaderStatement, w.statement(acme, "orders", "subscribe"))
			if err != nil || a.status != http.StatusOK {
				t.Errorf("%v: %d %s", err, a.status, a.body)
			}
		})
	}
	wg.Wait()
	got := w.as(acme, "GET", path, nil).json(t)
	for _, patch := range patches {
		for field, value := range patch {
			require.Equal(t, fmt.Sprint(value), fmt.Sprint(got[field]), "a patch got lost")
		}
	}
}

func TestUnsubscribe(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	first := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook})
	path := "/orders/subscribe/" + first.text(t, "id")
	gone := w.as(acme, "DELETE", path, nil)
	require.Equal(t, http.StatusNoContent, gone.status)
	require.Empty(t, gone.body)
	w.as(acme, "DELETE", path, nil).problem(t, http.StatusNotFound)
	w.as(acme, "PATCH", path, map[string]any{"status": "active"}).problem(t, http.StatusNotFound)
	again := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook})
	require.Equal(t, http.StatusCreated, again.status, "what was ended can be asked for again")
	require.NotEqual(t, first.text(t, "id"), again.text(t, "id"))
}

func TestRotateSecret(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	first := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook})
	id := first.text(t, "id")
	secrets := []string{first.text(t, "secret")}
	signing := func() []string {
		sub, err := w.store.Subscription(context.Background(), id)
		require.NoError(t, err)
		return sub.SigningSecrets(w.clock.Now())
	}
	rotate := func() string {
		a := w.as(acme, "POST", "/orders/subscribe/"+id+"/rotate-secret", nil)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		return a.text(t, "secret")
	}
	secrets = append(secrets, rotate())
	require.Equal(t, []string{secrets[1], secrets[0]}, signing())
	secrets = append(secrets, rotate())
	require.Equal(t, []string{secrets[2], secrets[1]}, signing(), "two at most")
	w.clock.Advance(24*time.Hour - time.Second)
	require.Equal(t, []string{secrets[2], secrets[1]}, signing())
	w.clock.Advance(time.Second)
	require.Equal(t, []string{secrets[2]}, signing())
	require.NotContains(t, string(w.as(acme, "GET", "/orders/subscribe/"+id, nil).body), "whsec_")
}

func TestPaging(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	var ids []string
	subscribe := func(i int) string {
		return w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": fmt.Sprintf("%s/%d", hook, i)}).text(t, "id")
	}
	for i := range 7 { // the clock stands still: ids alone tell them apart
		ids = append(ids, subscribe(i))
	}
	page := func(query string) (got []string, next string) {
		a := w.as(acme, "GET", "/orders/subscribe"+query, nil)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		for _, item := range a.items(t) {
			got = append(got, item["id"].(string))
		}
		next, _ = a.json(t)["next_cursor"].(string)
		return got, next
	}
	all, next := page("")
	require.ElementsMatch(t, ids, all)
	require.Empty(t, next)

	got, next := page("?limit=3")
	require.Len(t, got, 3)
	require.NotEmpty(t, next)
	require.Equal(t, http.StatusNoContent, w.as(acme, "DELETE", "/orders/subscribe/"+got[2], nil).status, "the very one that the cursor names")
	w.clock.Advance(time.Second)
	late := subscribe(100)
	seen := got
	for next != "" {
		got, next = page("?limit=2&cursor=" + next)
		seen = append(seen, got...)
	}
	require.ElementsMatch(t, append(ids, late), seen, "each once, none left out")
	require.Equal(t, late, seen[len(seen)-1])

	for _, query := range []string{"?limit=0", "?limit=101", "?limit=x"} {
		require.Contains(t, w.as(acme, "GET", "/orders/subscribe"+query, nil).problem(t, http.StatusUnprocessableEntity), "query.limit")
	}
	require.Contains(t, w.as(acme, "GET", "/orders/subscribe?cursor=nonsense", nil).problem(t, http.StatusBadRequest), "query.cursor")
}

func TestDeliveries(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	path := "/orders/subscribe/" + id + "/deliveries"
	require.Empty(t, w.as(acme, "GET", path, nil).items(t))

	at := w.clock.Now().UTC().Truncate(time.Millisecond)
	record(t, w.store, contract.Delivery{ID: "dlv_1", Subscription: id, EventID: "e1", EventSource: "/s", EventType: "a.b",
		Status: contract.DeliveryFailed, Reason: "gave up", CreatedAt: at, UpdatedAt: at,
		Attempts: []contract.Attempt{{Number: 1, At: at, Status: 500, Outcome: contract.OutcomeResponse,
			Detail: contract.DetailAnswerCut, Error: "answered 500"}}})
	record(t, w.store, contract.Delivery{ID: "dlv_2", Subscription: id, EventID: "e2", EventSource: "/s", EventType: "a.b",
		Status: contract.DeliverySucceeded, CreatedAt: at.Add(time.Second), UpdatedAt: at.Add(time.Second)})

	items := w.as(acme, "GET", path, nil).items(t)
	require.Len(t, items, 2)
	require.Equal(t, "dlv_2", items[0]["id"], "newest first")
	require.NotContains(t, items[1], "attempts")
	failed := w.as(acme, "GET", path+"?status=failed&limit=1", nil)
	require.Equal(t, "dlv_1", failed.items(t)[0]["id"])
	require.NotContains(t, failed.json(t), "next_cursor")
	first := w.as(acme, "GET", path+"?limit=1", nil)
	second := w.as(acme, "GET", path+"?limit=1&cursor="+first.text(t, "next_cursor"), nil)
	require.Equal(t, "dlv_1", second.items(t)[0]["id"])

	one := w.as(acme, "GET", path+"/dlv_1", nil).json(t)
	require.Equal(t, "failed", one["status"])
	require.Len(t, one["attempts"], 1)
	require.Equal(t, "answer_cut", one["attempts"].([]any)[0].(map[string]any)["detail"])
	w.as(acme, "GET", path+"/dlv_3", nil).problem(t, http.StatusNotFound)
	require.Contains(t, w.as(acme, "GET", path+"?status=lost", nil).problem(t, http.StatusUnprocessableEntity), "query.status")
	require.Contains(t, w.as(acme, "GET", path+"?cursor=x", nil).problem(t, http.StatusBadRequest), "query.cursor")
}

func record(t *testing.T, s *store.Store, d contract.Delivery) {
	t.Helper()
	require.NoError(t, s.Record(context.Background(), []store.Record{{Delivery: d}}))
}
