package portal_test

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const types = `{"types":[{"name":"order.created","description":"Somebody ordered.","schema":{"type":"object","required":["total"],
	"properties":{"total":{"type":"number","minimum":10},"note":{"type":"string"}}}},{"name":"order.paid"}]}`

// scene is a consumer who is signed in, with a resource that has types.
type scene struct {
	*world
	*browser

	consumer string
}

func setScene(t *testing.T) *scene {
	t.Helper()
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	require.Equal(t, http.StatusOK, w.asAdmin("PUT", "/admin/v1/resources/orders", types).status)
	return &scene{w, w.signedIn(acme), acme}
}

// open opens a page of the portal.
func (s *scene) open(path string) answer { s.browser.t.Helper(); return s.get(s.gateway.URL + path) }

// subscribe makes a subscription by the API.
func (s *scene) subscribe(body string) string {
	s.browser.t.Helper()
	a := s.asConsumer(s.consumer, "POST", "/orders/subscribe", body)
	require.Equal(s.browser.t, http.StatusCreated, a.status, a.body)
	return a.field("id")
}

const hook = `{"callback_url":"http://127.0.0.1:9000/hook","types":["order.created"]}`

// deliver keeps a delivery with an attempt.
func (s *scene) deliver(sub, id string, status contract.DeliveryStatus) contract.Delivery {
	s.browser.t.Helper()
	d := delivery(sub, id, status)
	s.record(d)
	return d
}

// delivery is one with an attempt that failed.
func delivery(sub, id string, status contract.DeliveryStatus) contract.Delivery {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return contract.Delivery{ID: "dlv_" + id, Subscription: sub, EventID: "event-" + id, EventSource: "/shop", EventType: "order.created", Status: status,
		CreatedAt: now, UpdatedAt: now, AttemptCount: 1,
		Attempts: []contract.Attempt{{Number: 1, At: now, DurationMS: 12, Status: 500, Outcome: contract.OutcomeResponse, Error: "it answered 500"}}}
}

func (s *scene) record(d contract.Delivery) {
	s.browser.t.Helper()
	require.NoError(s.browser.t, s.store.Record(s.browser.t.Context(), []store.Record{{Delivery: d}}))
}

func TestASubscriptionIsMadeAndItsSecretIsShownOnce(t *testing.T) {
	s := setScene(t)
	page := s.open("/portal/resources/orders/new")
	require.Contains(t, page.body, `value="order.created"`)
	require.Contains(t, page.body, "Somebody ordered.")
	made := s.post(page, "/portal/resources/orders/new", url.Values{
		"callback_url": {"http://127.0.0.1:9000/hook"}, "type": {"order.created"}, "patterns": {"order.paid, order.x.**"}, "filter": {"data.total > 100.0"},
		"format": {"data"}, "transform": {`{"id": data.total}`}, "headers": {"X-Team: billing\r\nX-Other: a: b"}, "auth_type": {"bearer"}, "auth_token": {"t0p-s3cret"},
		"rate_limit": {"2.5"}, "max_in_flight": {"3"}, "ordering": {"subject"}, "retry_schedule": {"5s, 1m"}, "connect": {"2s"}, "signature": {"v1", "v1a"}, "description": {"Billing <b>"},
	})
	require.Equal(t, http.StatusOK, made.status, made.body)
	require.Contains(t, made.body, "whsec_")
	require.NotContains(t, made.body, "t0p-s3cret")

	list := s.asConsumer(s.consumer, "GET", "/orders/subscribe", "")
	var got struct{ Items []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(list.body), &got))
	require.Len(t, got.Items, 1)
	for name, want := range map[string]any{
		"callback_url": "http://127.0.0.1:9000/hook", "types": []any{"order.created", "order.paid", "order.x.**"}, "filter": "data.total > 100.0", "format": "data",
		"transform": `{"id": data.total}`, "headers": map[string]any{"X-Team": "billing", "X-Other": "a: b"}, "auth": map[string]any{"type": "bearer"}, "rate_limit": 2.5,
		"max_in_flight": 3.0, "ordering": "subject", "retry_schedule": []any{"5s", "1m"}, "timeouts": map[string]any{"connect": "2s"}, "description": "Billing <b>",
		"signatures": []any{"v1", "v1a"},
	} {
		require.Equal(t, want, got.Items[0][name], name)
	}
	path := "/portal/resources/orders/subscriptions/" + got.Items[0]["id"].(string)
	shown := s.open(path)
	require.Contains(t, shown.body, "Billing &lt;b&gt;")
	require.NotContains(t, shown.body, "whsec_")
	require.Contains(t, s.open("/portal/resources/orders/").body, path)
}

func TestWhatIsRefusedIsToldAtItsFieldAndWhatWasTypedStays(t *testing.T) {
	s := setScene(t)
	page := s.open("/portal/resources/orders/new")
	a := s.post(page, "/portal/resources/orders/new", url.Values{
		"callback_url": {"ftp://x"}, "patterns": {"order..x"}, "filter": {"data.nothing > 1"}, "rate_limit": {"0.01"}, "headers": {"Webhook-Id: 1"}, "type": {"order.paid"},
		"auth_type": {"basic"}, "auth_password": {"t0p-s3cret"}, "retry_schedule": {"soon"}, "description": {"mine"}, "signature": {"v1"}, "format": {"data"},
	})
	require.Equal(t, http.StatusUnprocessableEntity, a.status)
	for _, field := range []string{"callback_url", "patterns", "rate_limit", "headers", "retry_schedule"} {
		require.Regexp(t, `name="`+field+`"[^>]* aria-invalid="true" aria-describedby="`+field+`-fault`, a.body, field)
		require.Contains(t, a.body, `class="fault" id="`+field+`-fault"`, field)
	}
	for _, typed := range []string{`value="ftp://x"`, `value="order..x"`, `data.nothing &gt; 1</textarea>`, `value="0.01"`, `Webhook-Id: 1</textarea>`, `value="mine"`,
		`value="order.paid" checked`, `value="basic" selected`, `value="data" selected`} {
		require.Contains(t, a.body, typed)
	}
	require.NotContains(t, a.body, "t0p-s3cret", "a secret is typed again")

	a = s.post(page, "/portal/resources/orders/new", url.Values{"callback_url": {"http://127.0.0.1:9000/hook"}, "rate_limit": {"many"}})
	require.Contains(t, a.body, `id="rate_limit-fault"`)
	a = s.post(page, "/portal/resources/orders/new", url.Values{"callback_url": {"http://127.0.0.1:9000/hook"}, "headers": {"no colon here"}})
	require.Equal(t, http.StatusUnprocessableEntity, a.status)
	require.Contains(t, a.body, "line 1 has no colon")
	require.NotContains(t, s.asConsumer(s.consumer, "GET", "/orders/subscribe", "").body, "callback_url")
}

func TestTheSameSubscriptionAgainIsTheOneThatIsThere(t *testing.T) {
	s := setScene(t)
	fields := func() url.Values {
		return url.Values{"callback_url": {"http://127.0.0.1:9000/hook"}, "format": {"cloudevents-structured"}, "signature": {"v1"}}
	}
	page := s.open("/portal/resources/orders/new")
	require.Contains(t, s.post(page, "/portal/resources/orders/new", fields()).body, "whsec_")
	again := s.post(page, "/portal/resources/orders/new", fields())
	require.Contains(t, again.body, "You had this very subscription already")
	require.NotContains(t, again.body, "whsec_")
}

func TestAFilterIsCheckedOnASampleOrOnWhatIsPasted(t *testing.T) {
	s := setScene(t)
	page := s.open("/portal/resources/orders/new")
	check := func(live bool, fields url.Values) string {
		fields.Set("csrf", page.csrf())
		headers := []string{"Content-Type", form, "Sec-Fetch-Site", "same-origin"}
		if live {
			fields.Del("csrf")
			headers = append(headers, "X-Csrf-Token", page.csrf(), "HX-Request", "true")
		}
		a := s.do("POST", s.gateway.URL+"/portal/resources/orders/check", fields.Encode(), headers...)
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Equal(t, !live, strings.Contains(a.body, "<html"))
		return a.body
	}
	wanted := check(true, url.Values{"type": {"order.created"}, "filter": {"data.total > 5.0"}})
	require.Contains(t, wanted, "gets this event")
	require.Contains(t, wanted, "&#34;total&#34;: 10", "the sample keeps to the schema")
	require.Contains(t, check(true, url.Values{"filter": {"data.total > 100.0"}}), "does not get this event")
	require.Contains(t, check(true, url.Values{"filter": {"data.total > 5.0"}, "event": {`{"specversion":"1.0","id":"1","source":"/x","type":"order.paid","data":{"total":7}}`}}), "gets this event")
	require.Contains(t, check(true, url.Values{"filter": {"data.nothing > 1.0"}, "type": {"order.created"}}), "filter by the schema of order.created")
	require.Contains(t, check(true, url.Values{"filter": {"(("}}), "filter")
	require.Contains(t, check(true, url.Values{"event": {"{"}}), "no JSON")
	whole := check(false, url.Values{"filter": {"data.total > 5.0"}, "callback_url": {"https://typed.example/"}})
	require.Contains(t, whole, `value="https://typed.example/"`)
	require.Contains(t, whole, "gets this event")
	require.Contains(t, check(false, url.Values{"do": {"sample"}, "sample_type": {"order.paid"}, "event": {"old"}}), "&#34;type&#34;: &#34;order.paid&#34;")
	require.NotContains(t, s.asConsumer(s.consumer, "GET", "/orders/subscribe", "").body, "callback_url", "a check makes nothing")
}

func TestASubscriptionIsChangedPausedTestedAndDeleted(t *testing.T) {
	s := setScene(t)
	id := s.subscribe(`{"callback_url":"http://127.0.0.1:9000/hook","types":["order.created","x.*"],"headers":{"X-A":"1"},"auth":{"type":"bearer","token":"t0p-s3cret"},"rate_limit":5}`)
	path := "/portal/resources/orders/subscriptions/" + id
	current := func() map[string]any {
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(s.asConsumer(s.consumer, "GET", "/orders/subscribe/"+id, "").body), &got))
		return got
	}
	edit := s.open(path + "/edit")
	require.Contains(t, edit.body, `value="order.created" checked`)
	require.Contains(t, edit.body, `name="patterns" type="text" value="x.*"`)
	same := url.Values{"callback_url": {"http://127.0.0.1:9000/hook"}, "type": {"order.created"}, "patterns": {"x.*"}, "headers": {"X-A: 1"}, "auth_type": {"keep"}, "rate_limit": {"5"},
		"max_in_flight": {"10"}, "ordering": {"none"}, "format": {"cloudevents-structured"}, "signature": {"v1"}}
	before := current()
	require.Contains(t, s.post(edit, path+"/edit", same).body, "Nothing was different")
	require.Equal(t, before, current())

	same.Set("filter", "data.total > 1.0")
	same.Del("rate_limit")
	same.Del("headers")
	same.Del("patterns")
	require.Contains(t, s.post(edit, path+"/edit", same).body, "The subscription is changed.")
	now := current()
	require.Equal(t, "data.total > 1.0", now["filter"])
	require.Equal(t, []any{"order.created"}, now["types"])
	require.NotContains(t, now, "rate_limit")
	require.NotContains(t, now, "headers")
	require.Equal(t, map[string]any{"type": "bearer"}, now["auth"], "it was kept")
	same.Set("auth_type", "none")
	s.post(edit, path+"/edit", same)
	require.NotContains(t, current(), "auth")
	same.Set("filter", "((")
	refused := s.post(edit, path+"/edit", same)
	require.Equal(t, http.StatusUnprocessableEntity, refused.status)
	require.Contains(t, refused.body, `id="filter-fault"`)

	page := s.open(path)
	require.Contains(t, s.post(page, path+"/pause", nil).body, ">paused<")
	require.Equal(t, http.StatusConflict, s.post(page, path+"/test", nil).status)
	require.Contains(t, s.post(page, path+"/resume", nil).body, ">active<")
	s.publisher.then = func(m rabbit.Message) {
		c, err := contract.DecodeCommand(m.ContentType, m.Headers, m.Body)
		require.NoError(t, err)
		s.record(contract.Delivery{ID: c.Delivery, Subscription: id, EventType: c.Event.Type(), CreatedAt: time.Now(), Status: contract.DeliveryPending})
	}
	tested := s.post(page, path+"/test", nil)
	require.Contains(t, tested.body, "The test event was sent")
	require.Contains(t, tested.body, "Delivery of <code>webhook.test</code>")
	require.Contains(t, tested.body, `hx-select="#delivery"`, "it is looked at again while it is pending")
	s.publisher.then = nil
	require.Equal(t, 1, s.publisher.count())
	require.Equal(t, http.StatusConflict, s.post(page, path+"/verify", nil).status)

	require.Contains(t, s.open(path+"/delete").body, "Delete this subscription?")
	require.Equal(t, "active", current()["status"], "it was only asked")
	require.Contains(t, s.post(page, path+"/delete", nil).body, "The subscription is deleted.")
	require.Equal(t, http.StatusNotFound, s.do("GET", s.gateway.URL+path, "").status)
}

func TestANewSecretIsMadeOnceForOnePage(t *testing.T) {
	s := setScene(t)
	path := "/portal/resources/orders/subscriptions/" + s.subscribe(hook)
	page := s.open(path)
	_, rest, _ := strings.Cut(page.body, `name="updated_at" value="`)
	at, _, _ := strings.Cut(rest, `"`)
	s.clock.Advance(time.Second)
	require.Contains(t, s.post(page, path+"/rotate", url.Values{"updated_at": {at}}).body, "whsec_")
	again := s.post(page, path+"/rotate", url.Values{"updated_at": {at}})
	require.Equal(t, http.StatusConflict, again.status, "a page that is sent again")
	require.NotContains(t, again.body, "whsec_")
}

func TestDeliveriesAreFoundAndShownWithTheirAttempts(t *testing.T) {
	s := setScene(t)
	id := s.subscribe(hook)
	path := "/portal/resources/orders/subscriptions/" + id
	failed := s.deliver(id, "aaaa", contract.DeliveryFailed)
	s.deliver(id, "bbbb", contract.DeliverySucceeded)
	all := s.open(path + "/deliveries").body
	require.Contains(t, all, "event-aaaa")
	require.Contains(t, all, "event-bbbb")
	require.Contains(t, all, "data-live")
	one := s.open(path + "/deliveries?status=failed").body
	require.Contains(t, one, "event-aaaa")
	require.NotContains(t, one, "event-bbbb")
	require.NotContains(t, one, "data-live", "what is new may not be what was asked for")
	require.Contains(t, s.open(path).body, "event-aaaa", "the newest are on the subscription's page")

	for query, found := range map[string]bool{
		"type=order.created": true, "type=order.paid": false, "event_id=event-aaaa": true, "event_id=event-bbbb": false,
		"since=2020-01-01T00:00": true, "since=2999-01-01": false, "until=2020-01-01T00:00": false,
	} {
		require.Equal(t, found, strings.Contains(s.open(path+"/deliveries?"+query).body, failed.ID), query)
	}

	page := s.open(path + "/deliveries/" + failed.ID)
	require.Contains(t, page.body, "Attempt 1 was answered with 500")
	require.Contains(t, page.body, "it answered 500")
	began := s.post(page, path+"/deliveries/"+failed.ID+"/replay", nil)
	require.Contains(t, began.body, "Sending one delivery again")
	require.Contains(t, began.body, "hx-get", "it is followed")
	require.Equal(t, 1, s.publisher.count())
}

func TestAnAttemptIsShownWithItsRequestItsAnswerAndItsTimes(t *testing.T) {
	s := setScene(t)
	id := s.subscribe(hook)
	d := delivery(id, "aaaa", contract.DeliveryFailed)
	a := &d.Attempts[0]
	a.Outcome, a.Status, a.Detail, a.NextAttempt, a.TraceID = contract.OutcomeTLS, 0, contract.DetailCertificateExpired, a.At.Add(time.Minute), "0af7651916cd43dd8448eb211c80319c"
	a.Request = &contract.AttemptRequest{Method: "POST", URL: "https://consumer.example/hooks", Headers: []contract.Header{{Name: "Authorization", Value: "Bearer " + contract.Hidden},
		{Name: "Content-Type", Value: "application/json"}}, Body: `{"it's":1}`, BodyBytes: 10}
	a.Response = &contract.AttemptResponse{Status: 500, Headers: []contract.Header{{Name: "Server", Value: "theirs"}}, Body: "sorry", BodyCut: true}
	a.Timings = &contract.Timings{QueuedMS: 1, DNSMS: 2.5, ConnectMS: 3, TLSMS: 4, FirstByteMS: 5, TotalMS: 15}
	s.record(d)
	require.NoError(t, s.store.LogAttempts(t.Context(), []store.AttemptLog{{Delivery: d, Policy: contract.LogPolicy{MaxAge: contract.Duration(time.Hour), MaxBytes: 1 << 20, BodyExcerpt: new(1024)}}}))
	page := html.UnescapeString(s.open("/portal/resources/orders/subscriptions/" + id + "/deliveries/" + d.ID).body)
	for _, part := range []string{
		"failed in the TLS handshake (the endpoint's certificate has expired, or is not valid yet)", "0af7651916cd43dd8448eb211c80319c", "The next attempt was put to",
		"POST https://consumer.example/hooks\nAuthorization: Bearer (hidden)", `"it's": 1`, "Server: theirs", "sorry", "… cut", "2.5 ms", "15 ms",
		`-H 'Authorization: Bearer '"$TOKEN"`, `--data-raw '{"it'\''s":1}'`, `<rect class="tls"`,
	} {
		require.Contains(t, page, part)
	}
}

func TestDeliveriesAreSentAgainAndFollowed(t *testing.T) {
	s := setScene(t)
	path := "/portal/resources/orders/subscriptions/" + s.subscribe(hook)
	page := s.open(path + "/replay")
	since := time.Now().UTC().Add(-time.Hour).Format("2006-01-02T15:04")
	began := s.post(page, path+"/replay", url.Values{"since": {since}, "status": {"failed"}})
	require.Equal(t, http.StatusOK, began.status, began.body)
	require.Contains(t, began.body, `>running<`)
	part := s.do("GET", began.url.String(), "", "HX-Request", "true")
	require.True(t, strings.HasPrefix(strings.TrimSpace(part.body), `<div id="progress"`), part.body)

	refused := s.post(page, path+"/replay", url.Values{"since": {"2020-01-01T00:00"}, "status": {"succeeded"}})
	require.Equal(t, http.StatusUnprocessableEntity, refused.status)
	require.Contains(t, refused.body, "more than seven days ago")
	require.Contains(t, refused.body, `value="succeeded" selected`)
}

func TestWhyAnEventDidNotArriveIsExplained(t *testing.T) {
	s := setScene(t)
	id := s.subscribe(hook)
	path := "/portal/resources/orders/subscriptions/" + id
	require.Contains(t, s.open(path+"/explain").body, "Event id")
	d := s.deliver(id, "aaaa", contract.DeliveryFailed)
	require.Contains(t, s.open(path+"/explain?event=nothing&source=/shop").body, "No such event")
	require.Contains(t, s.open(path+"/explain?event="+d.EventID).body, `value="event-aaaa"`)
}

func TestAnotherConsumersSubscriptionIsNotThere(t *testing.T) {
	s := setScene(t)
	id := s.subscribe(hook)
	other := s.signedIn(s.world.consumer("other", "orders"))
	require.Equal(t, http.StatusOK, s.asAdmin("PUT", "/admin/v1/resources/orders", types).status)
	path := "/portal/resources/orders/subscriptions/" + id
	for _, below := range []string{"", "/edit", "/delete", "/deliveries", "/deliveries/dlv_x", "/explain", "/replay", "/replay/rpl_x"} {
		require.Equal(t, http.StatusNotFound, other.do("GET", s.gateway.URL+path+below, "").status, below)
	}
	page := other.get(s.gateway.URL + "/portal/resources/orders/")
	for _, below := range []string{"/edit", "/pause", "/resume", "/verify", "/test", "/rotate", "/delete", "/replay", "/deliveries/dlv_x/replay"} {
		require.Equal(t, http.StatusNotFound, other.post(page, path+below, nil).status, below)
	}
	require.Equal(t, "active", s.asConsumer(s.consumer, "GET", "/orders/subscribe/"+id, "").field("status"))
}

func TestWhatIsDoneInThePortalIsInTheAuditLogAsTheConsumers(t *testing.T) {
	s := setScene(t)
	path := "/portal/resources/orders/subscriptions/" + s.subscribe(hook)
	s.post(s.open(path), path+"/pause", nil)
	log := s.asAdmin("GET", "/admin/v1/audit?action=change-subscription", "").body
	require.Contains(t, log, `"actor":{"kind":"consumer","id":"`+s.consumer+`"}`)
	require.Contains(t, log, `"from":"203.0.113.7"`)
	require.Contains(t, log, `"fields":["status"]`)
}

func TestWhatForeignersWroteIsTextOnEveryPage(t *testing.T) {
	s := setScene(t)
	const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	raw, err := json.Marshal(map[string]any{"callback_url": "http://127.0.0.1:9000/hook", "description": evil, "headers": map[string]string{"X-A": evil}})
	require.NoError(t, err)
	id := s.subscribe(string(raw))
	path := "/portal/resources/orders/subscriptions/" + id
	now := time.Now().UTC()
	body := contract.Header{Name: "X-" + evil, Value: evil}
	s.record(contract.Delivery{
		ID: "dlv_evil", Subscription: id, EventID: evil, EventSource: evil, EventType: evil, Status: contract.DeliveryFailed, Reason: evil, CreatedAt: now, UpdatedAt: now, AttemptCount: 1,
		Attempts: []contract.Attempt{{Number: 1, At: now, Outcome: contract.Outcome(evil), Error: evil, Request: &contract.AttemptRequest{Method: "POST", URL: evil, Headers: []contract.Header{body}, Body: evil},
			Response: &contract.AttemptResponse{Status: 500, Headers: []contract.Header{body}, Body: evil}}},
	})
	query := url.Values{"event": {evil}, "source": {evil}, "type": {evil}, "event_id": {evil}, "done": {evil}, "range": {evil}}.Encode()
	for _, page := range []string{"/portal/resources/orders/", path, path + "?" + query, path + "/edit", path + "/delete", path + "/deliveries", path + "/deliveries?" + query,
		path + "/deliveries/dlv_evil", path + "/explain?" + query, path + "/replay"} {
		a := s.do("GET", s.gateway.URL+page, "")
		require.NotContains(t, a.body, "<script>alert", page)
		require.NotContains(t, a.body, "<img", page)
		require.NotContains(t, a.body, `"'>`, page)
	}
	require.Contains(t, s.open(path+"/deliveries/dlv_evil").body, "&lt;script&gt;alert(1)")
}
