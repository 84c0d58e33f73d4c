package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// replaying is a world with one subscription of acme's.
func replaying(t *testing.T) (w *world, acme, path string) {
	t.Helper()
	w = newWorld(t)
	acme = w.consumer("acme", "orders")
	return w, acme, "/orders/subscribe/" + w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
}

func (w *world) ago(d time.Duration) string {
	return w.clock.Now().Add(-d).UTC().Format(time.RFC3339Nano)
}

// kept is the replay as the workers read it.
func (w *world) kept(path, id string) contract.Replay {
	w.t.Helper()
	return must(w.store.Replay(context.Background(), path[len("/orders/subscribe/"):], id))(w.t)
}

func TestAReplayIsAJobForTheWorkers(t *testing.T) {
	w, acme, path := replaying(t)
	since := w.ago(time.Hour)
	a := w.as(acme, "POST", path+"/replay", map[string]any{"since": since, "status": "failed"})
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	id := a.text(t, "id")
	require.Equal(t, path+"/replay/"+id, a.header.Get("Location"))
	got := a.json(t)
	require.Equal(t, []any{"running", "failed", "orders", 0.0}, []any{got["state"], got["status"], got["resource"], got["sent"]})
	require.Equal(t, got["created_at"], got["until"], "now, unless another time is given")
	require.NotContains(t, got, "next")
	require.Equal(t, got, w.as(acme, "GET", path+"/replay/"+id, nil).json(t))

	sent := w.publisher.take()
	require.Len(t, sent, 1)
	require.Equal(t, []string{"", rabbit.NamesFor("test").Replays, id}, []string{sent[0].Exchange, sent[0].RoutingKey, sent[0].ID})
	var job map[string]string
	require.NoError(t, json.Unmarshal(sent[0].Body, &job))
	require.Equal(t, map[string]string{"replay": id, "subscription": path[len("/orders/subscribe/"):]}, job)

	kept := w.kept(path, id)
	require.WithinDuration(t, w.clock.Now().Add(-time.Hour), kept.Since, time.Millisecond)
	require.False(t, kept.Until.Before(w.clock.Now()))
	require.Equal(t, contract.DeliveryFailed, kept.Status)
}

func TestAReplayHasAnEnd(t *testing.T) {
	w, acme, path := replaying(t)
	a := w.as(acme, "POST", path+"/replay", map[string]any{"since": w.ago(2 * time.Hour), "until": w.ago(time.Hour)})
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	require.WithinDuration(t, w.clock.Now().Add(-time.Hour), w.kept(path, a.text(t, "id")).Until, time.Millisecond)
	require.NotContains(t, a.json(t), "status")
}

func TestTheSameReplayRunsOnce(t *testing.T) {
	w, acme, path := replaying(t)
	since := w.ago(time.Hour)
	ask := func(status string) answer {
		return w.as(acme, "POST", path+"/replay", map[string]any{"since": since, "status": status})
	}
	first := ask("failed")
	require.Equal(t, http.StatusAccepted, first.status, "%s", first.body)
	w.clock.Advance(10 * time.Second) // another "now"
	again := ask("failed")
	require.Equal(t, http.StatusOK, again.status, "%s", again.body)
	require.Equal(t, string(first.body), string(again.body))
	require.Equal(t, first.header.Get("Location"), again.header.Get("Location"))
	require.Len(t, w.publisher.take(), 1)

	require.Equal(t, http.StatusAccepted, ask("succeeded").status, "another question")

	over := w.kept(path, first.text(t, "id"))
	over.State, over.Sent = contract.ReplayDone, 3
	require.NoError(t, w.store.SaveReplay(context.Background(), over))
	done := w.as(acme, "GET", first.header.Get("Location"), nil).json(t)
	require.Equal(t, []any{"done", 3.0}, []any{done["state"], done["sent"]})
	next := ask("failed")
	require.Equal(t, http.StatusAccepted, next.status, "what is over can be asked for again")
	require.NotEqual(t, first.text(t, "id"), next.text(t, "id"))
}

func TestConcurrentEqualReplays(t *testing.T) {
	w, acme, path := replaying(t)
	since := w.ago(time.Hour)
	statuses := make([]int, 10)
	var wg sync.WaitGroup
	for i := range statuses {
		wg.Go(func() {
			a, _ := w.try("POST", w.gateway+"/gateway"+path+"/replay", map[string]any{"since": since}, contract.HeaderStatement, w.statement(acme, "orders", "subscribe"))
			statuses[i] = a.status
		})
	}
	wg.Wait()
	require.ElementsMatch(t, []int{202, 200, 200, 200, 200, 200, 200, 200, 200, 200}, statuses)
	require.Len(t, w.publisher.take(), 1)
}

func TestOneDeliveryAgain(t *testing.T) {
	w, acme, path := replaying(t)
	at := moment(w)
	for id, status := range map[string]contract.DeliveryStatus{"dlv_f": contract.DeliveryFailed, "dlv_s": contract.DeliverySucceeded, "dlv_p": contract.DeliveryPending} {
		record(t, w.store, contract.Delivery{ID: id, Subscription: path[len("/orders/subscribe/"):], EventID: "e1", EventSource: "/s", EventType: "a.b",
			Status: status, CreatedAt: at.Add(-time.Hour), UpdatedAt: at, AttemptCount: 1})
	}
	for _, id := range []string{"dlv_f", "dlv_s"} {
		a := w.as(acme, "POST", path+"/deliveries/"+id+"/replay", nil)
		require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
		require.Equal(t, id, a.text(t, "delivery_id"))
		require.Equal(t, path+"/replay/"+a.text(t, "id"), a.header.Get("Location"))
		require.Len(t, w.publisher.take(), 1)
		kept := w.kept(path, a.text(t, "id"))
		require.Equal(t, at.Add(-time.Hour), kept.Since)
		require.Equal(t, kept.Since, kept.Until)
		require.Empty(t, kept.Status)
		w.clock.Advance(time.Second)
		again := w.as(acme, "POST", path+"/deliveries/"+id+"/replay", nil)
		require.Equal(t, http.StatusOK, again.status)
		require.Equal(t, string(a.body), string(again.body))
	}
	w.as(acme, "POST", path+"/deliveries/dlv_p/replay", nil).problem(t, http.StatusConflict)
	w.as(acme, "POST", path+"/deliveries/dlv_none/replay", nil).problem(t, http.StatusNotFound)
	record(t, w.store, contract.Delivery{ID: "dlv_t", Subscription: path[len("/orders/subscribe/"):], EventID: "e2", EventSource: path, EventType: contract.TestEventType,
		Status: contract.DeliverySucceeded, CreatedAt: at.Add(-time.Hour), UpdatedAt: at, AttemptCount: 1})
	test := w.as(acme, "POST", path+"/deliveries/dlv_t/replay", nil)
	test.problem(t, http.StatusConflict)
	require.Contains(t, string(test.body), "POST "+path+"/test", "it is not kept: another one can be sent")
	require.Empty(t, w.publisher.take())

	w.as(acme, "PATCH", path, map[string]any{"status": "paused"})
	w.as(acme, "POST", path+"/deliveries/dlv_f/replay", nil).problem(t, http.StatusConflict)
	w.as(acme, "POST", path+"/replay", map[string]any{"since": w.ago(time.Hour)}).problem(t, http.StatusConflict)
	require.Empty(t, w.publisher.take())
}

func moment(w *world) time.Time { return w.clock.Now().UTC().Truncate(time.Millisecond) }

func TestWithoutTheBrokerNoReplayRuns(t *testing.T) {
	w, acme, path := replaying(t)
	body := map[string]any{"since": w.ago(time.Hour)}
	w.publisher.fail(rabbit.ErrUnavailable)
	w.as(acme, "POST", path+"/replay", body).problem(t, http.StatusServiceUnavailable)
	w.publisher.fail(nil)
	a := w.as(acme, "POST", path+"/replay", body)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	require.Len(t, w.publisher.take(), 1)
}

func TestAReplayThatNobodyTookUpIsHandedOnAgain(t *testing.T) {
	w, acme, path := replaying(t)
	body := map[string]any{"since": w.ago(time.Hour)}
	ask := func() (id string, jobs int) {
		return w.as(acme, "POST", path+"/replay", body).text(t, "id"), len(w.publisher.take())
	}
	first, jobs := ask()
	require.Equal(t, 1, jobs)
	_, jobs = ask()
	require.Zero(t, jobs)
	w.clock.Advance(time.Minute)
	again, jobs := ask()
	require.Equal(t, 1, jobs, "whoever made it may have died before it was published")
	require.Equal(t, first, again)

	taken := w.kept(path, first)
	taken.UpdatedAt = moment(w)
	require.NoError(t, w.store.SaveReplay(context.Background(), taken))
	w.clock.Advance(time.Hour)
	_, jobs = ask()
	require.Zero(t, jobs)
}

func TestBadReplays(t *testing.T) {
	w, acme, path := replaying(t)
	since := func(d time.Duration, more string) string { return fmt.Sprintf(`{"since":%q%s}`, w.ago(d), more) }
	cases := []struct {
		name, body, location string
		status               int
	}{
		{"no since", `{}`, "body.since", 422},
		{"null since", `{"since":null}`, "body.since", 422},
		{"since no time", `{"since":"yesterday"}`, "body.since", 422},
		{"since a number", `{"since":1700000000}`, "body.since", 422},
		{"since in the future", since(-time.Minute, ""), "body.since", 422},
		{"since too long ago", since(7*24*time.Hour+2*time.Minute, ""), "body.since", 422},
		{"since at the beginning of time", `{"since":"0001-01-01T00:00:00Z"}`, "body.since", 422},
		{"until before since", since(time.Hour, fmt.Sprintf(`,"until":%q`, w.ago(2*time.Hour))), "body.until", 422},
		{"until no time", since(time.Hour, `,"until":"now"`), "body.until", 422},
		{"pending ones", since(time.Hour, `,"status":"pending"`), "body.status", 422},
		{"unknown status", since(time.Hour, `,"status":"lost"`), "body.status", 422},
		{"unknown field", since(time.Hour, `,"types":[]`), "body.types", 422},
		{"no JSON", `{"since":`, "body", 400},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, w.as(acme, "POST", path+"/replay", c.body).problem(t, c.status), c.location)
		})
	}
	require.Empty(t, w.publisher.take())
	w.as(acme, "GET", path+"/replay/rpl_none", nil).problem(t, http.StatusNotFound)

	whole := w.as(acme, "POST", path+"/replay", since(7*24*time.Hour, `,"until":null`))
	require.Equal(t, http.StatusAccepted, whole.status, "%s", whole.body)
	other := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": "https://two.example/"}).text(t, "id")
	w.as(acme, "GET", "/orders/subscribe/"+other+"/replay/"+whole.text(t, "id"), nil).problem(t, http.StatusNotFound)
}
