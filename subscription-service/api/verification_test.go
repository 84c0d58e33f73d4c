package api_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// asks sets the policy of a resource.
func (w *world) asks(resource, verification string) {
	w.t.Helper()
	a := w.asAdmin("PUT", "/admin/v1/resources/"+resource, map[string]any{"policy": map[string]any{"verification": verification}})
	require.Less(w.t, a.status, 300, "%s", a.body)
}

func (w *world) subscribe(consumer string) answer {
	w.t.Helper()
	a := w.as(consumer, "POST", "/orders/subscribe", map[string]any{"callback_url": hook})
	require.Equal(w.t, http.StatusCreated, a.status, "%s", a.body)
	return a
}

// link is what the endpoint of a subscription would get.
func (w *world) link(id string) contract.ConsentLink {
	w.t.Helper()
	sub, err := w.store.Subscription(context.Background(), id)
	require.NoError(w.t, err)
	return contract.ConsentLink{Subscription: id, Round: sub.Consent.Round}
}

// consent calls like the gateway does for whoever has a link.
func (w *world) consent(l contract.ConsentLink, method, query string, headers ...string) answer {
	w.t.Helper()
	statement, err := w.signer.SignConsent(l)
	require.NoError(w.t, err)
	return w.call(method, w.gateway+"/gateway"+contract.ConsentPath+query, nil, append([]string{contract.HeaderStatement, statement}, headers...)...)
}

// due are the subscriptions whose endpoints are to be asked now.
func (w *world) due() []string {
	w.t.Helper()
	ids, err := w.store.ToAsk(context.Background(), w.clock.Now().Add(time.Second), 0, 100)
	require.NoError(w.t, err)
	return ids
}

func TestASubscriptionIsPendingAndItsEndpointIsToBeAsked(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.asks("orders", "handshake")
	a := w.subscribe(acme)
	require.Equal(t, "pending", a.text(t, "status"))
	require.Equal(t, map[string]any{"method": "handshake", "state": "pending", "attempts": float64(0), "next_attempt_at": a.text(t, "created_at")}, a.json(t)["verification"])
	require.Equal(t, []string{a.text(t, "id")}, w.due())
	again := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook})
	require.Equal(t, http.StatusOK, again.status)
	require.Equal(t, a.json(t)["verification"], again.json(t)["verification"], "the same again changes nothing")
	require.Equal(t, http.StatusNoContent, w.as(acme, "DELETE", "/orders/subscribe/"+a.text(t, "id"), nil).status)
	require.Empty(t, w.due())
}

func TestWithoutVerificationASubscriptionIsActiveAndNobodyIsAsked(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	a := w.subscribe(acme)
	require.Equal(t, "active", a.text(t, "status"))
	require.NotContains(t, a.json(t), "verification")
	require.Empty(t, w.due())
	w.as(acme, "POST", "/orders/subscribe/"+a.text(t, "id")+"/verify", nil).problem(t, http.StatusConflict)
}

func TestAPendingSubscriptionCanNotBeSetActive(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.asks("orders", "challenge")
	path := "/orders/subscribe/" + w.subscribe(acme).text(t, "id")
	set := func(status string) answer { return w.as(acme, "PATCH", path, map[string]any{"status": status}) }
	set("active").problem(t, http.StatusConflict)
	require.Contains(t, string(set("active").body), "callback_url has consented")
	w.as(acme, "POST", path+"/test", nil).problem(t, http.StatusConflict)
	w.as(acme, "POST", path+"/replay", map[string]any{"since": w.clock.Now()}).problem(t, http.StatusConflict)

	require.Equal(t, "paused", set("paused").text(t, "status"))
	require.Empty(t, w.due(), "a paused one is not asked")
	require.Equal(t, "pending", set("active").text(t, "status"), "it has not consented yet")
	require.Len(t, w.due(), 1)

	w.asks("orders", "none")
	require.Equal(t, "active", set("active").text(t, "status"), "nothing is asked for any more")
	require.Empty(t, w.due())
}

func TestAnotherCallbackURLIsAsked(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.asks("orders", "handshake")
	id := w.subscribe(acme).text(t, "id")
	require.Equal(t, http.StatusOK, w.consent(w.link(id), "POST", "").status)
	path := "/orders/subscribe/" + id
	same := w.as(acme, "PATCH", path, map[string]any{"callback_url": hook, "description": "same URL"})
	require.Equal(t, "active", same.text(t, "status"))
	old := w.link(id)
	moved := w.as(acme, "PATCH", path, map[string]any{"callback_url": hook + "/2"})
	require.Equal(t, "pending", moved.text(t, "status"))
	require.Equal(t, []string{id}, w.due())
	w.consent(old, "POST", "").problem(t, http.StatusGone)
	require.Equal(t, http.StatusOK, w.consent(w.link(id), "POST", "").status)
}

func TestAConsentCanBeAskedForAgainEveryTenSeconds(t *testing.T) {
	w := newWorld(t)
	acme, other := w.consumer("acme", "orders"), w.consumer("other", "orders")
	w.asks("orders", "handshake")
	id := w.subscribe(acme).text(t, "id")
	path, old := "/orders/subscribe/"+id+"/verify", w.link(id)
	early := w.as(acme, "POST", path, nil)
	early.problem(t, http.StatusTooManyRequests)
	require.Equal(t, "10", early.header.Get("Retry-After"))
	require.Equal(t, old, w.link(id), "nothing changed")
	w.clock.Advance(10 * time.Second)
	w.as(other, "POST", path, nil).problem(t, http.StatusNotFound)
	a := w.as(acme, "POST", path, nil)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	require.Equal(t, "pending", a.text(t, "status"))
	require.NotEqual(t, old, w.link(id))
	w.consent(old, "GET", "").problem(t, http.StatusGone)
	w.asks("orders", "none")
	w.clock.Advance(10 * time.Second)
	w.as(acme, "POST", path, nil).problem(t, http.StatusConflict)
}

func TestALateConsentMakesTheSubscriptionActiveOnce(t *testing.T) {
	for name, c := range map[string]struct {
		method, query string
		headers       []string
		rate          any
	}{
		"by POST":                     {"POST", "", nil, nil},
		"by GET":                      {"GET", "", nil, nil},
		"with a rate":                 {"POST", "", []string{"WebHook-Allowed-Rate", "120"}, float64(120)},
		"with a rate, from a browser": {"GET", "?rate=60", nil, float64(60)},
		"with any rate":               {"POST", "", []string{"WebHook-Allowed-Rate", "*"}, nil},
		"with another kind of body":   {"POST", "", []string{"Content-Type", "text/plain"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			acme := w.consumer("acme", "orders")
			w.asks("orders", "handshake")
			id := w.subscribe(acme).text(t, "id")
			link := w.link(id)
			w.consent(link, c.method, "?rate=0").problem(t, http.StatusUnprocessableEntity)
			a := w.consent(link, c.method, c.query, c.headers...)
			require.Equal(t, http.StatusOK, a.status, "%s", a.body)
			require.Equal(t, "active", a.text(t, "status"))
			got := w.as(acme, "GET", "/orders/subscribe/"+id, nil).json(t)
			require.Equal(t, "active", got["status"])
			shown := got["verification"].(map[string]any)
			require.Equal(t, "verified", shown["state"])
			require.Equal(t, "handshake", shown["method"])
			require.Equal(t, c.rate, shown["allowed_rate"])
			require.NotEmpty(t, shown["verified_at"])
			require.Empty(t, w.due())
			told := w.publisher.take()
			require.Len(t, told, 1)
			require.Equal(t, "orders.subscription.verified", told[0].RoutingKey)
			w.consent(link, c.method, "").problem(t, http.StatusGone)
		})
	}
}

func TestALateConsentNeedsNoBroker(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.asks("orders", "any")
	id := w.subscribe(acme).text(t, "id")
	w.publisher.fail(rabbit.ErrUnavailable)
	require.Equal(t, http.StatusOK, w.consent(w.link(id), "POST", "").status)
	require.Equal(t, "active", w.as(acme, "GET", "/orders/subscribe/"+id, nil).text(t, "status"))
}

func TestALinkOfNoSubscriptionThatWaitsIsOutOfDate(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.asks("orders", "handshake")
	id := w.subscribe(acme).text(t, "id")
	link := w.link(id)
	w.consent(contract.ConsentLink{Subscription: id, Round: "ask_other"}, "POST", "").problem(t, http.StatusGone)
	w.consent(contract.ConsentLink{Subscription: "sub_none", Round: link.Round}, "POST", "").problem(t, http.StatusGone)
	w.as(acme, "PATCH", "/orders/subscribe/"+id, map[string]any{"status": "paused"})
	w.consent(link, "POST", "").problem(t, http.StatusGone)
	w.as(acme, "DELETE", "/orders/subscribe/"+id, nil)
	w.consent(link, "POST", "").problem(t, http.StatusGone)
}

func TestTheTwoKindsOfStatementsOpenNothingOfEachOther(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.asks("orders", "handshake")
	id := w.subscribe(acme).text(t, "id")
	link := w.link(id)
	consent, err := w.signer.SignConsent(link)
	require.NoError(t, err)
	callback, err := w.signer.SignLink(link)
	require.NoError(t, err)
	caller := w.statement(acme, "orders", contract.ActionSubscribe)
	for name, c := range map[string]struct {
		path       string
		statements []string
	}{
		"a link on a subscription":           {"/orders/subscribe/" + id, []string{consent}},
		"a link on its resource":             {"/orders/subscribe", []string{consent}},
		"a caller on the path of consents":   {contract.ConsentPath, []string{caller}},
		"the link's own token":               {contract.ConsentPath, []string{callback}},
		"no statement":                       {contract.ConsentPath, nil},
		"two statements":                     {contract.ConsentPath, []string{consent, consent}},
		"below the path of consents":         {contract.ConsentPath + "/x", []string{consent}},
		"the path of consents, encoded":      {"/-/%63onsent", []string{consent}},
		"the path of consents, with a slash": {contract.ConsentPath + "/", []string{consent}},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			for _, s := range c.statements {
				headers = append(headers, contract.HeaderStatement, s)
			}
			w.call("GET", w.gateway+"/gateway"+c.path, nil, headers...).problem(t, http.StatusUnauthorized)
		})
	}
	require.Equal(t, "pending", w.as(acme, "GET", "/orders/subscribe/"+id, nil).text(t, "status"))
}

func TestAStatementAboutALinkIsGoodForOneCall(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.asks("orders", "handshake")
	statement, err := w.signer.SignConsent(w.link(w.subscribe(acme).text(t, "id")))
	require.NoError(t, err)
	call := func() answer {
		return w.call("POST", w.gateway+"/gateway"+contract.ConsentPath+"?rate=none", nil, contract.HeaderStatement, statement)
	}
	call().problem(t, http.StatusUnprocessableEntity)
	call().problem(t, http.StatusUnauthorized)
}

func TestALateConsentIsInTheAuditLog(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.asks("orders", "handshake")
	id := w.subscribe(acme).text(t, "id")
	require.Equal(t, http.StatusOK, w.consent(w.link(id), "GET", "").status)
	entries := w.asAdmin("GET", "/admin/v1/audit?actor=service&object="+id, nil).items(t)
	require.Len(t, entries, 1)
	require.Contains(t, entries[0]["fields"], "consent")
	require.Contains(t, entries[0]["fields"], "status")
}

func TestAPreviewNamesTheOrigin(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	a := w.as(acme, "POST", "/orders/subscribe/preview", map[string]any{
		"subscription": map[string]any{"callback_url": hook}, "event": map[string]any{"specversion": "1.0", "id": "1", "source": "/s", "type": "a"}})
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, "webhooks.example", a.json(t)["request"].(map[string]any)["headers"].(map[string]any)["Webhook-Request-Origin"])
}
