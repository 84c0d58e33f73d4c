package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func closed(w *world) { w.networks = nil }

func TestHostileCallbackURLsAreRefused(t *testing.T) {
	w := newWorldOn(t, testkit.Redis(t), closed)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	w.dns.take()
	for _, hostile := range testkit.HostileURLs() {
		body := map[string]any{"callback_url": hostile.URL}
		for _, a := range []answer{
			w.as(acme, "POST", "/orders/subscribe", body),
			w.as(acme, "PATCH", "/orders/subscribe/"+id, body),
			w.as(acme, "POST", "/orders/subscribe/preview", map[string]any{"subscription": body, "event": anEvent}),
		} {
			at := a.problem(t, http.StatusUnprocessableEntity)
			said := at["body.callback_url"] + at["body.subscription.callback_url"]
			require.NotEmpty(t, said, "%q: %s", hostile.URL, a.body)
			if len(hostile.URL) <= 2048 { // the schema says it otherwise
				require.Contains(t, said, hostile.Says, "%q", hostile.URL)
			}
		}
	}
	require.Empty(t, w.dns.take(), "nothing was looked up")
	require.Equal(t, 1, w.stored(acme, "orders"))
	require.Equal(t, hook, w.as(acme, "GET", "/orders/subscribe/"+id, nil).text(t, "callback_url"))
}

var anEvent = map[string]any{"specversion": "1.0", "id": "1", "source": "/x", "type": "order.created"}

func TestAHostThatLeadsToAPrivateAddressIsRefused(t *testing.T) {
	w := newWorldOn(t, testkit.Redis(t), closed)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	var said string
	for i, addresses := range [][]string{
		{"127.0.0.1"}, {"10.0.0.1"}, {"169.254.169.254"}, {"::1"}, {"::ffff:10.0.0.1"}, {"64:ff9b::7f00:1"}, {"2002:a00:1::"},
		{"93.184.216.34", "10.0.0.1"}, {"10.0.0.1", "93.184.216.34"}, {"93.184.216.34", "fd00::1"}, {"2606:2800:220:1::1", "192.168.1.1"}, {"168.63.129.16"},
	} {
		host := fmt.Sprintf("rebind%d.example", i)
		w.dns.set(host, addresses...)
		body := map[string]any{"callback_url": "https://" + host + "/hooks"}
		for _, a := range []answer{w.as(acme, "POST", "/orders/subscribe", body), w.as(acme, "PATCH", "/orders/subscribe/"+id, body)} {
			at := a.problem(t, http.StatusUnprocessableEntity)
			require.Contains(t, at["body.callback_url"], "use a public one", "%v", addresses)
			if said == "" {
				said = at["body.callback_url"]
			}
			require.Equal(t, said, at["body.callback_url"], "which addresses there are is not told")
		}
	}
	require.Equal(t, 1, w.stored(acme, "orders"))
}

func TestAHostThatLeadsToPublicAddressesOrNowhereIsTaken(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.dns.set("both.example", "93.184.216.34", "2606:2800:220:1::1")
	w.dns.set("opened.example", "10.1.2.3") // the admin's network
	for _, host := range []string{"both.example", "opened.example", "not-yet.example"} {
		require.Equal(t, http.StatusCreated, w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": "https://" + host + "/"}).status, host)
	}
	require.Equal(t, []string{"both.example.", "opened.example.", "not-yet.example."}, w.dns.take(), "once each, without search domains")
}

// What was public when it was subscribed may have become private.
func TestAReboundHostGetsNoTestAndIsNotResumed(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.dns.set("rebind.example", "93.184.216.34")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": "https://rebind.example/"}).text(t, "id")
	path := "/orders/subscribe/" + id
	require.Equal(t, http.StatusAccepted, w.as(acme, "POST", path+"/test", nil).status)
	w.publisher.take()

	w.dns.set("rebind.example", "169.254.169.254")
	at := w.as(acme, "POST", path+"/test", nil).problem(t, http.StatusConflict)
	require.Contains(t, at["callback_url"], "use a public one")
	require.Empty(t, w.publisher.take())
	require.Equal(t, http.StatusOK, w.as(acme, "PATCH", path, map[string]any{"status": "paused"}).status, "to stop it is always possible")
	at = w.as(acme, "PATCH", path, map[string]any{"status": "active"}).problem(t, http.StatusUnprocessableEntity)
	require.Contains(t, at["body.callback_url"], "use a public one")
	require.Equal(t, "paused", w.as(acme, "GET", path, nil).text(t, "status"))
	for _, body := range []map[string]any{{"description": "x"}, {"callback_url": hook}, {"status": "active"}} {
		require.Equal(t, http.StatusOK, w.as(acme, "PATCH", path, body).status, "%v", body)
	}
	require.Equal(t, http.StatusNoContent, w.as(acme, "DELETE", path, nil).status)
}

func TestTheHostOfATokenURLIsVettedToo(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.dns.set("login.example", "10.0.0.1")
	body := map[string]any{"callback_url": hook, "auth": oauth2Auth(nil)}
	require.Contains(t, w.as(acme, "POST", "/orders/subscribe", body).problem(t, http.StatusUnprocessableEntity)["body.auth.token_url"], "use a public one")
	w.dns.set("login.example", "93.184.216.34")
	id := w.as(acme, "POST", "/orders/subscribe", body).text(t, "id")
	w.dns.set("login.example", "93.184.216.34", "10.0.0.1")
	require.Contains(t, w.as(acme, "POST", "/orders/subscribe/"+id+"/test", nil).problem(t, http.StatusConflict)["auth.token_url"], "use a public one")
	require.Empty(t, w.publisher.take())
}

func TestAfterANetworkIsClosedItIsNotCalledAgain(t *testing.T) {
	redis, namespace := testkit.Redis(t), testkit.Namespace(t)
	before := newWorldIn(t, redis, namespace)
	acme := before.consumer("acme", "orders")
	id := before.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": "https://10.1.2.3/"}).text(t, "id")
	w, path := newWorldIn(t, redis, namespace, closed), "/orders/subscribe/"+id
	require.Contains(t, w.as(acme, "POST", path+"/test", nil).problem(t, http.StatusConflict)["callback_url"], "private")
	require.Empty(t, w.publisher.take())
	require.Contains(t, w.as(acme, "PATCH", path, map[string]any{"status": "active"}).problem(t, http.StatusUnprocessableEntity)["body.callback_url"], "private")
}

// A caller learns nothing of names by way of subscriptions that are not its own.
func TestNothingIsLookedUpForAnothersSubscription(t *testing.T) {
	w := newWorld(t)
	acme, other := w.consumer("acme", "orders"), w.consumer("other", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	w.dns.take()
	w.as(other, "PATCH", "/orders/subscribe/"+id, map[string]any{"callback_url": "https://probe.example/"}).problem(t, http.StatusNotFound)
	w.as(other, "POST", "/orders/subscribe/"+id+"/test", nil).problem(t, http.StatusNotFound)
	require.Empty(t, w.dns.take())
}

func TestARefusalNamesNoAddress(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	w.dns.set("db.example", "10.77.88.99")
	a := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": "https://db.example/"})
	a.problem(t, http.StatusUnprocessableEntity)
	require.NotContains(t, string(a.body)+w.transcript.String(), strings.Join([]string{"10", "77", "88", "99"}, "."))
}
