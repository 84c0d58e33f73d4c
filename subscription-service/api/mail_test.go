package api_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// puller is a consumer with a subscription that pulls.
type puller struct {
	*world
	consumer, id, path, secret string
}

func newPuller(t *testing.T) *puller {
	t.Helper()
	w := newWorld(t)
	p := &puller{world: w, consumer: w.consumer("acme", "orders")}
	a := w.as(p.consumer, "POST", "/orders/subscribe", map[string]any{"mode": "pull", "format": "data"})
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	p.id, p.secret = a.text(t, "id"), a.text(t, "secret")
	p.path = "/orders/subscribe/" + p.id + "/stream"
	return p
}

// put delivers, as the callback service does.
func (p *puller) put(bodies ...string) {
	p.t.Helper()
	for _, body := range bodies {
		e := event.New()
		e.SetID(contract.NewID("evt"))
		e.SetSource("/shop")
		e.SetType("order.created")
		e.SetDataContentType("text/plain")
		e.DataEncoded = []byte(body)
		l := contract.Letter{Command: contract.NewCommand(&e, p.id, "orders", time.Now()), Header: map[string]string{"content-type": "text/plain"}, Body: []byte(body)}
		became, err := p.store.Deposit(p.t.Context(), []store.Deposit{{Letter: l, Subscription: p.id, Resource: "orders"}})
		require.NoError(p.t, err)
		require.Equal(p.t, []store.Deposited{store.LetterThere}, became)
	}
}

type collected struct {
	id, data string
	headers  map[string]string
}

// stream opens one; next reads an event of it.
func (p *puller) stream(query string, headers ...string) (next func() collected, end func()) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.gateway+"/gateway"+p.path+query, nil)
	require.NoError(p.t, err)
	req.Header.Set(contract.HeaderStatement, p.statement(p.consumer, "orders", "subscribe"))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := p.client.Do(req)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, res.StatusCode)
	require.Equal(p.t, "text/event-stream", res.Header.Get("Content-Type"))
	end = func() { cancel(); _ = res.Body.Close() }
	p.t.Cleanup(end)
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 4<<20)
	return func() (c collected) {
		p.t.Helper()
		var data []string
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case lines.Text() == "" && data != nil:
				c.data = strings.Join(data, "\n")
				return c
			case name == "id":
				c.id = value
			case name == "data":
				data = append(data, value)
			case name == "headers":
				require.NoError(p.t, json.Unmarshal([]byte(value), &c.headers))
			}
		}
		require.Fail(p.t, "the stream ended", "%v", lines.Err())
		return c
	}, end
}

func (p *puller) ack(body any) map[string]any {
	p.t.Helper()
	a := p.as(p.consumer, "POST", p.path+"/ack", body)
	require.Equal(p.t, http.StatusOK, a.status, "%s", a.body)
	return a.json(p.t)
}

func (p *puller) poll(query string, headers ...string) answer {
	p.t.Helper()
	return p.as(p.consumer, "GET", p.path+query, nil, append([]string{"Accept", "application/json"}, headers...)...)
}

func (p *puller) verifies(headers map[string]string, body string) {
	p.t.Helper()
	webhook, err := standardwebhooks.NewWebhook(p.secret)
	require.NoError(p.t, err)
	h := http.Header{}
	for name, value := range headers {
		h.Set(name, value)
	}
	require.NoError(p.t, webhook.VerifyIgnoringTimestamp([]byte(body), h))
}

func TestDeliveriesAreCollectedAsTheyComeAndAgainUntilAcknowledged(t *testing.T) {
	p := newPuller(t)
	p.put("one", "two\nlines")
	next, end := p.stream("")
	first, second := next(), next()
	require.Equal(t, []string{"one", "two\nlines"}, []string{first.data, second.data})
	p.verifies(first.headers, "one")
	require.Equal(t, "text/plain", first.headers["content-type"])
	p.put("three")
	third := next()
	require.Equal(t, "three", third.data)
	end()

	next, end = p.stream("", "Last-Event-ID", second.id)
	require.Equal(t, "three", next().data, "it goes on")
	end()
	next, end = p.stream("?last_event_id=" + first.id)
	require.Equal(t, "two\nlines", next().data)
	end()
	next, end = p.stream("")
	require.Equal(t, first.id, next().id, "what was not acknowledged comes again, all of it")
	end()

	require.Equal(t, map[string]any{"acknowledged": 1.0, "waiting": 2.0}, p.ack(map[string]any{"ids": []string{second.id}}))
	require.Equal(t, map[string]any{"acknowledged": 0.0, "waiting": 2.0}, p.ack(map[string]any{"ids": []string{second.id}}), "as often as you like")
	next, end = p.stream("?ack=auto", "Last-Event-ID", first.id)
	require.Equal(t, "three", next().data)
	end()
	require.Equal(t, map[string]any{"acknowledged": 1.0, "waiting": 0.0}, p.ack(map[string]any{"id": third.id}))
	d := p.as(p.consumer, "GET", "/orders/subscribe/"+p.id+"/deliveries", nil).items(t)
	require.Len(t, d, 3)
	for _, one := range d {
		require.Equal(t, "succeeded", one["status"])
	}
	one := p.as(p.consumer, "GET", "/orders/subscribe/"+p.id+"/deliveries/"+first.headers["webhook-id"], nil).json(t)
	attempt := one["attempts"].([]any)[0].(map[string]any)
	require.Equal(t, "collected", attempt["outcome"])
	require.Contains(t, attempt["timings"], "queued_ms", "it is in the log of attempts, which live pages follow")
}

func TestABodyThatIsNoTextComesInBase64(t *testing.T) {
	p := newPuller(t)
	bodies := []string{"a\xff", "a\r\nb", ""}
	p.put(bodies...)
	next, _ := p.stream("")
	for _, want := range bodies {
		got := next()
		if want != "" {
			require.Equal(t, "base64", got.headers["content-transfer-encoding"])
			raw, err := base64.StdEncoding.DecodeString(got.data)
			require.NoError(t, err)
			got.data = string(raw)
		}
		require.Equal(t, want, got.data)
		p.verifies(got.headers, want)
	}
	items := p.poll("?limit=2").items(t)
	require.Len(t, items, 2)
	require.Equal(t, base64.StdEncoding.EncodeToString([]byte("a\xff")), items[0]["body_base64"])
	require.Equal(t, "a\r\nb", items[1]["body"])
}

func TestALongPollAnswersAsSoonAsThereIsADelivery(t *testing.T) {
	p := newPuller(t)
	require.Empty(t, p.poll("").items(t), "without a wait at once")
	got := make(chan answer, 1)
	go func() { got <- p.poll("?wait=20s") }()
	require.Eventually(t, func() bool { return strings.Contains(metricsOf(p), "webhook_streams_open 1") }, 10*time.Second, 5*time.Millisecond)
	p.put("one")
	a := <-got
	items := a.items(t)
	require.Len(t, items, 1)
	require.Equal(t, a.text(t, "last_id"), items[0]["id"])
	p.verifies(map[string]string{
		"webhook-id": fmt.Sprint(items[0]["headers"].(map[string]any)["webhook-id"]), "webhook-timestamp": fmt.Sprint(items[0]["headers"].(map[string]any)["webhook-timestamp"]),
		"webhook-signature": fmt.Sprint(items[0]["headers"].(map[string]any)["webhook-signature"]),
	}, "one")
	require.Len(t, p.poll("?wait=1s").items(t), 1, "it is not acknowledged")
	require.Empty(t, p.poll("?ack="+a.text(t, "last_id")).items(t))
}

func metricsOf(p *puller) string { return string(p.call("GET", p.admin+"/metrics", nil).body) }

func TestWhatCollectingRefuses(t *testing.T) {
	p := newPuller(t)
	p.put("one")
	last := p.poll("").text(t, "last_id")
	require.Contains(t, p.poll("?wait=31s").problem(t, 422), "query.wait")
	require.Contains(t, p.poll("?ack=x").problem(t, 422), "query.ack")
	require.Contains(t, p.poll("", "Last-Event-ID", "-1").problem(t, 422), "header.Last-Event-ID")
	ack := func(body any) answer { return p.as(p.consumer, "POST", p.path+"/ack", body) }
	require.Contains(t, ack(map[string]any{}).problem(t, 422), "body.id")
	require.Contains(t, ack(map[string]any{"id": last, "ids": []string{last}}).problem(t, 422), "body.id")
	require.Contains(t, ack(map[string]any{"id": last + "0"}).problem(t, 422), "body.id")
	require.Contains(t, ack(map[string]any{"ids": []string{last, "x"}}).problem(t, 422), "body.ids[1]")
	require.Len(t, p.poll("").items(t), 1, "nothing was acknowledged")

	other := p.world.consumer("other", "orders")
	p.as(other, "GET", p.path, nil).problem(t, 404)
	p.as(other, "POST", p.path+"/ack", map[string]any{"id": last}).problem(t, 404)
	push := p.as(p.consumer, "POST", "/orders/subscribe", map[string]any{"callback_url": "https://10.1.2.3/hook"})
	a := p.as(p.consumer, "GET", "/orders/subscribe/"+push.text(t, "id")+"/stream", nil)
	a.problem(t, 409)
	require.Contains(t, string(a.body), `pull`)
	p.as(p.consumer, "POST", "/orders/subscribe/"+push.text(t, "id")+"/stream/ack", map[string]any{"id": "1"}).problem(t, 409)
	require.Equal(t, 200, p.as(p.consumer, "PATCH", "/orders/subscribe/"+p.id, map[string]any{"status": "paused"}).status)
	p.poll("").problem(t, 409)
}

func TestAStreamEndsWithItsSubscription(t *testing.T) {
	p := newPuller(t)
	p.put("one")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.gateway+"/gateway"+p.path, nil)
	require.NoError(t, err)
	req.Header.Set(contract.HeaderStatement, p.statement(p.consumer, "orders", "subscribe"))
	res, err := p.client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() && lines.Text() != "data: one" {
	}
	require.Equal(t, 204, p.as(p.consumer, "DELETE", "/orders/subscribe/"+p.id, nil).status)
	for lines.Scan() {
	}
	require.NoError(t, lines.Err(), "in good order, and long before the test's end")
}

func TestASubscriptionThatPullsHasNothingAboutCallbacks(t *testing.T) {
	p := newPuller(t)
	own := p.as(p.consumer, "GET", "/orders/subscribe/"+p.id, nil).json(t)
	require.Equal(t, "pull", own["mode"])
	require.NotContains(t, own, "callback_url")
	require.NotContains(t, own, "max_in_flight")
	again := p.as(p.consumer, "POST", "/orders/subscribe", map[string]any{"mode": "pull", "format": "data"})
	require.Equal(t, 200, again.status)
	require.Equal(t, p.id, again.text(t, "id"))
	at := p.as(p.consumer, "POST", "/orders/subscribe", map[string]any{
		"mode": "pull", "callback_url": "https://10.1.2.3/h", "auth": map[string]any{"type": "bearer", "token": "t"}, "headers": map[string]any{"X-A": "b"}, "rate_limit": 5,
		"max_in_flight": 3, "retry_schedule": []string{"5s"}, "timeouts": map[string]any{"total": "5s"},
	}).problem(t, 422)
	for _, field := range []string{"callback_url", "auth", "headers", "rate_limit", "max_in_flight", "retry_schedule", "timeouts"} {
		require.Contains(t, at["body."+field], "mode pull", field)
	}
	require.Contains(t, p.as(p.consumer, "POST", "/orders/subscribe", map[string]any{}).problem(t, 422)["body.callback_url"], "pull")
	require.Contains(t, p.as(p.consumer, "PATCH", "/orders/subscribe/"+p.id, map[string]any{"mode": "push"}).problem(t, 422)["body.mode"], "can't be changed")
	require.Contains(t, p.as(p.consumer, "PATCH", "/orders/subscribe/"+p.id, map[string]any{"rate_limit": 5}).problem(t, 422)["body.rate_limit"], "mode pull")
	require.Equal(t, 200, p.as(p.consumer, "PATCH", "/orders/subscribe/"+p.id, map[string]any{"types": []string{"order.*"}, "status": "active"}).status)
	push := p.as(p.consumer, "POST", "/orders/subscribe", map[string]any{"mode": "push", "callback_url": "https://10.1.2.3/h"})
	require.Equal(t, 201, push.status, "%s", push.body)
	require.NotContains(t, push.json(t), "mode")
	same := p.as(p.consumer, "POST", "/orders/subscribe", map[string]any{"callback_url": "https://10.1.2.3/h"})
	require.Equal(t, 200, same.status, "push is what there is unless it is said")
}

func TestNobodyIsAskedForConsentWhereNobodyIsCalled(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	require.Equal(t, 200, w.asAdmin("PUT", "/admin/v1/resources/orders", map[string]any{"policy": map[string]any{"verification": "handshake", "callback_hosts": []string{"a.example"}}}).status)
	a := w.as(acme, "POST", "/orders/subscribe", map[string]any{"mode": "pull"})
	require.Equal(t, 201, a.status, "%s", a.body)
	require.Equal(t, "active", a.text(t, "status"))
}

func TestAPreviewShowsWhatWouldBeCollected(t *testing.T) {
	p := newPuller(t)
	a := p.as(p.consumer, "POST", "/orders/subscribe/preview", map[string]any{"id": p.id, "event": map[string]any{
		"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created", "data": map[string]any{"total": 1},
	}})
	require.Equal(t, 200, a.status, "%s", a.body)
	request := a.json(t)["request"].(map[string]any)
	require.Equal(t, p.path, request["url"])
	require.JSONEq(t, `{"total":1}`, request["body"].(string))
	require.NotEmpty(t, request["headers"].(map[string]any)["webhook-signature"])
}

func TestAMailboxPolicyIsChecked(t *testing.T) {
	w := newWorld(t)
	put := func(mailbox map[string]any) answer {
		return w.asAdmin("PUT", "/admin/v1/resources/orders", map[string]any{"policy": map[string]any{"mailbox": mailbox}})
	}
	require.Contains(t, put(map[string]any{"max_age": "169h"}).problem(t, 422), "body.policy.mailbox.max_age")
	require.Contains(t, put(map[string]any{"max_age": "0s"}).problem(t, 422), "body.policy.mailbox.max_age")
	require.Contains(t, put(map[string]any{"max_bytes": 1}).problem(t, 422), "body.policy.mailbox.max_bytes")
	require.Less(t, put(map[string]any{"max_bytes": 1 << 20, "max_age": "24h"}).status, 300)
}
