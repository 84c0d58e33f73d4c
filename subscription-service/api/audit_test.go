package api_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
)

// audit returns the newest entries that a query finds.
func (w *world) audit(query string) []contract.AuditEntry {
	w.t.Helper()
	a := w.asAdmin("GET", "/admin/v1/audit?limit=100&"+query, nil)
	require.Equal(w.t, http.StatusOK, a.status, "%s", a.body)
	var list struct{ Items []contract.AuditEntry }
	decode(w.t, a.body, &list)
	return list.Items
}

// breakAudit makes a stream of the audit log something that can't be written to.
func (w *world) breakAudit(stream string) {
	w.t.Helper()
	server, err := url.Parse(w.redis)
	require.NoError(w.t, err)
	conn, err := net.Dial("tcp", server.Host)
	require.NoError(w.t, err)
	defer conn.Close()
	if password, ok := server.User.Password(); ok {
		fmt.Fprintf(conn, "AUTH %s %s\r\n", server.User.Username(), password)
	}
	fmt.Fprintf(conn, "SET %s:audit:%s broken\r\n", w.namespace, stream)
	lines := bufio.NewScanner(conn)
	for lines.Scan() && lines.Text() == "+OK" {
		if _, ok := server.User.Password(); !ok {
			return
		}
		server.User = nil
	}
	require.NoError(w.t, lines.Err())
}

func TestEveryOperationThatChangesSomethingLeavesAnEntry(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	var document struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	decode(t, w.call("GET", w.admin+"/openapi.json", nil).body, &document)
	silent := map[string]bool{"publish-event": true, "preview": true, "acknowledge": true} // they change neither a subscription nor what admins keep
	walked := 0
	for path, operations := range document.Paths {
		path := strings.NewReplacer("{resource}", "orders", "{id}", "id", "{key_id}", "id", "{delivery_id}", "id", "{replay_id}", "id").Replace(path)
		for method, op := range operations {
			method = strings.ToUpper(method)
			if method == "GET" || silent[op.OperationID] {
				continue
			}
			walked++
			require.NotContains(t, path, "{", "a parameter that this test does not know")
			strange, known := w.gateway+"/gateway"+path, func() answer { return w.as(acme, method, path, "{}") }
			actor := contract.Actor{Kind: contract.ActorConsumer, ID: acme}
			if strings.HasPrefix(path, "/admin/") {
				strange, known, actor = w.admin+path, func() answer { return w.asAdmin(method, path, "{}") }, contract.Actor{Kind: contract.ActorAdmin, ID: "admin"}
			}
			t.Run(op.OperationID, func(t *testing.T) {
				w.call(method, strange, "{}").problem(t, http.StatusUnauthorized)
				entries := w.audit("actor=unknown&action=" + op.OperationID)
				require.Len(t, entries, 1)
				require.Equal(t, http.StatusUnauthorized, entries[0].Status)
				status := known().status
				require.NotEqual(t, http.StatusUnauthorized, status)
				entries = w.audit("action=" + op.OperationID + "&actor=" + actor.ID)
				require.NotEmpty(t, entries)
				require.Equal(t, actor, entries[0].Actor)
				require.Equal(t, status, entries[0].Status)
			})
		}
	}
	require.GreaterOrEqual(t, walked, 14)
	require.Equal(t, http.StatusAccepted, w.as(acme, "POST", "/orders/events", oneEvent, "Content-Type", "application/cloudevents+json").status)
	require.Empty(t, w.audit("action=publish-event"), "events are not changes")
}

func TestTheAuditLogTellsAStory(t *testing.T) {
	w := newWorldOn(t, testkitRedis(t), func(w *world) { w.admins = []string{"alice:the-token-of-alice-1"} })
	alice := func(method, path string, body any, headers ...string) answer {
		return w.call(method, w.admin+path, body, append([]string{"Authorization", "Bearer the-token-of-alice-1"}, headers...)...)
	}
	require.Equal(t, 201, alice("PUT", "/admin/v1/resources/orders", `{"types":[{"name":"a"}]}`, "X-Request-Id", "req-1").status)
	acme := alice("POST", "/admin/v1/consumers", `{"name":"acme","grants":[{"resource":"orders","actions":["subscribe"]}]}`).text(t, "id")
	key := alice("POST", "/admin/v1/consumers/"+acme+"/keys", nil)
	made := w.as(acme, "POST", "/orders/subscribe", map[string]any{
		"callback_url": hook, "auth": map[string]string{"type": "bearer", "token": "t0ken-of-acme"}, "ordering": "subject", "headers": map[string]string{"X-Team": "t3am"},
	}, "X-Request-Id", "req-2")
	sub := "/orders/subscribe/" + made.text(t, "id")
	require.Equal(t, 200, w.as(acme, "PATCH", sub, `{"status":"paused","filter":null}`).status)
	rotated := w.as(acme, "POST", sub+"/rotate-secret", nil)
	require.Equal(t, 422, w.as(acme, "PATCH", sub, `{"callback_url":"https://u:p4ssword@consumer.example/"}`).status)
	require.Equal(t, 204, w.as(acme, "DELETE", sub, nil).status)
	require.Equal(t, 404, w.as(acme, "DELETE", sub, nil).status)
	require.Equal(t, 204, alice("DELETE", "/admin/v1/consumers/"+acme+"/keys/"+key.text(t, "id"), nil).status)
	require.Equal(t, 401, w.call("DELETE", w.admin+"/admin/v1/consumers/"+acme, nil, "Authorization", "Bearer wr0ng-token-of-nobody").status)
	require.Equal(t, 404, alice("DELETE", "/admin/v1/consumers/"+acme+"/keys/"+key.text(t, "key"), nil).status, "the key in the place of its id")

	admin, consumer := contract.Actor{Kind: "admin", ID: "alice"}, contract.Actor{Kind: "consumer", ID: acme}
	consumerPath := "/admin/v1/consumers/" + acme
	want := []contract.AuditEntry{
		{Actor: admin, Action: "put-resource", Object: "/admin/v1/resources/orders", From: "127.0.0.1", Status: 201, Fields: []string{"types"}, Request: "req-1"},
		{Actor: admin, Action: "create-consumer", Object: consumerPath, From: "127.0.0.1", Status: 201, Fields: []string{"name", "grants"}},
		{Actor: admin, Action: "create-key", Object: consumerPath + "/keys/" + key.text(t, "id"), From: "127.0.0.1", Status: 201},
		{Actor: consumer, Action: "subscribe", Object: sub, From: "203.0.113.7", Status: 201, Fields: []string{"callback_url", "format", "headers", "auth", "ordering"}, Request: "req-2"},
		{Actor: consumer, Action: "change-subscription", Object: sub, From: "203.0.113.7", Status: 200, Fields: []string{"status", "filter"}},
		{Actor: consumer, Action: "rotate-secret", Object: sub + "/rotate-secret", From: "203.0.113.7", Status: 200},
		{Actor: consumer, Action: "change-subscription", Object: sub, From: "203.0.113.7", Status: 422},
		{Actor: consumer, Action: "unsubscribe", Object: sub, From: "203.0.113.7", Status: 204},
		{Actor: consumer, Action: "unsubscribe", Object: sub, From: "203.0.113.7", Status: 404},
		{Actor: admin, Action: "revoke-key", Object: consumerPath + "/keys/" + key.text(t, "id"), From: "127.0.0.1", Status: 204},
		{Actor: contract.Actor{Kind: "unknown"}, Action: "delete-consumer", Object: consumerPath, From: "127.0.0.1", Status: 401},
		{Actor: admin, Action: "revoke-key", Object: consumerPath + "/keys/?", From: "127.0.0.1", Status: 404},
	}
	got := w.audit("")
	for i := range got {
		require.NotZero(t, got[i].At)
		require.NotEmpty(t, got[i].Request)
		if !strings.HasPrefix(got[i].Request, "req-") {
			got[i].Request = ""
		}
		got[i].ID, got[i].At = "", got[0].At
	}
	for i := range want {
		want[i].At = got[0].At
	}
	require.ElementsMatch(t, want, got)
	raw := string(w.asAdmin("GET", "/admin/v1/audit?limit=100", nil).body)
	for _, secret := range []string{"t0ken", "t3am", "p4ssword", "wr0ng", "the-token", "whsec_", "whk_", made.text(t, "secret")[6:], rotated.text(t, "secret")[6:], key.text(t, "key")[4:]} {
		require.NotContains(t, raw, secret)
		require.NotContains(t, w.transcript.String(), secret)
	}
	require.Contains(t, w.transcript.String(), `"admin":"alice"`)
}

func TestWithoutAnAuditEntryNothingIsChanged(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	for _, stream := range []string{"admin", "consumer"} {
		w.breakAudit(stream)
	}
	refused := w.asAdmin("PUT", "/admin/v1/resources/payments", `{}`)
	refused.problem(t, http.StatusServiceUnavailable)
	require.Contains(t, string(refused.body), "audit log")
	w.asAdmin("GET", "/admin/v1/resources/payments", nil).problem(t, http.StatusNotFound)
	w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).problem(t, http.StatusServiceUnavailable)
	require.Zero(t, w.stored(acme, "orders"))
	require.Equal(t, http.StatusOK, w.as(acme, "GET", "/orders/subscribe", nil).status, "who reads changes nothing")
}

func TestAChangeWhoseEndCanNotBeWrittenKeepsItsBeginning(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	path := "/orders/subscribe/" + w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	w.publisher.during = func() { w.breakAudit("refused") }
	w.publisher.fail(fmt.Errorf("the broker is away"))
	w.as(acme, "POST", path+"/test", nil).problem(t, http.StatusServiceUnavailable)
	w.publisher.during = nil
	require.NotContains(t, w.transcript.String(), "was not written", "503 is no refusal: something may have been changed")
	w.as(acme, "POST", path+"x/test", nil).problem(t, http.StatusNotFound)
	require.Contains(t, w.transcript.String(), "the end of an audit entry was not written")
	require.Contains(t, string(w.call("GET", w.admin+"/metrics", nil).body), `webhook_audit_skipped_total{reason="store"} 1`)
}

func TestAPanicIsAuditedToo(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	path := "/orders/subscribe/" + w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	w.publisher.panics.Store(true)
	require.Equal(t, http.StatusInternalServerError, w.as(acme, "POST", path+"/test", nil).status)
	require.Equal(t, http.StatusInternalServerError, w.audit("action=test-subscription")[0].Status)
}

func TestAFloodOfUnknownCallersFillsNoLog(t *testing.T) {
	w := newWorld(t)
	for range 150 {
		w.call("POST", w.admin+"/admin/v1/consumers", "{}").problem(t, http.StatusUnauthorized)
	}
	require.Len(t, w.audit("actor=unknown"), 100)
	require.Contains(t, string(w.call("GET", w.admin+"/metrics", nil).body), `webhook_audit_skipped_total{reason="too many"} 50`)
}

func TestPagesOfTheAuditLog(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.consumer(fmt.Sprint("acme-", i))
	}
	first := w.asAdmin("GET", "/admin/v1/audit?limit=3", nil)
	require.Len(t, first.items(t), 3)
	second := w.asAdmin("GET", "/admin/v1/audit?limit=3&cursor="+first.text(t, "next_cursor"), nil)
	require.Len(t, second.items(t), 2)
	require.NotContains(t, second.json(t), "next_cursor")
	require.Contains(t, w.asAdmin("GET", "/admin/v1/audit?cursor=x", nil).problem(t, http.StatusBadRequest), "query.cursor")
	require.Contains(t, w.asAdmin("GET", "/admin/v1/audit?since=yesterday", nil).problem(t, http.StatusUnprocessableEntity), "query.since")
	w.call("GET", w.admin+"/admin/v1/audit", nil).problem(t, http.StatusUnauthorized)
	acme := w.consumer("acme", "orders")
	w.as(acme, "GET", "/admin/v1/audit", nil).problem(t, http.StatusUnauthorized)
}

func TestAdminsHaveTokensOfTheirOwn(t *testing.T) {
	hash := sha256.Sum256([]byte("the-token-of-bob-12"))
	w := newWorldOn(t, testkitRedis(t), func(w *world) {
		w.admins = []string{"alice:the-token-of-alice-1", " bob:sha256:" + hex.EncodeToString(hash[:])}
	})
	for name, token := range map[string]string{"alice": "the-token-of-alice-1", "bob": "the-token-of-bob-12", "admin": adminToken} {
		require.Equal(t, 201, w.call("POST", w.admin+"/admin/v1/consumers", `{"name":"x"}`, "Authorization", "Bearer "+token).status)
		require.Equal(t, contract.Actor{Kind: "admin", ID: name}, w.audit("actor=" + name)[0].Actor)
	}
	for _, token := range []string{"alice:the-token-of-alice-1", "alice", "sha256:" + hex.EncodeToString(hash[:]), hex.EncodeToString(hash[:]), ""} {
		w.call("GET", w.admin+"/admin/v1/consumers", nil, "Authorization", "Bearer "+token).problem(t, http.StatusUnauthorized)
	}
}

func TestParseAdmins(t *testing.T) {
	long := strings.Repeat("s3cr3t", 4)
	for name, c := range map[string]struct {
		shared string
		named  []string
		fault  string
	}{
		"the shared one":         {long, nil, ""},
		"others alone":           {"", []string{"alice:" + long}, ""},
		"none":                   {"", nil, "WEBHOOK_ADMIN_TOKEN has 0 bytes"},
		"a short one":            {"s3cr3t", nil, "WEBHOOK_ADMIN_TOKEN has 6 bytes"},
		"a short one of another": {long, []string{"alice:s3cr3t"}, "number 1 has a token of 6 bytes"},
		"no name":                {long, []string{"alice:" + long + "x", ":" + long}, "number 2 is not NAME:TOKEN"},
		"no token":               {long, []string{long}, "number 1 has a token of 0 bytes"},
		"a name with capitals":   {long, []string{"Alice:" + long}, "number 1 is not NAME:TOKEN"},
		"a name twice":           {"", []string{"alice:" + long, "alice:" + long + "x"}, "number 2 has a name or a token"},
		"a token twice":          {long, []string{"alice:" + long}, "number 1 has a name or a token"},
		"the shared one's name":  {long, []string{"admin:" + long + "x"}, "number 1 has a name or a token"},
		"half a hash":            {long, []string{"alice:sha256:abcd"}, "number 1 is not NAME:sha256:HEX"},
		"no hash":                {long, []string{"alice:sha256:" + strings.Repeat("s3cr3t", 10) + "1234"}, "number 1 is not NAME:sha256:HEX"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := api.ParseAdmins(c.shared, c.named)
			if c.fault == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.fault)
			require.NotContains(t, err.Error(), "s3cr3t")
		})
	}
}
