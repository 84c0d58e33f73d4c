package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// bad is a body and where its fault is; message is a part of what is said of it.
type bad struct {
	name, body, location, message string
	status                        int
}

func subscribeBodies() []bad {
	const u = `"callback_url":"https://consumer.example/hooks"`
	field := func(name, field, location, message string) bad {
		return bad{name, `{` + u + `,` + field + `}`, location, message, 422}
	}
	url := func(name, url, message string) bad {
		return bad{"url " + name, fmt.Sprintf(`{"callback_url":%q}`, url), "body.callback_url", message, 422}
	}
	list := func(n int) string { return `["` + strings.Repeat(`a.b","`, n-1) + `a.b"]` }
	header := func(name string) bad {
		return field("header "+name, fmt.Sprintf(`"headers":{%q:"v"}`, name), "body.headers."+name, "reserved")
	}
	headers := func(n int) string {
		var pairs []string
		for i := range n {
			pairs = append(pairs, fmt.Sprintf(`"X-%d":"v"`, i))
		}
		return `"headers":{` + strings.Join(pairs, ",") + `}`
	}
	cases := []bad{
		{"no JSON", `{"callback_url":`, "body", "JSON", 400},
		{"not even close", `hello`, "body", "", 400},
		{"two documents", `{` + u + `}{}`, "body", "", 400},
		{"empty", ``, "", "", 400},
		{"an array", `[]`, "body", "object", 422},
		{"null", `null`, "body", "object", 422},
		{"a string", `"x"`, "body", "object", 422},
		{"nothing", `{}`, "body.callback_url", "required", 422},
		{"null url", `{"callback_url":null}`, "body.callback_url", "", 422},
		{"number url", `{"callback_url":5}`, "body.callback_url", "string", 422},
		url("empty", "", ""),
		url("relative", "/hooks", "relative"),
		url("no scheme", "consumer.example/hooks", "relative"),
		url("http", "http://consumer.example/", "http"),
		url("ftp", "ftp://consumer.example/", "scheme"),
		url("javascript", "javascript:alert(1)", "scheme"),
		url("credentials", "https://user:s3cr3tpw@consumer.example/", "credentials"),
		url("user", "https://user@consumer.example/", "credentials"),
		url("fragment", "https://consumer.example/#x", "fragment"),
		url("empty fragment", "https://consumer.example/#", "fragment"),
		url("port", "https://consumer.example:22/", "port"),
		url("redis's port", "https://consumer.example:6379/", "port"),
		url("port 0", "https://consumer.example:0/", "port"),
		url("no host", "https:///x", "host"),
		url("loopback", "https://127.0.0.1/", "private"),
		url("localhost", "https://localhost/", "private"),
		url("private", "https://10.0.0.1/", "private"),
		url("metadata", "https://169.254.169.254/latest", "private"),
		url("IPv6 loopback", "https://[::1]/", "private"),
		url("mapped", "https://[::ffff:127.0.0.1]/", "form of an IPv6"),
		url("decimal", "https://2130706433/", "number"),
		url("hex", "https://0x7f.1/", "number"),
		url("line feed", "https://consumer.example/\nX: y", "control"),
		url("space", "https://consumer.example/a b", "space"),
		url("backslash", `https://consumer.example\@127.0.0.1/`, "backslash"),
		url("too long", "https://consumer.example/"+strings.Repeat("a", 2048), ""),
		{"url in another case", `{"Callback_URL":"https://consumer.example/"}`, "body.Callback_URL", "unexpected", 422},
		field("unknown field", `"callbackurl":"x"`, "body.callbackurl", "unexpected"),
		field("unknown in auth", `"auth":{"type":"bearer","token":"x","y":1}`, "body.auth.y", "unexpected"),
		field("id", `"id":"sub_mine"`, "body.id", "unexpected"),
		field("status", `"status":"active"`, "body.status", "unexpected"),
		field("types no list", `"types":"a.b"`, "body.types", "array"),
		field("types of numbers", `"types":[1]`, "body.types[0]", "string"),
		field("too many types", `"types":`+list(51), "body.types", "50"),
		field("empty type", `"types":["a.b",""]`, "body.types[1]", "empty"),
		field("double star first", `"types":["**.a"]`, "body.types[0]", "last"),
		field("star in a word", `"types":["a*"]`, "body.types[0]", "segments"),
		field("type with a space", `"types":["a b"]`, "body.types[0]", "segments"),
		field("dot at the end", `"types":["a."]`, "body.types[0]", "segments"),
		field("format", `"format":"xml"`, "body.format", "one of"),
		field("too many headers", headers(21), "body.headers", "20"),
		field("header name", `"headers":{"X Team":"v"}`, "body.headers.X Team", "header name"),
		field("empty header name", `"headers":{"":"v"}`, "body.headers.", "header name"),
		field("header value", `"headers":{"X-Team":"a\r\nX-Evil: b"}`, "body.headers.X-Team", "control"),
		field("long header value", `"headers":{"X-Team":"`+strings.Repeat("v", 1025)+`"}`, "body.headers.X-Team", "1024"),
		field("header value no string", `"headers":{"X-Team":1}`, "body.headers.X-Team", "string"),
		field("header twice", `"headers":{"X-Team":"a","x-team":"b"}`, "body.headers.", "twice"),
		field("auth type", `"auth":{"type":"digest"}`, "body.auth.type", "one of"),
		field("auth without type", `"auth":{"token":"x"}`, "body.auth.type", "required"),
		field("no token", `"auth":{"type":"bearer"}`, "body.auth.token", "required"),
		field("token with a line feed", `"auth":{"type":"bearer","token":"a\nb"}`, "body.auth.token", "control"),
		field("no username", `"auth":{"type":"basic","password":"s3cr3tpw"}`, "body.auth.username", "required"),
		field("colon in the username", `"auth":{"type":"basic","username":"a:b","password":"s3cr3tpw"}`, "body.auth.username", "colon"),
		field("token for basic", `"auth":{"type":"basic","username":"a","token":"t0ken"}`, "body.auth.type", "basic"),
		field("password for bearer", `"auth":{"type":"bearer","token":"t0ken","password":"s3cr3tpw"}`, "body.auth.type", "bearer"),
		field("long description", `"description":"`+strings.Repeat("ä", 501)+`"`, "body.description", "500"),
	}
	for _, name := range []string{"filter", "transform"} {
		cases = append(cases,
			field(name, `"`+name+`":"data.x >"`, "body."+name, "line 1, column 9"),
			field("empty "+name, `"`+name+`":""`, "body."+name, "length"),
			field("long "+name, `"`+name+`":"`+strings.Repeat("ä", 4096)+`"`, "body."+name, "4096"),
			field(name+" as a number", `"`+name+`":1`, "body."+name, "string"))
	}
	cases = append(cases,
		field("no rate", `"rate_limit":0`, "body.rate_limit", "0.1"),
		field("negative rate", `"rate_limit":-1`, "body.rate_limit", "0.1"),
		field("rate too high", `"rate_limit":10000.1`, "body.rate_limit", "10000"),
		field("rate too fine", `"rate_limit":1.25`, "body.rate_limit", "one decimal"),
		field("rate as text", `"rate_limit":"5"`, "body.rate_limit", "number"),
		field("none in flight", `"max_in_flight":0`, "body.max_in_flight", "1"),
		field("too many in flight", `"max_in_flight":1001`, "body.max_in_flight", "1000"),
		field("half in flight", `"max_in_flight":1.5`, "body.max_in_flight", "integer"),
		field("ordering of another kind", `"ordering":"x"`, "body.ordering", "one of"),
		field("schedule no list", `"retry_schedule":"5s"`, "body.retry_schedule", "array"),
		field("wait without a unit", `"retry_schedule":["5s","30"]`, "body.retry_schedule[1]", "30s"),
		field("wait as a number", `"retry_schedule":[5]`, "body.retry_schedule[0]", "string"),
		field("no wait", `"retry_schedule":["0s"]`, "body.retry_schedule[0]", "more than zero"),
		field("negative wait", `"retry_schedule":["-5s"]`, "body.retry_schedule[0]", "more than zero"),
		field("wait too long", `"retry_schedule":["168h1s"]`, "body.retry_schedule[0]", "168h"),
		field("wait beyond numbers", `"retry_schedule":["9999999999h"]`, "body.retry_schedule[0]", "not a duration"),
		field("too many waits", `"retry_schedule":["1s"`+strings.Repeat(`,"1s"`, 50)+`]`, "body.retry_schedule", "50"),
		field("timeouts no object", `"timeouts":"5s"`, "body.timeouts", "object"),
		field("unknown timeout", `"timeouts":{"read":"5s"}`, "body.timeouts.read", "unexpected"),
		field("timeout too short", `"timeouts":{"connect":"99ms"}`, "body.timeouts.connect", "100ms"),
		field("timeout of zero", `"timeouts":{"header":"0s"}`, "body.timeouts.header", "100ms"),
		field("timeout too long", `"timeouts":{"total":"56s"}`, "body.timeouts.total", "55s"),
		field("timeout empty", `"timeouts":{"total":""}`, "body.timeouts.total", "not a duration"),
		field("timeout as a number", `"timeouts":{"total":5}`, "body.timeouts.total", "string"),
		field("status reason", `"status_reason":"mine"`, "body.status_reason", "unexpected"),
	)
	for _, name := range []string{
		"webhook-id", "Webhook-Signature", "ce-id", "CE-Foo", "Content-Type", "content-length", "Content-Encoding", "Host", "Connection",
		"Transfer-Encoding", "TE", "Upgrade", "Trailer", "Keep-Alive", "Proxy-Authorization", "X-Forwarded-For", "X-Real-IP", "X-Request-Id",
		"Forwarded", "Via", "traceparent", "tracestate", "Baggage", "Cookie", "Authorization", "User-Agent", "Accept-Encoding", "Expect", "apikey",
		"X-Webhook-Pass", "x_webhook_statement", "X-Consumer-Id", "X-Credential-Identifier", "X_Forwarded_For",
	} {
		cases = append(cases, header(name))
	}
	return cases
}

func TestBadSubscriptions(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	for _, c := range subscribeBodies() {
		t.Run(c.name, func(t *testing.T) {
			a := w.as(acme, "POST", "/orders/subscribe", c.body)
			require.True(t, found(a.problem(t, c.status), c.location, c.message), "%s", a.body)
			for _, secret := range []string{"s3cr3tpw", "t0ken"} {
				require.NotContains(t, string(a.body), secret)
			}
			require.Zero(t, w.stored(acme, "orders"))
		})
	}
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook, "description": "as it was"}).text(t, "id")
	before := w.as(acme, "GET", "/orders/subscribe/"+id, nil).json(t)
	for _, c := range patchBodies() {
		t.Run("patch "+c.name, func(t *testing.T) {
			a := w.as(acme, "PATCH", "/orders/subscribe/"+id, c.body)
			require.True(t, found(a.problem(t, c.status), c.location, c.message), "%s", a.body)
			require.Equal(t, before, w.as(acme, "GET", "/orders/subscribe/"+id, nil).json(t))
		})
	}
}

// patchBodies are those of subscribing that are no good for a patch either, and more.
func patchBodies() []bad {
	var cases []bad
	for _, c := range subscribeBodies() {
		if c.body != "{}" && c.name != "status" {
			cases = append(cases, c)
		}
	}
	return append(cases,
		bad{"status pending", `{"status":"pending"}`, "body.status", "one of", 422},
		bad{"status disabled", `{"status":"disabled"}`, "body.status", "one of", 422},
		bad{"status null", `{"status":null}`, "body.status", "taken away", 422},
		bad{"secret", `{"secret":"whsec_x"}`, "body.secret", "unexpected", 422},
		bad{"resource", `{"resource":"payments"}`, "body.resource", "unexpected", 422},
	)
}

// found tells whether a fault is named; a location may be a prefix, for what has no order.
func found(at map[string]string, location, message string) bool {
	if location == "" {
		return true
	}
	for where, text := range at {
		if (where == location || strings.HasSuffix(location, ".") && strings.HasPrefix(where, location)) && strings.Contains(text, message) {
			return true
		}
	}
	return false
}

func TestAllFaultsAtOnce(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	at := w.as(acme, "POST", "/orders/subscribe", `{"callback_url":"ftp://u:p@127.0.0.1:22/#x","types":["a","b*"],"nonsense":1,"filter":"x",
		"headers":{"Host":"x"},"format":"xml","auth":{"type":"bearer"},"rate_limit":1.25,"max_in_flight":0,"ordering":"x",
		"retry_schedule":["1s","soon","0s"],"timeouts":{"connect":"1s","header":"1h","total":"x"}}`).problem(t, 422)
	require.ElementsMatch(t, []string{
		"body.callback_url", "body.types[1]", "body.nonsense", "body.filter", "body.headers.Host", "body.format", "body.auth.token", "body.rate_limit",
		"body.max_in_flight", "body.ordering", "body.retry_schedule[1]", "body.retry_schedule[2]", "body.timeouts.header", "body.timeouts.total",
	},
		sortedKeys(at))
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range maps.Keys(m) {
		keys = append(keys, k)
	}
	return keys
}

func TestBodyLimitsAndMediaTypes(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	body := func(n int) string {
		const shape = `{"callback_url":"https://consumer.example/"%s}`
		return fmt.Sprintf(shape, strings.Repeat(" ", n-len(shape)+2))
	}
	w.as(acme, "POST", "/orders/subscribe", body(64<<10+1)).problem(t, http.StatusRequestEntityTooLarge)
	w.as(acme, "POST", "/orders/subscribe", body(1<<20)).problem(t, http.StatusRequestEntityTooLarge)
	require.Zero(t, w.stored(acme, "orders"))
	require.Equal(t, http.StatusCreated, w.as(acme, "POST", "/orders/subscribe", body(64<<10)).status)
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/cloudevents+json", "application/merge-patch+json", "nonsense;;"} {
		w.as(acme, "POST", "/orders/subscribe", body(100), "Content-Type", media).problem(t, http.StatusUnsupportedMediaType)
	}
	for _, media := range []string{"application/json; charset=utf-8", "APPLICATION/JSON", ""} {
		require.Equal(t, http.StatusOK, w.as(acme, "POST", "/orders/subscribe", body(100), "Content-Type", media).status, media)
	}
}

func TestStatements(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders", "payments")
	now := w.clock.Now()
	sign := func(key string, at time.Time, c contract.Caller) string {
		signer, err := contract.NewSigner([]byte(key), func() time.Time { return at })
		require.NoError(t, err)
		return must(signer.SignCaller(c))(t)
	}
	about := func(method, path string) contract.Caller {
		return contract.Caller{Consumer: acme, Resource: "orders", Action: "subscribe", Method: method, Path: path}
	}
	good := func(method, path string) string { return sign(gatewayKey, now, about(method, path)) }
	callback := must(w.signer.SignCallback(contract.Callback{Target: hook, Subscription: "sub_x", Delivery: "dlv_x"}))(t)
	unsigned := must(jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{
		"sub": acme, "resource": "orders", "action": "subscribe", "aud": "subscription-service", "iss": "apisix-webhooks/gateway", "exp": now.Add(time.Hour).Unix(),
	}).SignedString(jwt.UnsafeAllowNoneSignatureType))(t)
	refused := func(method, path string) map[string][]string {
		ours, good := about(method, path), good(method, path)
		but := func(change func(*contract.Caller)) []string {
			c := ours
			change(&c)
			return []string{sign(gatewayKey, now, c)}
		}
		return map[string][]string{
			"none":             nil,
			"empty":            {""},
			"two":              {good, good},
			"two in one":       {good + "," + good},
			"nonsense":         {"x.y.z"},
			"tampered":         {good[:len(good)-2] + "xx"},
			"another key":      {sign("another-key-of-the-tests-0123456789-abcdef", now, ours)},
			"expired":          {sign(gatewayKey, now.Add(-contract.CallerLife-contract.StatementLeeway-time.Second), ours)},
			"from the future":  {sign(gatewayKey, now.Add(time.Minute), ours)},
			"another audience": {callback},
			"no algorithm":     {unsigned},
			"another resource": but(func(c *contract.Caller) { c.Resource = "payments" }),
			"another action":   but(func(c *contract.Caller) { c.Action = "publish" }),
			"no consumer":      but(func(c *contract.Caller) { c.Consumer = "" }),
			"for anybody":      but(func(c *contract.Caller) { c.Consumer, c.Action = "", "public" }),
			"a public path's":  but(func(c *contract.Caller) { c.Consumer, c.Action, c.Resource = "", "public", contract.PathWebhookKeys }),
			"another method":   but(func(c *contract.Caller) { c.Method = "PATCH" }),
			"another path":     but(func(c *contract.Caller) { c.Path += "/sub_y" }),
			"with the prefix":  but(func(c *contract.Caller) { c.Path = contract.GatewayPrefix + c.Path }),
		}
	}
	for _, p := range []struct{ method, path string }{
		{"POST", "/orders/subscribe"}, {"GET", "/orders/subscribe"}, {"DELETE", "/orders/subscribe/sub_x"}, {"PUT", "/orders/subscribe"},
	} {
		for name, statements := range refused(p.method, p.path) {
			t.Run(name, func(t *testing.T) {
				var headers []string
				for _, s := range statements {
					headers = append(headers, contract.HeaderStatement, s)
				}
				a := w.call(p.method, w.gateway+"/gateway"+p.path, "{not JSON", headers...)
				a.problem(t, http.StatusUnauthorized)
				require.NotEmpty(t, a.header.Get("WWW-Authenticate"))
				require.Zero(t, w.stored(acme, "orders"))
			})
		}
	}
	t.Run("every path wants one", func(t *testing.T) {
		for _, path := range []string{"/", "/healthz", "/metrics", "/openapi.json", "/orders/subscribe", "/gateway", "/gateway/", "/gateway/orders",
			"/gateway/orders/events", "/gateway/orders/nothing", "/admin/v1/consumers", "/gateway/admin/v1/consumers", "/gateway//orders/subscribe", "/gateway/.well-known/webhook-keys", "/gateway/.well-known/other",
			"/gateway/orders%2Fsubscribe", "/gateway/./orders/subscribe"} {
			w.call("GET", w.gateway+path, nil).problem(t, http.StatusUnauthorized)
			w.call("GET", w.gateway+path, nil, "Authorization", "Bearer "+adminToken).problem(t, http.StatusUnauthorized)
			if !strings.HasPrefix(path, "/gateway/orders/subscribe") && path != "/gateway/orders/events" {
				w.call("GET", w.gateway+path, nil, contract.HeaderStatement, good("GET", "/orders/subscribe")).problem(t, http.StatusUnauthorized)
				w.call("GET", w.gateway+path, nil, contract.HeaderStatement, good("GET", strings.TrimPrefix(path, "/gateway"))).problem(t, http.StatusUnauthorized)
			}
		}
	})
	t.Run("the good one", func(t *testing.T) {
		call := func(method, path string) answer {
			return w.call(method, w.gateway+"/gateway"+path, nil, contract.HeaderStatement, good(method, path))
		}
		require.Equal(t, http.StatusOK, call("GET", "/orders/subscribe").status)
		call("GET", "/orders/subscribe/").problem(t, http.StatusNotFound)
		call("GET", "/orders/subscribe/sub_x/nothing").problem(t, http.StatusNotFound)
		a := call("PUT", "/orders/subscribe")
		a.problem(t, http.StatusMethodNotAllowed)
		require.Contains(t, a.header.Get("Allow"), "POST")
	})
}

func TestAStatementIsGoodForOneCallOnWhicheverReplica(t *testing.T) {
	redis, namespace := testkit.Redis(t), testkit.Namespace(t)
	replicas := []*world{newWorldIn(t, redis, namespace), newWorldIn(t, redis, namespace)}
	acme := replicas[0].consumer("acme", "orders")
	statement := must(replicas[0].signer.SignCaller(contract.Caller{Consumer: acme, Resource: "orders", Action: "subscribe", Method: "POST", Path: "/orders/subscribe"}))(t)
	call := func(w *world) answer {
		return w.call("POST", w.gateway+"/gateway/orders/subscribe", map[string]any{"callback_url": hook}, contract.HeaderStatement, statement)
	}
	require.Equal(t, http.StatusCreated, call(replicas[0]).status)
	for _, w := range []*world{replicas[0], replicas[1]} {
		a := call(w)
		a.problem(t, http.StatusUnauthorized)
		require.Contains(t, string(a.body), "used before")
		require.Contains(t, string(w.call("GET", w.admin+"/metrics", nil).body), `webhook_statements_refused_total{reason="used"} 1`)
	}
}

func TestWithoutRedisNobodyCanTellWhetherACallWasMadeBefore(t *testing.T) {
	server := testkit.StartRedis(t)
	w := newWorldOn(t, server.URL)
	acme := w.consumer("acme", "orders")
	server.Stop()
	a := w.as(acme, "POST", "/orders/events", map[string]any{})
	a.problem(t, http.StatusServiceUnavailable)
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.Zero(t, w.publisher.calls())
}

func TestAnExpiredStatementSaysSo(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	statement := must(w.signer.SignCaller(contract.Caller{Consumer: acme, Resource: "orders", Action: "subscribe", Method: "GET", Path: "/orders/subscribe"}))(t)
	w.clock.Advance(contract.CallerLife + contract.StatementLeeway + time.Second)
	a := w.call("GET", w.gateway+"/gateway/orders/subscribe", nil, contract.HeaderStatement, statement)
	a.problem(t, http.StatusUnauthorized)
	require.Contains(t, string(a.body), "within 30s")
}
