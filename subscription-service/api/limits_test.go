package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func decode(t *testing.T, raw []byte, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(raw, v), "%s", raw)
}

func testkitRedis(t *testing.T) string { return testkit.Redis(t) }

func (w *world) limit(consumer string, limits any) {
	w.t.Helper()
	a := w.asAdmin("PATCH", "/admin/v1/consumers/"+consumer, map[string]any{"limits": limits})
	require.Equal(w.t, http.StatusOK, a.status, "%s", a.body)
}

// untilLimited calls until a limit refuses.
func untilLimited(t *testing.T, call func() answer) answer {
	t.Helper()
	for range 100 {
		if a := call(); a.status == http.StatusTooManyRequests {
			return a
		}
	}
	t.Fatal("no limit refused a hundred calls")
	return answer{}
}

func TestAConsumerBeyondItsRequestRateIsToldToWait(t *testing.T) {
	w := newWorld(t)
	acme, other := w.consumer("acme", "orders"), w.consumer("other", "orders")
	w.limit(acme, map[string]int{"requests_per_second": 2})
	list := func() answer { return w.as(acme, "GET", "/orders/subscribe", nil) }
	first := list()
	require.Equal(t, http.StatusOK, first.status)
	require.Equal(t, `"requests_per_second";q=2;w=1`, first.header.Get("RateLimit-Policy"))
	require.Equal(t, `"requests_per_second";r=1`, first.header.Get("RateLimit"))
	refused := untilLimited(t, list)
	refused.problem(t, http.StatusTooManyRequests)
	require.Contains(t, string(refused.body), "requests_per_second, which is 2")
	require.Equal(t, "1", refused.header.Get("Retry-After"))
	require.Contains(t, string(w.call("GET", w.admin+"/metrics", nil).body), `webhook_limited_total{limit="requests_per_second"}`)

	untilLimited(t, func() answer { return w.as(acme, "POST", "/orders/subscribe", "{") })
	for _, entry := range w.audit("actor=" + acme) {
		require.NotEqual(t, http.StatusTooManyRequests, entry.Status, "a flood fills no log")
	}
	require.Equal(t, http.StatusOK, w.as(other, "GET", "/orders/subscribe", nil).status, "others have limits of their own")
	require.Equal(t, http.StatusAccepted, w.as(acme, "POST", "/orders/events", oneEvent, "Content-Type", "application/cloudevents+json").status, "events have a limit of their own")
	w.limit(acme, nil)
	require.Equal(t, http.StatusOK, list().status, "what an admin allows holds at once")
}

func TestABatchTakesAsManyTokensAsItHasEvents(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.limit(acme, map[string]int{"events_per_second": 1})
	batch := "[" + strings.TrimSuffix(strings.Repeat(oneEvent+",", contract.MaxBatch), ",") + "]"
	publish := func(body, media string) answer {
		return w.as(acme, "POST", "/orders/events", body, "Content-Type", media)
	}
	require.Equal(t, http.StatusAccepted, publish(batch, "application/cloudevents-batch+json").status, "a full bucket has room for any batch")
	require.Len(t, w.publisher.take(), contract.MaxBatch)
	refused := untilLimited(t, func() answer { return publish(oneEvent, "application/cloudevents+json") })
	require.Contains(t, string(refused.body), "events_per_second, which is 1")
	w.publisher.take()
	w.limit(acme, map[string]int{"events_per_second": 2000})
	refused = untilLimited(t, func() answer { return publish(batch, "application/cloudevents-batch+json") })
	refused.problem(t, http.StatusTooManyRequests)
	require.NotEmpty(t, refused.header.Get("Retry-After"))
	require.Zero(t, len(w.publisher.take())%contract.MaxBatch, "all of a batch or none")
}

func TestMostCallsWithinALimitCostNoRoundTrip(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	_, before := w.store.Traffic()
	for range 100 {
		w.as(acme, "GET", "/orders/subscribe/nothing/nothing", nil).problem(t, http.StatusNotFound)
	}
	_, after := w.store.Traffic()
	require.Less(t, after-before, uint64(100+20), "beside the one that uses up the statement")
	w.clock.Advance(3 * time.Second)
	before = after
	w.as(acme, "GET", "/orders/subscribe/nothing/nothing", nil)
	_, after = w.store.Traffic()
	require.GreaterOrEqual(t, after-before, uint64(1+2), "what was fetched is old, and so are the limits")
}

func TestRefusedCallsCostNoRoundTrip(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.limit(acme, map[string]int{"requests_per_second": 1})
	call := func() answer { return w.as(acme, "GET", "/orders/subscribe/nothing/nothing", nil) }
	untilLimited(t, call)
	_, before := w.store.Traffic()
	for range 50 {
		call().problem(t, http.StatusTooManyRequests)
	}
	_, after := w.store.Traffic()
	require.Less(t, after-before, uint64(50+40), "one each, which uses up the statement; the catalogue asks now and then")
}

func TestAConsumersQuotaOfSubscriptions(t *testing.T) {
	w := newWorldOn(t, testkitRedis(t), func(w *world) { w.limits = contract.Limits{MaxSubscriptions: 1} })
	acme := w.consumer("acme", "orders", "payments")
	subscribe := func(resource string) answer {
		return w.as(acme, "POST", "/"+resource+"/subscribe", map[string]any{"callback_url": hook})
	}
	require.Equal(t, http.StatusCreated, subscribe("orders").status)
	require.Equal(t, http.StatusOK, subscribe("orders").status, "the same is no further one")
	full := subscribe("payments")
	full.problem(t, http.StatusConflict)
	require.Contains(t, string(full.body), "you may have 1 subscriptions in all (limits.max_subscriptions): end one of yours first\"")
	require.Contains(t, string(w.call("GET", w.admin+"/metrics", nil).body), `webhook_limited_total{limit="max_subscriptions"} 1`)
	w.limit(acme, map[string]int{"max_subscriptions": 2})
	require.Equal(t, http.StatusCreated, subscribe("payments").status)
}

func TestLimitsAreShownAndChecked(t *testing.T) {
	w := newWorld(t)
	made := w.asAdmin("POST", "/admin/v1/consumers", `{"name":"acme","limits":{"requests_per_second":50,"events_per_second":1e3}}`)
	require.Equal(t, http.StatusCreated, made.status)
	path := made.header.Get("Location")
	require.Equal(t, map[string]any{"requests_per_second": 50., "events_per_second": 1000.}, w.asAdmin("GET", path, nil).json(t)["limits"])
	require.Contains(t, w.asAdmin("PATCH", path, `{"name":"new"}`).json(t), "limits", "what is not sent stays")
	require.NotContains(t, w.asAdmin("PATCH", path, `{"limits":null}`).json(t), "limits")
	for body, at := range map[string]string{
		`{"limits":{"requests_per_second":0}}`:     "body.limits.requests_per_second",
		`{"limits":{"events_per_second":1.5}}`:     "body.limits.events_per_second",
		`{"limits":{"max_subscriptions":1000001}}`: "body.limits.max_subscriptions",
		`{"limits":{"bytes":1}}`:                   "body.limits.bytes",
		`{"limits":5}`:                             "body.limits",
	} {
		require.Contains(t, w.asAdmin("PATCH", path, body).problem(t, http.StatusUnprocessableEntity), at)
	}
}

func TestLargeBodiesUnderWayAreBounded(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	statement := w.statement(acme, "orders", contract.ActionPublish)
	publish := func(body io.Reader, size int64) (status int) {
		req, err := http.NewRequest(http.MethodPost, w.gateway+"/gateway/orders/events", body)
		if err != nil {
			return 0
		}
		req.ContentLength = size
		req.Header.Set(contract.HeaderStatement, statement)
		resp, err := w.client.Do(req)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		if resp.Header.Get("Retry-After") == "1" {
			return resp.StatusCode
		}
		return 0
	}
	ended := make(chan int, 1000)
	var bodies []*io.PipeWriter
	require.Eventually(t, func() bool {
		from, to := io.Pipe() // says nothing
		bodies = append(bodies, to)
		go func() { ended <- publish(from, contract.MaxEvent) }()
		return len(ended) > 0
	}, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, http.StatusServiceUnavailable, <-ended)
	require.GreaterOrEqual(t, len(bodies), 26, "256 MiB have room for 25 of 10 MiB")
	require.Equal(t, http.StatusAccepted, w.as(acme, "POST", "/orders/events", oneEvent, "Content-Type", "application/cloudevents+json").status, "small ones still pass")
	for _, body := range bodies {
		_ = body.CloseWithError(io.ErrClosedPipe)
	}
	for range bodies[1:] {
		<-ended
	}
	require.Eventually(t, func() bool {
		return publish(strings.NewReader(strings.Repeat("x", 7<<20)), 7<<20) != http.StatusServiceUnavailable
	},
		10*time.Second, 10*time.Millisecond, "who hangs up makes room")
}
