package subscribe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apache/apisix-go-plugin-runner/pkg/plugin"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/bearer"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const issuerName = "https://id.example"

// scene is the plugin over a Redis of the test's own, with all ways of authentication on.
type scene struct {
	plugin.Plugin
	store  *store.Store
	redis  *testkit.RedisServer
	issuer *testkit.Issuer
	clock  *testkit.Clock
	logs   *observer.ObservedLogs
	value  string
	told   strings.Builder
	keys   map[string]string // of consumers, by name
	secret []string          // what must not be told
}

func setScene(t testing.TB) *scene {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	s := &scene{redis: testkit.StartRedis(t), issuer: testkit.NewIssuer(t, issuerName), clock: &testkit.Clock{}, logs: logs, keys: map[string]string{}}
	var err error
	if s.store, err = store.Open(store.Options{URL: s.redis.URL, Timeout: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	tokens := bearer.NewVerifier(bearer.Options{Now: time.Now, Log: zap.New(core)})
	t.Cleanup(tokens.Close)
	s.Plugin = filter.NewGate(zap.NewNop(), nil).Plugin(Name, New(signer(t), linkSigner(t), s.store, tokens, s.clock.Now, zap.New(core)))
	s.value = fmt.Sprintf(`{"apisix_consumers":true,"jwt":{"issuers":[{"issuer":"%s","audience":"%s","jwks_url":"%s","grants_claim":"scope"}]}}`,
		issuerName, testkit.Audience, s.issuer.URL())
	for _, resource := range []string{"orders", "users"} {
		if _, err := s.store.PutResource(t.Context(), contract.Resource{Name: resource}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// consumer makes one with the id con_NAME and a key.
func (s *scene) consumer(t testing.TB, name string, actions ...string) {
	t.Helper()
	c := contract.Consumer{ID: "con_" + name, Name: name, Grants: []contract.Grant{{Resource: "orders", Actions: actions}}}
	if err := s.store.PutConsumer(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	_, plain, err := s.store.CreateKey(t.Context(), c.ID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.keys[name] = plain
}

// way is one way to say who calls. credential adds a consumer's to a request.
type way struct {
	name       string
	credential func(t testing.TB, s *scene, name string, r *requesttest.Request)
}

// everything is a scope for all that the tests do.
const everything = "orders:subscribe orders:publish users:subscribe nowhere:subscribe"

func ways() []way {
	return []way{
		{"an API key", func(_ testing.TB, s *scene, name string, r *requesttest.Request) {
			key := s.keys[name]
			if key == "" {
				key = "whk_of-nobody"
			}
			s.secret = append(s.secret, key)
			r.Add("apikey", key)
		}},
		{"a JWT", func(t testing.TB, s *scene, name string, r *requesttest.Request) {
			token := s.issuer.Token(t, testkit.KeyEd, name, testkit.Part{"scope": everything})
			s.secret = append(s.secret, token, token[strings.LastIndexByte(token, '.')+1:])
			r.Add("Authorization", "Bearer "+token)
		}},
		{"a consumer of APISIX", func(_ testing.TB, s *scene, name string, r *requesttest.Request) {
			r.Vars = map[string]string{"consumer_name": name}
			s.secret = append(s.secret, "key-for-apisix")
			r.Add("apikey", "key-for-apisix")
		}},
	}
}

// call makes a call in the name of a consumer and returns the refusal, or who the statement says calls.
func (s *scene) call(t testing.TB, w way, name, method, target string, headers ...string) (*requesttest.Answer, contract.Caller) {
	t.Helper()
	r := requesttest.New(t, method, target, headers...)
	w.credential(t, s, name, r)
	return s.run(t, r)
}

func (s *scene) run(t testing.TB, r *requesttest.Request) (*requesttest.Answer, contract.Caller) {
	t.Helper()
	a := requesttest.Call(t, s.value, r, s)
	if a != nil {
		s.told.WriteString(fmt.Sprint(a.Header) + string(a.Body))
		return a, contract.Caller{}
	}
	_, header := r.Upstream()
	caller, err := signer(t).VerifyCaller(header["x-webhook-statement"][0])
	if err != nil {
		t.Fatal(err)
	}
	for name := range header {
		if name != "x-webhook-statement" && (contract.IsInternalHeader(name) || name == "apikey" || name == "authorization") {
			t.Errorf("the upstream gets %s", name)
		}
	}
	return nil, caller
}

// All ways share one suite of refusals.
func TestEveryWayIsRefusedAlike(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			s := setScene(t)
			s.consumer(t, "acme", "subscribe")
			s.consumer(t, "producer", "publish")
			s.consumer(t, "nothing")
			for name, c := range map[string]struct {
				who, method, target string
				headers             []string
				status              int
				detail              string
			}{
				"unknown":                     {who: "nobody", target: "/orders/subscribe", status: 401},
				"unknown, by half a name":     {who: "acm", target: "/orders/subscribe", status: 401},
				"unknown, unknown resource":   {who: "nobody", target: "/nowhere/subscribe", status: 401},
				"unknown resource":            {target: "/nowhere/subscribe", status: 404, detail: "nowhere"},
				"reserved resource":           {target: "/admin/subscribe", status: 404, detail: "reserved"},
				"no grant for the resource":   {target: "/users/subscribe", status: 403, detail: "subscribe on users"},
				"no grant at all":             {who: "nothing", target: "/orders/subscribe", status: 403, detail: "subscribe on orders"},
				"no grant to read":            {who: "nothing", target: "/orders/events", status: 403, detail: "publish on orders"},
				"wrong action, to publish":    {method: "POST", target: "/orders/events", status: 403, detail: "publish on orders"},
				"wrong action, to subscribe":  {who: "producer", method: "POST", target: "/orders/subscribe", status: 403, detail: "subscribe on orders"},
				"wrong action, to delete":     {who: "producer", method: "DELETE", target: "/orders/subscribe/sub_1", status: 403, detail: "subscribe on orders"},
				"an encoded path":             {target: "/orders/subscribe%2Fsub_1", status: 400, detail: "percent"},
				"a path with dots":            {target: "/x/../orders/subscribe", status: 400},
				"two content types":           {target: "/orders/subscribe", headers: []string{"Content-Type", "a/b", "Content-Type", "c/d"}, status: 400, detail: "Content-Type"},
				"two forged statements":       {target: "/orders/subscribe", headers: []string{"X-Webhook-Statement", "a", "X-Webhook-Statement", "b"}, status: 400},
				"two forged consumers":        {target: "/orders/subscribe", headers: []string{"X-Consumer-Username", "a", "X-Consumer-Username", "b"}, status: 400},
				"forged, of somebody unknown": {who: "nobody", target: "/orders/subscribe", headers: forged, status: 401},
				"forged, without the grant":   {who: "nothing", target: "/orders/subscribe", headers: forged, status: 403},
				"more headers than are seen":  {target: "/orders/subscribe", headers: many(100), status: 400, detail: "too many headers"},
			} {
				t.Run(name, func(t *testing.T) {
					if c.who == "" {
						c.who = "acme"
					}
					if c.method == "" {
						c.method = "GET"
					}
					a, caller := s.call(t, w, c.who, c.method, c.target, c.headers...)
					if a == nil || a.Status != c.status || !strings.Contains(a.Problem(t).Detail, c.detail) {
						t.Fatalf("got %+v, %+v", a, caller)
					}
					if (a.Header.Get(headerChallenge) != "") != (c.status == 401) {
						t.Errorf("%s: %s", headerChallenge, a.Header.Get(headerChallenge))
					}
				})
			}
			s.wantNothingTold(t)
		})
	}
}

// forged are headers by which a client could try to be somebody else.
var forged = []string{"X-Consumer-Username", "acme", "X-Consumer-Id", "con_acme", "x_consumer_username", "acme", "X-Consumer-Custom-Id", "acme",
	"X-Credential-Identifier", "acme", "X-Webhook-Statement", "a.b.c", "X-Webhook-Pass", "1", "consumer_name", "acme", "X-Userinfo", "e30="}

func many(n int) (headers []string) {
	for i := range n {
		headers = append(headers, fmt.Sprint("X-", i), "1")
	}
	return headers
}

func (s *scene) wantNothingTold(t testing.TB) {
	t.Helper()
	told := s.told.String() + fmt.Sprint(s.logs.All())
	for _, secret := range s.secret {
		if strings.Contains(told, secret) {
			t.Errorf("a credential is told: %s", told)
		}
	}
}

func TestEveryWayLeadsToTheConsumersID(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			s := setScene(t)
			s.consumer(t, "acme", "subscribe", "publish")
			for method, target := range map[string]string{"GET": "/orders/subscribe", "POST": "/orders/events"} {
				a, caller := s.call(t, w, "acme", method, target, forged...)
				if a != nil || caller.Consumer != "con_acme" || caller.Resource != "orders" {
					t.Errorf("%s %s: got %+v, %+v", method, target, a, caller)
				}
			}
		})
	}
}

// What stays open is looked after by these: see the API's streams.
func TestTheStatementSaysWhichKeyWasShownOrWhenTheTokenEnds(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	keys, err := s.store.Keys(t.Context(), "con_acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ways() {
		a, caller := s.call(t, w, "acme", "GET", "/orders/subscribe")
		byKey, byToken := w.name == "an API key", w.name == "a JWT"
		if a != nil || (caller.Key == keys[0].ID) != byKey || caller.Until.IsZero() == byToken {
			t.Errorf("%s: got %+v, %+v", w.name, a, caller)
		}
		if byToken && (time.Until(caller.Until) < time.Minute || time.Until(caller.Until) > 2*time.Hour) {
			t.Errorf("the token ends at %v", caller.Until)
		}
	}
}

func TestWhoeverIsDeletedIsRefusedWithinTheTTLHoweverTheyCame(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			s := setScene(t)
			s.consumer(t, "acme", "subscribe")
			s.wantStatus(t, w, 0)
			if err := s.store.DeleteConsumer(t.Context(), "con_acme"); err != nil {
				t.Fatal(err)
			}
			s.clock.Advance(ttl)
			s.wantStatus(t, w, 401)
		})
	}
}

func TestAGrantThatIsTakenAwayIsGoneWithinTheTTLHoweverTheyCame(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			s := setScene(t)
			s.consumer(t, "acme", "subscribe")
			s.wantStatus(t, w, 0)
			if _, err := s.store.ChangeConsumer(t.Context(), "con_acme", func(c *contract.Consumer) { c.Grants = nil }); err != nil {
				t.Fatal(err)
			}
			s.clock.Advance(ttl)
			s.wantStatus(t, w, 403)
		})
	}
}

func TestWithRedisDownEveryWayIsRefusedOnceTheAnswerIsTooOld(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	everyWay := func(want int) {
		for _, w := range ways() {
			t.Run(fmt.Sprint(w.name, " ", want), func(t *testing.T) { s.wantStatus(t, w, want) })
		}
	}
	everyWay(0)
	s.redis.Stop()
	everyWay(0)
	s.clock.Advance(ttl)
	everyWay(503)
	s.wantNothingTold(t)
}

// wantStatus calls for acme; zero is a call that goes on.
func (s *scene) wantStatus(t testing.TB, w way, want int) {
	t.Helper()
	a, _ := s.call(t, w, "acme", "GET", "/orders/subscribe")
	switch {
	case a == nil && want == 0:
	case a == nil || a.Status != want:
		t.Errorf("got %+v, want %d", a, want)
	case want == 503 && a.Header.Get("Retry-After") == "":
		t.Error("no Retry-After")
	}
}

func TestANameThatTwoConsumersHaveOpensNothing(t *testing.T) {
	for _, w := range ways()[1:] {
		t.Run(w.name, func(t *testing.T) {
			s := setScene(t)
			s.consumer(t, "acme", "subscribe")
			if err := s.store.PutConsumer(t.Context(), contract.Consumer{ID: "con_2", Name: "acme"}); err != nil {
				t.Fatal(err)
			}
			s.wantStatus(t, w, 401)
			if s.logs.FilterMessageSnippet("rename all but one").Len() != 1 {
				t.Error("the administrator is not told")
			}
		})
	}
}

func TestHostileTokensAreAllRefusedAlike(t *testing.T) {
	s, other := setScene(t), testkit.NewIssuer(t, "https://other.example")
	s.consumer(t, "acme", "subscribe")
	for _, h := range testkit.HostileTokens(t, s.issuer, other, "acme", other.URL()) {
		s.secret = append(s.secret, h.Token)
		a, _ := s.run(t, requesttest.New(t, "GET", "/orders/subscribe", "Authorization", "Bearer "+h.Token))
		if a == nil || a.Status != 401 || a.Header.Get(headerChallenge) != `ApiKey realm="webhooks", Bearer realm="webhooks", error="invalid_token"` ||
			!strings.HasPrefix(a.Problem(t).Detail, "the token is not accepted") {
			t.Errorf("%s: got %+v", h.Name, a)
		}
	}
	s.wantNothingTold(t)
}

func TestWhatAuthorizationMaySay(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	token := s.issuer.Token(t, testkit.KeyEC, "acme", testkit.Part{"scope": everything})
	const unasked, bad = `ApiKey realm="webhooks", Bearer realm="webhooks"`, `ApiKey realm="webhooks", Bearer realm="webhooks", error="invalid_token"`
	for value, challenge := range map[string]string{
		"Bearer " + token: "", "bearer " + token: "", "BEARER   " + token: "",
		token: unasked, "Bearer": unasked, "Bearer ": unasked, "Basic YWNtZTo=": unasked, "Token " + token: unasked, "JWT " + token: unasked,
		"Bearer," + token: unasked, "Bearer\t" + token: unasked, "Bearer\u00a0" + token: unasked,
		"Bearer " + token + " ": bad, "Bearer " + token + ", Bearer x": bad, "Bearer Bearer " + token: bad, `Bearer "` + token + `"`: bad,
		"Bearer token=" + token: bad, "Bearer " + s.keys["acme"]: bad,
	} {
		a, _ := s.run(t, requesttest.New(t, "GET", "/orders/subscribe", "Authorization", value))
		if challenge == "" && a == nil {
			continue
		}
		if a == nil || a.Status != 401 || a.Header.Get(headerChallenge) != challenge {
			t.Errorf("%.20q…: got %+v", value, a)
		}
	}
}

func TestATokenForLessIsToldWhatItLacks(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	a, _ := s.run(t, requesttest.New(t, "GET", "/orders/subscribe", "Authorization",
		"Bearer "+s.issuer.Token(t, testkit.KeyEC, "acme", testkit.Part{"scope": "orders:publish"})))
	want := `Bearer realm="webhooks", error="insufficient_scope", scope="orders:subscribe"`
	if a == nil || a.Status != 403 || a.Header.Get(headerChallenge) != want {
		t.Fatalf("got %+v", a)
	}
	a, _ = s.run(t, requesttest.New(t, "POST", "/orders/events", "Authorization",
		"Bearer "+s.issuer.Token(t, testkit.KeyEC, "acme", testkit.Part{"scope": "orders:publish"})))
	if a == nil || a.Status != 403 || !strings.Contains(a.Problem(t).Detail, "ask the administrator") {
		t.Fatalf("a token gave its consumer a grant: %+v", a)
	}
}

func TestWithoutTheIssuersKeysACallIsToComeAgain(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	s.issuer.Answer(http.NotFound)
	a, _ := s.call(t, ways()[1], "acme", "GET", "/orders/subscribe")
	if a == nil || a.Status != 503 || a.Header.Get("Retry-After") != "5" {
		t.Fatalf("got %+v", a)
	}
	s.wantNothingTold(t)
}

func TestApisixsConsumersAreBelievedOnlyWhereTheConfigurationSaysSo(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	s.consumer(t, "other", "subscribe")
	s.value = "{}"
	r := requesttest.New(t, "GET", "/orders/subscribe")
	r.Vars = map[string]string{"consumer_name": "acme"}
	if a, _ := s.run(t, r); a == nil || a.Status != 401 || a.Header.Get(headerChallenge) != `ApiKey realm="webhooks"` || r.VarCalls != 1 {
		t.Errorf("got %+v after %d questions", a, r.VarCalls)
	}
	r = requesttest.New(t, "GET", "/orders/subscribe", "apikey", s.keys["other"])
	r.Vars = map[string]string{"consumer_name": "acme"}
	if a, caller := s.run(t, r); a != nil || caller.Consumer != "con_other" {
		t.Errorf("got %+v, %+v", a, caller)
	}
}

func TestWithoutAConsumerOfApisixTheOtherWaysAreOpen(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	for _, w := range ways()[:2] {
		s.wantStatus(t, w, 0)
	}
	if a, _ := s.run(t, requesttest.New(t, "GET", "/orders/subscribe")); a == nil || a.Status != 401 ||
		!strings.Contains(a.Problem(t).Detail, "or a JWT") {
		t.Errorf("got %+v", a)
	}
}

// Whom APISIX let in is who calls: a key that it took, or that a client put beside, makes nobody else of them.
func TestApisixsConsumerGoesBeforeAKey(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	s.consumer(t, "other", "subscribe")
	r := requesttest.New(t, "GET", "/orders/subscribe", "apikey", s.keys["other"])
	r.Vars = map[string]string{"consumer_name": "acme"}
	if a, caller := s.run(t, r); a != nil || caller.Consumer != "con_acme" {
		t.Errorf("got %+v, %+v", a, caller)
	}
	r = requesttest.New(t, "GET", "/orders/subscribe", "apikey", s.keys["other"])
	r.Vars = map[string]string{"consumer_name": "nobody"}
	if a, _ := s.run(t, r); a == nil || a.Status != 401 {
		t.Errorf("a key let in whom APISIX says to be somebody else: %+v", a)
	}
}

func TestACallIsRefusedWhenApisixCannotSayWhoItLetIn(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	h := New(signer(t), linkSigner(t), s.store, nil, s.clock.Now, zap.NewNop())
	r := requesttest.New(t, "GET", "/orders/subscribe", "apikey", s.keys["acme"])
	r.VarErr = errors.New("connection closed")
	_, refusal := h.authenticate(filter.Config{ApisixConsumers: true}, r, "orders")
	if refusal == nil || refusal.Problem().Status != 503 {
		t.Fatalf("got %+v", refusal)
	}
}

// everybody is a directory that knows every name and no key.
type everybody struct{}

func (everybody) Authenticate(context.Context, string, string) (store.Access, error) {
	return store.Access{Known: true}, nil
}

func (everybody) AuthenticateConsumer(_ context.Context, name, _ string) (store.Access, error) {
	return store.Access{Consumer: name, Known: true, Actions: []string{"subscribe"}}, nil
}

// FuzzAuthorization: no bytes in Authorization let a call through that no issuer signed, or come back in the answer.
func FuzzAuthorization(f *testing.F) {
	issuer, stranger := testkit.NewIssuer(f, issuerName), testkit.NewIssuer(f, issuerName)
	tokens := bearer.NewVerifier(bearer.Options{Now: time.Now, Log: zap.NewNop()})
	f.Cleanup(tokens.Close)
	p := filter.NewGate(zap.NewNop(), nil).Plugin(Name, New(signer(f), linkSigner(f), everybody{}, tokens, time.Now, zap.NewNop()))
	value := fmt.Sprintf(`{"jwt":{"issuers":[{"issuer":"%s","audience":"%s","jwks_url":"%s"}]}}`, issuerName, testkit.Audience, issuer.URL())
	for _, h := range testkit.HostileTokens(f, stranger, stranger, "acme", "http://127.0.0.1:1/") {
		f.Add("Bearer " + h.Token)
	}
	f.Add("bearer  x")
	f.Fuzz(func(t *testing.T, authorization string) {
		a := requesttest.Call(t, value, requesttest.New(t, "GET", "/orders/subscribe", "Authorization", authorization), p)
		if a == nil || a.Status != 401 {
			t.Fatalf("got %+v", a)
		}
		if len(authorization) > 40 && strings.Contains(string(a.Body), authorization[20:]) {
			t.Fatalf("it comes back: %s", a.Body)
		}
	})
}

func BenchmarkSubscribeWithAKnownToken(b *testing.B) {
	issuer := testkit.NewIssuer(b, issuerName)
	tokens := bearer.NewVerifier(bearer.Options{Now: time.Now, Log: zap.NewNop()})
	b.Cleanup(tokens.Close)
	p := filter.NewGate(zap.NewNop(), nil).Plugin(Name, New(signer(b), linkSigner(b), everybody{}, tokens, time.Now, zap.NewNop()))
	conf, _ := p.ParseConf(fmt.Appendf(nil, `{"jwt":{"issuers":[{"issuer":"%s","audience":"%s","jwks_url":"%s"}]}}`, issuerName, testkit.Audience, issuer.URL()))
	r := requesttest.New(b, "GET", "/orders/subscribe", "Authorization", "Bearer "+issuer.Token(b, testkit.KeyRSA, "acme", nil), "accept", "*/*", "host", "x")
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		if requesttest.Run(b, conf, r, p) != nil {
			b.Fatal("refused")
		}
	}
}
