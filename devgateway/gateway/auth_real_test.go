package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// The tests of this file run apisix-conf with auth.example.yaml put in, as the file itself says how, and the real runner.

// withExample is a directory with the files of apisix-conf, in which the example has been followed.
func withExample(t *testing.T) string {
	t.Helper()
	read := func(name string) map[string]any {
		var doc map[string]any
		text, err := os.ReadFile(filepath.Join(repoConf, name))
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(text, &doc))
		return doc
	}
	rules, example := read("apisix.yaml"), read("auth.example.yaml")
	for _, section := range []string{"plugin_configs", "routes"} {
		for _, entry := range example[section].([]any) {
			put(t, rules[section].([]any), entry.(map[string]any))
		}
	}
	rules["consumers"] = example["consumers"]
	text, err := yaml.Marshal(rules)
	require.NoError(t, err)
	dir := t.TempDir()
	writeFile(t, dir, "apisix.yaml", string(text)+"#END\n")
	static, err := os.ReadFile(filepath.Join(repoConf, "config.yaml"))
	require.NoError(t, err)
	writeFile(t, dir, "config.yaml", string(static))
	return dir
}

// put gives the plugins of an entry to the one with the same id.
func put(t *testing.T, entries []any, part map[string]any) {
	t.Helper()
	for _, entry := range entries {
		if e := entry.(map[string]any); e["id"] == part["id"] {
			for name, conf := range part["plugins"].(map[string]any) {
				e["plugins"].(map[string]any)[name] = conf
			}
			return
		}
	}
	t.Fatalf("apisix.yaml has no entry %v", part["id"])
}

const (
	issuerName = "https://id.example.com" // the example's
	acmesKey   = "acme-key-of-apisix"
)

// authScene is a gateway that takes every kind of caller, before an upstream that counts its calls.
type authScene struct {
	*running
	store   *store.Store
	issuer  *testkit.Issuer
	arrived atomic.Int64
}

func setAuthScene(t *testing.T) *authScene {
	t.Helper()
	s := &authScene{issuer: testkit.NewIssuer(t, issuerName)}
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.arrived.Add(1); echo(w, r) }))
	t.Cleanup(node.Close)
	redis := testkit.StartRedis(t).URL
	var err error
	s.store, err = store.Open(store.Options{URL: redis})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.store.Close() })
	for _, name := range []string{"orders", "users"} {
		_, err := s.store.PutResource(deadline(t), contract.Resource{Name: name})
		require.NoError(t, err)
	}
	s.running = startRealIn(t, withExample(t), map[string]string{
		"REDIS_URL": redis, "WEBHOOK_SUBSCRIPTION_NODE": node.Listener.Addr().String(), "ACME_KEY": acmesKey,
		"WEBHOOK_JWKS_URL": s.issuer.URL(), "WEBHOOK_ALLOW_HTTP": "false",
	}, time.Hour)
	return s
}

// consumer makes one with the id con_NAME, which may do the actions with orders, and returns a key and its id.
func (s *authScene) consumer(t *testing.T, name string, actions ...string) (key, id string) {
	t.Helper()
	require.NoError(t, s.store.PutConsumer(deadline(t), contract.Consumer{
		ID: "con_" + name, Name: name, Grants: []contract.Grant{{Resource: "orders", Actions: actions}},
	}))
	made, plain, err := s.store.CreateKey(deadline(t), "con_"+name, time.Now())
	require.NoError(t, err)
	return plain, made.ID
}

func (s *authScene) bearer(t *testing.T, kid, subject string, changes testkit.Part) string {
	t.Helper()
	claims := testkit.Part{"scope": "orders:subscribe orders:publish users:subscribe nowhere:subscribe"}.With(changes)
	return "Authorization: Bearer " + s.issuer.Token(t, kid, subject, claims)
}

// caller is who the upstream is told to be called by.
func caller(t *testing.T, a answer) string {
	t.Helper()
	require.Equal(t, 200, a.StatusCode, a.body)
	_, statement, found := strings.Cut(a.body, "X-Webhook-Statement: ")
	require.True(t, found, a.body)
	statement, _, _ = strings.Cut(statement, "\n")
	who, err := signer(t, gatewayKey).VerifyCaller(statement)
	require.NoError(t, err)
	return who.Consumer
}

func TestRealCallersOfEveryKindAreLetIn(t *testing.T) {
	s := setAuthScene(t)
	key, _ := s.consumer(t, "billing", contract.ActionSubscribe)
	s.consumer(t, "acme", contract.ActionSubscribe, contract.ActionPublish)
	assert.Equal(t, "con_billing", caller(t, s.get(t, "/orders/subscribe", "apikey: "+key)))
	for _, kid := range []string{testkit.KeyRSA, testkit.KeyEC, testkit.KeyEd} {
		got := s.get(t, "/orders/subscribe", s.bearer(t, kid, "billing", nil), "X-Consumer-Username: acme", "X-Userinfo: e30")
		assert.Equal(t, "con_billing", caller(t, got))
		for _, gone := range []string{"Authorization", "X-Consumer", "X-Userinfo"} {
			assert.NotContains(t, got.body, "\n"+gone)
		}
	}
	assert.Equal(t, "con_billing", caller(t, s.get(t, "/orders/subscribe", s.bearer(t, testkit.KeyEC, "con_billing", nil))), "by id")
	got := s.get(t, "/orders/events", "apikey: "+acmesKey, "X-Consumer-Username: billing")
	assert.Equal(t, "con_acme", caller(t, got))
	assert.NotContains(t, got.body, acmesKey)
	assert.NotContains(t, got.body, "X-Consumer")
}

const (
	bothWays    = `ApiKey realm="webhooks", Bearer realm="webhooks"`
	badToken    = bothWays + `, error="invalid_token"`
	ofApisix    = `apikey realm="key"`
	problemType = "application/problem+json"
)

// hostileCall is a call with a bad credential, and what it must be answered with.
type hostileCall struct {
	name, target string
	headers      []string
	status       int
	challenge    string
	says         string
}

// Every hostile credential is refused at the gateway, by whom it should be, and the upstream never hears of it.
func TestRealHostileCredentials(t *testing.T) {
	s, other := setAuthScene(t), testkit.NewIssuer(t, "https://other.example")
	s.consumer(t, "acme", contract.ActionSubscribe)
	calls := s.hostileCalls(t)
	for _, h := range testkit.HostileTokens(t, s.issuer, other, "acme", other.URL()) {
		calls = append(calls, hostileCall{"token: " + h.Name, "/orders/subscribe", []string{"Authorization: Bearer " + h.Token}, 401, badToken, "the token is not accepted"})
	}
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			got := s.get(t, c.target, c.headers...)
			assert.Equal(t, c.status, got.StatusCode, got.body)
			assert.Equal(t, c.challenge, got.Header.Get("WWW-Authenticate"))
			assert.Contains(t, got.body, c.says)
			assert.Equal(t, c.challenge != ofApisix, got.Header.Get("Content-Type") == problemType)
			for _, header := range c.headers {
				_, value, _ := strings.Cut(header, ": ")
				assert.False(t, len(value) > 30 && strings.Contains(got.body, value), "the credential comes back")
			}
		})
	}
	t.Logf("%d hostile credentials", len(calls))
	assert.Zero(t, s.arrived.Load(), "the upstream was called")
	assert.Zero(t, other.Fetches.Load(), "the attacker's keys were fetched")
	said := s.said()
	assert.Contains(t, said, `"msg":"a token is refused","reason":"`)
	for _, c := range calls {
		for _, header := range c.headers {
			_, value, _ := strings.Cut(strings.TrimPrefix(header, "Authorization: Bearer"), " ")
			assert.False(t, len(value) > 30 && strings.Contains(said, value), "%s: the credential is in the log", c.name)
		}
	}
}

// said is what the runner wrote.
func (s *authScene) said() string {
	var all strings.Builder
	for _, e := range s.logs.FilterMessage("runner").All() {
		_, _ = fmt.Fprintln(&all, e.ContextMap()["output"])
	}
	return all.String()
}

func (s *authScene) hostileCalls(t *testing.T) []hostileCall {
	t.Helper()
	const subscribe, events = "/orders/subscribe", "/orders/events"
	key, _ := s.consumer(t, "billing", contract.ActionSubscribe)
	revoked, id := s.consumer(t, "short", contract.ActionSubscribe)
	require.NoError(t, s.store.DeleteKey(deadline(t), "con_short", id))
	orphan, _ := s.consumer(t, "gone", contract.ActionSubscribe)
	require.NoError(t, s.store.DeleteConsumer(deadline(t), "con_gone"))
	s.consumer(t, "twin", contract.ActionSubscribe)
	require.NoError(t, s.store.PutConsumer(deadline(t), contract.Consumer{ID: "con_2", Name: "twin"}))
	token := func(subject string, changes testkit.Part) string { return s.bearer(t, testkit.KeyEC, subject, changes) }
	good := strings.TrimPrefix(token("acme", nil), "Authorization: Bearer ")
	scope := func(grants string) testkit.Part { return testkit.Part{"scope": grants} }
	return []hostileCall{
		{"nothing", subscribe, nil, 401, bothWays, "send your API key"},
		{"an unknown key", subscribe, []string{"apikey: whk_made-up"}, 401, bothWays, "not known"},
		{"a key in capitals", subscribe, []string{"apikey: " + strings.ToUpper(key)}, 401, bothWays, "not known"},
		{"most of a key", subscribe, []string{"apikey: " + key[:len(key)-1]}, 401, bothWays, "not known"},
		{"the hash of a key", subscribe, []string{"apikey: " + contract.HashKey(key)}, 401, bothWays, "not known"},
		{"a revoked key", subscribe, []string{"apikey: " + revoked}, 401, bothWays, "not known"},
		{"a deleted consumer's key", subscribe, []string{"apikey: " + orphan}, 401, bothWays, "not known"},
		{"an empty key", subscribe, []string{"apikey:"}, 401, bothWays, "send your API key"},
		{"two keys", subscribe, []string{"apikey: " + key, "apikey: whk_made-up"}, 400, "", "several values"},
		{"a key in the query", subscribe + "?apikey=" + key, nil, 401, bothWays, "send your API key"},
		{"a key in a cookie", subscribe, []string{"Cookie: apikey=" + key}, 401, bothWays, "send your API key"},
		{"a key in Authorization", subscribe, []string{"Authorization: " + key}, 401, bothWays, "not accepted here"},
		{"a key as a token", subscribe, []string{"Authorization: Bearer " + key}, 401, badToken, "the token is not accepted"},
		{"a consumer's id as a key", subscribe, []string{"apikey: con_billing"}, 401, bothWays, "not known"},
		{"the key of APISIX's consumer here", subscribe, []string{"apikey: " + acmesKey}, 401, bothWays, "not known"},
		{"key and token", subscribe, []string{"apikey: " + key, "Authorization: Bearer " + good}, 400, "", "both apikey and Authorization"},
		{"two tokens", subscribe, []string{"Authorization: Bearer " + good, "Authorization: Bearer " + good}, 400, "", "several values"},
		{"a token without Bearer", subscribe, []string{"Authorization: " + good}, 401, bothWays, "not accepted here"},
		{"a token as Basic", subscribe, []string{"Authorization: Basic " + good}, 401, bothWays, "not accepted here"},
		{"Basic", subscribe, []string{"Authorization: Basic YWNtZTphY21l"}, 401, bothWays, "not accepted here"},
		{"Bearer alone", subscribe, []string{"Authorization: Bearer"}, 401, bothWays, "not accepted here"},
		{"a token in the query", subscribe + "?access_token=" + good, nil, 401, bothWays, "send your API key"},
		{"a token in the query of APISIX", subscribe + "?jwt=" + good, nil, 401, bothWays, "send your API key"},
		{"a token as a key", subscribe, []string{"apikey: " + good}, 401, bothWays, "not known"},
		{"a token of nobody known", subscribe, []string{token("nobody", nil)}, 401, badToken, "the token is not accepted"},
		{"a token of somebody deleted", subscribe, []string{token("gone", nil)}, 401, badToken, "the token is not accepted"},
		{"a token for a name that two have", subscribe, []string{token("twin", nil)}, 401, badToken, "the token is not accepted"},
		{"a token for a name with a star", subscribe, []string{token("*", nil)}, 401, badToken, "the token is not accepted"},
		{"a token for less", subscribe, []string{token("acme", scope("orders:publish"))}, 403,
			`Bearer realm="webhooks", error="insufficient_scope", scope="orders:subscribe"`, "the token is not for orders:subscribe"},
		{"a token for nothing", subscribe, []string{token("acme", testkit.Part{"scope": testkit.Gone})}, 403,
			`Bearer realm="webhooks", error="insufficient_scope", scope="orders:subscribe"`, "the token is not for orders:subscribe"},
		{"a token for more than is granted", "/users/subscribe", []string{token("acme", scope("users:subscribe"))}, 403, "", "you have no grant to subscribe on users"},
		{"a token, no such resource", "/nowhere/subscribe", []string{token("acme", nil)}, 404, "", "there is no resource nowhere"},
		{"nobody, no such resource", "/nowhere/subscribe", []string{token("nobody", nil)}, 401, badToken, "the token is not accepted"},
		{"a forged username", subscribe, []string{"X-Consumer-Username: acme"}, 401, bothWays, "send your API key"},
		{"a forged username with underscores", subscribe, []string{"X_Consumer_Username: acme"}, 401, bothWays, "send your API key"},
		{"forged, all of it", subscribe, []string{"X-Consumer-Username: acme", "X-Consumer-Custom-Id: acme", "X-Credential-Identifier: 1", "X-Consumer-Id: con_acme"}, 401, bothWays, "send your API key"},
		{"a forged variable", subscribe + "?consumer_name=acme", []string{"consumer_name: acme", "Consumer-Name: acme"}, 401, bothWays, "send your API key"},
		{"a forged statement", subscribe, []string{"X-Webhook-Statement: eyJhbGciOiJub25lIn0.eyJzdWIiOiJhY21lIn0."}, 401, bothWays, "send your API key"},
		{"what openid-connect would pass on", subscribe, []string{"X-Userinfo: eyJzdWIiOiJhY21lIn0", "X-Access-Token: " + good, "X-ID-Token: " + good}, 401, bothWays, "send your API key"},
		{"nothing, on a route of APISIX's consumers", events, nil, 401, ofApisix, "Missing API key"},
		{"a key of ours there", events, []string{"apikey: " + key}, 401, ofApisix, "Invalid API key"},
		{"a token there", events, []string{"Authorization: Bearer " + good}, 401, ofApisix, "Missing API key"},
		{"a forged username there", events, []string{"X-Consumer-Username: acme", "apikey: made-up"}, 401, ofApisix, "Invalid API key"},
		{"APISIX's consumer and a token", events, []string{"apikey: " + acmesKey, "X-Other: 1", "Authorization: Bearer " + good, "Authorization: Bearer x"}, 400, "", "several values"},
		{"APISIX's consumer, wrong action", "/users/events", []string{"apikey: " + acmesKey}, 403, "", "you have no grant to publish on users"},
		{"APISIX's consumer, no such resource", "/nowhere/events", []string{"apikey: " + acmesKey}, 404, "", "there is no resource nowhere"},
	}
}

func TestRealAConsumerOfApisixThatIsUnknownHereIsRefused(t *testing.T) {
	s := setAuthScene(t)
	got := s.get(t, "/orders/events", "apikey: "+acmesKey)
	assert.Equal(t, 401, got.StatusCode, got.body)
	assert.Contains(t, got.body, "the gateway's consumer is not known here")
	s.consumer(t, "acme", contract.ActionPublish)
	assert.Equal(t, "con_acme", caller(t, s.get(t, "/orders/events", "apikey: "+acmesKey)))
}

func TestRealWhatChangesIsSeenWithinSeconds(t *testing.T) {
	s := setAuthScene(t)
	key, _ := s.consumer(t, "acme", contract.ActionSubscribe, contract.ActionPublish)
	s.consumer(t, "billing", contract.ActionSubscribe)
	shown := map[string]string{"apikey: " + key: "/orders/subscribe", s.bearer(t, testkit.KeyEd, "acme", nil): "/orders/subscribe", "apikey: " + acmesKey: "/orders/events"}
	for header, target := range shown {
		assert.Equal(t, "con_acme", caller(t, s.get(t, target, header)))
	}
	require.NoError(t, s.store.DeleteConsumer(deadline(t), "con_acme"))
	s.issuer.Put("ec-2", s.issuer.Drop(testkit.KeyEC))
	began := time.Now()
	for header, target := range shown {
		require.Eventually(t, func() bool { return s.get(t, target, header).StatusCode == http.StatusUnauthorized }, 10*time.Second, 20*time.Millisecond)
	}
	assert.Less(t, time.Since(began), 5*time.Second)
	t.Logf("a deleted consumer is refused, whatever they show, after %s", time.Since(began))

	rotated := "Authorization: Bearer " + testkit.Sign(t, s.issuer.Key("ec-2"), testkit.Header(testkit.KeyEC).With(testkit.Part{"kid": "ec-2"}),
		s.issuer.Claims("billing").With(testkit.Part{"scope": "orders:subscribe"}))
	require.Eventually(t, func() bool {
		return s.get(t, "/orders/subscribe", rotated).StatusCode == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond)
	t.Logf("an issuer's new key is taken after %s", time.Since(began))
}

func TestRealWithoutTheIssuersKeysItCannotTell(t *testing.T) {
	s := setAuthScene(t)
	s.consumer(t, "acme", contract.ActionSubscribe)
	s.issuer.Answer(http.NotFound)
	stranger := testkit.NewIssuer(t, issuerName)
	unknown := "Authorization: Bearer " + testkit.Sign(t, stranger.Key(testkit.KeyEC), testkit.Header(testkit.KeyEC).With(testkit.Part{"kid": "new"}), s.issuer.Claims("acme"))
	require.Eventually(t, func() bool {
		got := s.get(t, "/orders/subscribe", unknown)
		return got.StatusCode == http.StatusServiceUnavailable && got.Header.Get("Retry-After") == "5"
	}, 10*time.Second, 20*time.Millisecond)
	assert.Zero(t, s.arrived.Load())
}
