package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a gateway and an admin API in one, that answer what a test says, and a command line that speaks to them.
type world struct {
	t      *testing.T
	server *httptest.Server
	calls  []call
	answer map[string]reply
	env    []string
	dir    string
	in     string
	config string
	handle func(rw http.ResponseWriter, body string) // in place of answer, once it is set
}

type call struct {
	method, path, body string
	header             http.Header
}

type reply struct {
	status int
	body   string
}

func newWorld(t *testing.T, answers map[string]reply) *world {
	t.Helper()
	w := &world{t: t, answer: answers, dir: t.TempDir()}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	w.config = filepath.Join(w.dir, "config", "contexts.yaml")
	w.env = []string{"GATEWAY_URL=" + w.server.URL, "ADMIN_URL=" + w.server.URL, "ADMIN_TOKEN=the-admin-token", "WEBHOOK_API_KEY=the-api-key"}
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.calls = append(w.calls, call{r.Method, r.URL.RequestURI(), string(body), r.Header})
	if w.handle != nil {
		w.handle(rw, string(body))
		return
	}
	answer, ok := w.answer[r.Method+" "+r.URL.Path]
	if !ok {
		answer = reply{404, `{"status":404,"detail":"there is nothing at this path"}`}
	}
	if rw.Header().Set("Content-Type", "application/json"); answer.status >= 400 {
		rw.Header().Set("Content-Type", "application/problem+json")
	}
	rw.WriteHeader(answer.status)
	fmt.Fprint(rw, answer.body)
}

// run runs a command line.
func (w *world) run(args ...string) (out, errs string, code exit.Code) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	got := Main(w.t.Context(), System{In: strings.NewReader(w.in), Out: &stdout, Err: &stderr, Environ: w.env, Dir: w.dir, ConfigFile: w.config, Now: time.Now}, args)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for _, secret := range []string{"the-admin-token", "the-api-key"} {
		require.NotContains(w.t, stdout.String()+stderr.String(), secret)
	}
	return stdout.String(), stderr.String(), exit.Code(got)
}

func (w *world) last() call {
	w.t.Helper()
	require.NotEmpty(w.t, w.calls)
	return w.calls[len(w.calls)-1]
}

func (w *world) file(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	require.NoError(w.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const sub = `{"id":"sub_1","resource":"orders","status":"active","callback_url":"https://a.example/\u001b[31m","format":"data","max_in_flight":10,"ordering":"none","description":"d"}`

func TestCommandsMakeTheCallsTheyShould(t *testing.T) {
	w := newWorld(t, map[string]reply{
		"PUT /admin/v1/resources/orders":                       {201, `{"name":"orders","types":[]}`},
		"GET /admin/v1/resources/orders":                       {200, `{"name":"orders","types":[{"name":"a"},{"name":"b","schema":{"x":1}}],"policy":{"schema_mode":"warn","timeouts":{"total":"5s","connect":"1s"}}}`},
		"PATCH /admin/v1/resources/orders":                     {200, `{"name":"orders","types":[]}`},
		"DELETE /admin/v1/resources/orders":                    {204, ""},
		"POST /admin/v1/consumers":                             {201, `{"id":"con_1","name":"acme","grants":[]}`},
		"GET /admin/v1/consumers":                              {200, `{"items":[{"id":"con_1","name":"acme"},{"id":"con_2","name":"twin"},{"id":"con_3","name":"twin"}]}`},
		"GET /admin/v1/consumers/con_1":                        {200, `{"id":"con_1","name":"acme","grants":[{"resource":"orders","actions":["subscribe","publish"]}],"limits":{"events_per_second":5}}`},
		"PATCH /admin/v1/consumers/con_1":                      {200, `{"id":"con_1","name":"acme"}`},
		"POST /admin/v1/consumers/con_1/keys":                  {201, `{"id":"key_1","key":"a-new-key"}`},
		"DELETE /admin/v1/consumers/con_1/keys/k":              {204, ""},
		"POST /admin/v1/consumers/con_1/portal-links":          {201, `{"url":"http://x/portal/sign-in/t"}`},
		"POST /portal/links":                                   {201, `{"url":"http://x/portal/sign-in/t"}`},
		"POST /orders/subscribe":                               {201, sub},
		"PATCH /orders/subscribe/sub_1":                        {200, sub},
		"POST /orders/subscribe/sub_1/verify":                  {202, sub},
		"DELETE /orders/subscribe/sub_1":                       {204, ""},
		"GET /orders/subscribe/sub_1/deliveries":               {200, `{"items":[]}`},
		"POST /orders/subscribe/sub_1/replay":                  {202, `{"id":"rpl_1","state":"running"}`},
		"GET /orders/subscribe/sub_1/replay/rpl_1":             {200, `{"id":"rpl_1","state":"done","sent":3}`},
		"POST /orders/subscribe/sub_1/deliveries/dlv_1/replay": {202, `{"id":"rpl_1","state":"running"}`},
		"GET /orders/subscribe/sub_1/explain":                  {200, `{"id":"e","source":"/s","matched":false,"reason":"filter","detail":"it is false","values":[{"expression":"data.total","value":"5"}]}`},
		"GET /admin/v1/events/%2Fs/e/explain":                  {200, `{"subscriptions":{"items":[]}}`},
		"GET /admin/v1/events//s/e/explain":                    {200, `{"subscriptions":{"items":[]}}`},
		"POST /orders/events":                                  {202, ""},
		"GET /orders/events/types":                             {200, `{"items":[{"name":"a"}]}`},
		"POST /orders/subscribe/preview":                       {200, `{"wanted":true,"types":{"matches":true,"reason":"all"},"filter":{"matches":true,"reason":"none"},"request":{"method":"POST","url":"https://a","headers":{"A":"b"},"body":"{}"}}`},
	})
	token := w.file("token", "a-bearer-token\n")
	w.file("sub.yaml", "callback_url: https://b.example/\nrate_limit: 5\nheaders:\n  X-A: a\n")
	w.file("schema.json", `{"type":"object"}`)
	w.file("resources.yaml", "- name: orders\n  types: [{name: a}]\n- name: orders\n")
	w.file("event.json", `{"specversion":"1.0","id":"1","source":"/a","type":"b"}`)
	for name, c := range map[string]struct {
		args   string
		method string
		path   string
		body   string // "" for none; compared as JSON
		out    string
	}{
		"put with flags":       {"resources put orders --type a --schema b=schema.json --policy schema_mode=reject --policy timeouts.total=5s --policy max_payload=10", "PUT", "/admin/v1/resources/orders", `{"types":[{"name":"a"},{"name":"b","schema":{"type":"object"}}],"policy":{"schema_mode":"reject","timeouts":{"total":"5s"},"max_payload":10}}`, "orders"},
		"apply":                {"resources apply -f resources.yaml", "PUT", "/admin/v1/resources/orders", `{}`, "created"},
		"types":                {"resources types orders --remove a --add c", "PATCH", "/admin/v1/resources/orders", `{"types":[{"name":"b","schema":{"x":1}},{"name":"c"}]}`, ""},
		"policy":               {"resources policy orders --set verification=any --unset timeouts.connect", "PATCH", "/admin/v1/resources/orders", `{"policy":{"schema_mode":"warn","verification":"any","timeouts":{"total":"5s"}}}`, "{}"},
		"no policy":            {"resources policy orders --clear", "PATCH", "/admin/v1/resources/orders", `{"policy":null}`, ""},
		"show the policy":      {"resources policy orders", "GET", "/admin/v1/resources/orders", "", "schema_mode"},
		"delete":               {"resources delete orders --yes", "DELETE", "/admin/v1/resources/orders", "", "resource orders deleted"},
		"consumer":             {"consumers create acme --grant orders:subscribe,publish --limit max_subscriptions=5", "POST", "/admin/v1/consumers", `{"name":"acme","grants":[{"resource":"orders","actions":["subscribe","publish"]}],"limits":{"max_subscriptions":5}}`, "con_1"},
		"grants":               {"consumers grants acme --add users:subscribe --remove orders:publish", "PATCH", "/admin/v1/consumers/con_1", `{"grants":[{"resource":"orders","actions":["subscribe"]},{"resource":"users","actions":["subscribe"]}]}`, ""},
		"limits":               {"consumers limits con_1 --set requests_per_second=7 --set events_per_second=0", "PATCH", "/admin/v1/consumers/con_1", `{"limits":{"requests_per_second":7}}`, ""},
		"key":                  {"keys create acme -q", "POST", "/admin/v1/consumers/con_1/keys", "", "a-new-key\n"},
		"revoke":               {"keys revoke con_1 k", "DELETE", "/admin/v1/consumers/con_1/keys/k", "", "revoked"},
		"audit":                {"resources get orders -o yaml", "GET", "/admin/v1/resources/orders", "", "---\nname: orders"},
		"portal":               {"portal -q", "POST", "/portal/links", "", "http://x/portal/sign-in/t\n"},
		"portal of a consumer": {"portal --consumer acme", "POST", "/admin/v1/consumers/con_1/portal-links", "", "sign-in"},
		"subscribe": {"subscribe orders -f sub.yaml --rate-limit 7 --type x.* --type y --header X-B=b --auth type=bearer --auth token=@" + token + " --retry-schedule none --attempt-timeout total=5s", "POST", "/orders/subscribe",
			`{"callback_url":"https://b.example/","rate_limit":7,"types":["x.*","y"],"headers":{"X-A":"a","X-B":"b"},"auth":{"type":"bearer","token":"a-bearer-token"},"retry_schedule":[],"timeouts":{"total":"5s"}}`, "https://a.example/?[31m"},
		"headers as a credential": {"subscribe orders --auth type=headers --auth headers.X-Key=k", "POST", "/orders/subscribe", `{"auth":{"type":"headers","headers":{"X-Key":"k"}}}`, ""},
		"update":                  {"subscriptions update orders/sub_1 --clear filter --max-in-flight 3", "PATCH", "/orders/subscribe/sub_1", `{"filter":null,"max_in_flight":3}`, ""},
		"pause":                   {"subs pause /orders/subscribe/sub_1", "PATCH", "/orders/subscribe/sub_1", `{"status":"paused"}`, "orders/sub_1 is active"},
		"verify-endpoint":         {"subscriptions verify-endpoint orders sub_1", "POST", "/orders/subscribe/sub_1/verify", "", ""},
		"unsubscribe":             {"subscriptions delete orders sub_1 -y", "DELETE", "/orders/subscribe/sub_1", "", ""},
		"preview":                 {"subscriptions preview orders --filter true --event event.json", "POST", "/orders/subscribe/preview", `{"subscription":{"filter":"true"},"event":{"specversion":"1.0","id":"1","source":"/a","type":"b"}}`, "wanted  yes"},
		"deliveries":              {"deliveries list orders sub_1 --status failed --type a --event-id e --since 2026-01-02T03:04:05Z", "GET", "/orders/subscribe/sub_1/deliveries?event_id=e&limit=50&since=2026-01-02T03%3A04%3A05Z&status=failed&type=a", "", "none"},
		"replay, detached":        {"replay orders sub_1 --since 2026-01-02T03:04:05Z --status failed --detach", "POST", "/orders/subscribe/sub_1/replay", `{"since":"2026-01-02T03:04:05Z","status":"failed"}`, "rpl_1"},
		"replay":                  {"replay orders sub_1 dlv_1", "GET", "/orders/subscribe/sub_1/replay/rpl_1", "", "deliveries sent"},
		"replay watch":            {"replay watch orders sub_1 rpl_1", "GET", "/orders/subscribe/sub_1/replay/rpl_1", "", "done"},
		"explain":                 {"explain e --subscription orders/sub_1 --source /s", "GET", "/orders/subscribe/sub_1/explain?event=e&source=%2Fs", "", "data.total = 5"},
		"explain to the admin":    {"explain e --source /s", "GET", "/admin/v1/events/%2Fs/e/explain?limit=50", "", ""},
		"event types":             {"events types orders", "GET", "/orders/events/types", "", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			out, errs, code := w.run(strings.Fields(c.args)...)
			require.Equal(t, exit.OK, code, errs)
			last := w.last()
			require.Equal(t, c.method+" "+c.path, last.method+" "+last.path)
			if require.Contains(t, out, c.out); c.body == "" {
				require.Empty(t, last.body)
			} else {
				require.JSONEq(t, c.body, last.body)
			}
			if strings.HasPrefix(last.path, "/admin/") {
				require.Equal(t, "Bearer the-admin-token", last.header.Get("Authorization"))
			} else {
				require.Equal(t, "the-api-key", last.header.Get("apikey"))
			}
			require.NotContains(t, out, "\x1b")
		})
	}
}

func TestExitCodes(t *testing.T) {
	w := newWorld(t, map[string]reply{
		"GET /admin/v1/resources/conflict": {409, `{"status":409,"detail":"x"}`},
		"GET /admin/v1/resources/refused":  {403, `{"status":403,"detail":"x"}`},
		"GET /admin/v1/resources/limited":  {429, `{"status":429,"detail":"x"}`},
		"PUT /admin/v1/resources/invalid":  {422, `{"status":422,"detail":"validation failed","errors":[{"location":"body.types[0].name","message":"is \u001b[31m there twice"}]}`},
		"PUT /admin/v1/resources/a":        {200, `{"name":"a","types":[]}`},
	})
	w.file("partly.yaml", "[{name: a}, {name: invalid}]")
	for args, want := range map[string]exit.Code{
		"resources get nothing": exit.NotFound, "resources get conflict": exit.Invalid, "resources get refused": exit.Refused, "resources get limited": exit.Unavailable,
		"resources put invalid": exit.Invalid, "resources apply -f partly.yaml": exit.Partial, "resources": exit.OK, "help exit-codes": exit.OK,
		"nonsense": exit.Usage, "resources nonsense": exit.Usage, "resources get": exit.Usage, "resources get a b": exit.Usage, "resources list --nonsense": exit.Usage,
		"resources list -o xml": exit.Usage, "deliveries list orders": exit.Usage, "deliveries list orders sub_1 more": exit.Usage, "deliveries list orders sub_1 --since yesterday": exit.Usage,
		"resources delete a": exit.Usage, "subscriptions update orders sub_1": exit.Usage, "replay orders sub_1": exit.Usage, "explain e": exit.Usage,
		"resources put a -f nothing.yaml": exit.Usage, "--admin-url http://127.0.0.1:1 resources list": exit.Unavailable, "--admin-url nonsense resources list": exit.Usage,
		"--context nothing resources list": exit.Usage, "events publish orders --via http --type a {": exit.Invalid, "events publish orders --via carrier {}": exit.Usage,
	} {
		_, errs, code := w.run(strings.Fields(args)...)
		require.Equal(t, want, code, "%s: %s", args, errs)
	}
}

func TestFaultsOfFieldsAreSaidOneByOne(t *testing.T) {
	w := newWorld(t, map[string]reply{"PUT /admin/v1/resources/a": {422, `{"type":"https://t","status":422,"detail":"validation failed","errors":[{"location":"body.types[0].name","message":"is \u001b[31mthere twice"}]}`}})
	_, errs, _ := w.run("resources", "put", "a")
	require.Equal(t, "webhookctl: 422 Unprocessable Entity: validation failed\n  body.types[0].name: is ?[31mthere twice\n", errs)
	_, errs, _ = w.run("resources", "put", "a", "-o", "json")
	var view struct {
		Error struct {
			Code    int `json:"exit_code"`
			Problem struct{ Errors []struct{ Location string } }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(errs), &view), errs)
	require.Equal(t, 5, view.Error.Code)
	require.Equal(t, "body.types[0].name", view.Error.Problem.Errors[0].Location)
}

func TestNamesOfTwoConsumersAreNobodys(t *testing.T) {
	w := newWorld(t, map[string]reply{"GET /admin/v1/consumers": {200, `{"items":[{"id":"con_2","name":"twin"},{"id":"con_3","name":"twin"}]}`}})
	_, errs, code := w.run("consumers", "get", "twin")
	require.Equal(t, exit.Usage, code)
	require.Contains(t, errs, "give the id of one")
	_, _, code = w.run("consumers", "get", "nobody")
	require.Equal(t, exit.NotFound, code)
}

func TestSecretsAreSavedForTheirOwnerAndNotShown(t *testing.T) {
	w := newWorld(t, map[string]reply{
		"POST /orders/subscribe":              {201, strings.TrimSuffix(sub, "}") + `,"secret":"whsec_abc"}`},
		"POST /admin/v1/consumers/con_1/keys": {201, `{"id":"key_1","key":"a-new-key"}`},
	})
	for _, format := range []string{"table", "json", "yaml"} {
		out, errs, code := w.run("subscribe", "orders", "--save-secret", "s", "-o", format)
		require.Equal(t, exit.OK, code, errs)
		require.NotContains(t, out, "whsec_abc")
		out, _, _ = w.run("keys", "create", "con_1", "--save", "k", "-o", format)
		require.NotContains(t, out, "a-new-key")
	}
	for file, want := range map[string]string{"s": "whsec_abc\n", "k": "a-new-key\n"} {
		text, err := os.ReadFile(filepath.Join(w.dir, file))
		require.NoError(t, err)
		require.Equal(t, want, string(text))
		info, err := os.Stat(filepath.Join(w.dir, file))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

func TestContexts(t *testing.T) {
	w := newWorld(t, map[string]reply{"GET /admin/v1/resources": {200, `{"items":[]}`}, "GET /orders/subscribe": {200, `{"items":[]}`}})
	w.env = nil
	w.file("key", "the-api-key")
	w.file("token", "the-admin-token")
	_, errs, code := w.run("resources", "list")
	require.Equal(t, exit.Usage, code)
	require.Contains(t, errs, "ADMIN_URL is not set: give --admin-url")
	_, errs, code = w.run("context", "set", "a", "--gateway-url", w.server.URL, "--admin-url", w.server.URL, "--key-file", filepath.Join(w.dir, "key"), "--admin-token-file", filepath.Join(w.dir, "token"), "--amqp-url", "amqp://u:the-api-key@h/")
	require.Equal(t, exit.OK, code, errs)
	_, errs, code = w.run("subs", "list", "orders", "-v")
	require.Equal(t, exit.OK, code, errs)
	require.Equal(t, "the-api-key", w.last().header.Get("apikey"))
	require.Contains(t, errs, "GATEWAY_URL is from the context a")
	for _, format := range []string{"table", "json"} {
		out, _, _ := w.run("context", "show", "a", "-o", format) // run looks for the secrets
		require.Contains(t, out, w.server.URL)
		require.Contains(t, out, "(set)")
	}
	_, errs, code = w.run("subs", "list", "orders", "--gateway-url", "http://127.0.0.1:1")
	require.Equal(t, exit.Usage, code, errs)
	require.Contains(t, errs, "WEBHOOK_API_KEY of the context a is not used")
	out, _, _ := w.run("context", "list")
	require.Contains(t, out, "current")
	_, _, code = w.run("context", "delete", "a")
	require.Equal(t, exit.OK, code)
	_, _, code = w.run("context", "use", "a")
	require.Equal(t, exit.NotFound, code)
}

func TestTheStackOfTheDirectoryIsFound(t *testing.T) {
	w := newWorld(t, map[string]reply{"GET /admin/v1/resources": {200, `{"items":[]}`}})
	require.NoError(t, os.Mkdir(filepath.Join(w.dir, ".run"), 0o700))
	w.file(".run/env", strings.Join(w.env, "\n"))
	w.env = nil
	_, errs, code := w.run("resources", "list", "-v")
	require.Equal(t, exit.OK, code, errs)
	require.Contains(t, errs, "ADMIN_URL is from .run/env")
	_, errs, _ = w.run("resources", "list")
	require.Empty(t, errs)
}

func TestCompletion(t *testing.T) {
	w := newWorld(t, map[string]reply{
		"GET /admin/v1/resources":                {200, `{"items":[{"name":"orders"},{"name":"users"}]}`},
		"GET /orders/subscribe":                  {200, `{"items":[` + sub + `]}`},
		"GET /admin/v1/consumers":                {200, `{"items":[{"id":"con_1","name":"acme"}]}`},
		"GET /admin/v1/consumers/con_1/keys":     {200, `{"items":[{"id":"key_1"}]}`},
		"GET /orders/subscribe/sub_1/deliveries": {200, `{"items":[{"id":"dlv_1","status":"failed"}]}`},
	})
	for args, want := range map[string]string{
		"resources get ": "orders\nusers\n", "subs get orders ": "sub_1\tactive", "keys revoke con_1 ": "key_1\n", "consumers get ": "con_1\tacme\n",
		"deliveries get orders sub_1 ": "dlv_1\tfailed", "resources list -o ": "table\njson\nyaml\n", "subscribe orders --format ": "cloudevents-structured\n", "subs get orders sub_1 ": ":4\n",
	} {
		out, _, _ := w.run(append([]string{"__complete"}, strings.Split(args, " ")...)...)
		require.Contains(t, out, want, args)
	}
	w.server.Close()
	out, _, _ := w.run("__complete", "resources", "get", "")
	require.Equal(t, ":4\n", out, "what fails completes nothing")
}

func TestPublishingOverHTTP(t *testing.T) {
	w := newWorld(t, map[string]reply{"POST /orders/events": {202, ""}})
	w.in = "{\"n\":1}\n{\"n\":2}\n"
	out, errs, code := w.run("events", "publish", "orders", "--type", "order.created", "--source", "/s", "--subject", "x", "--extension", "tenant=t", "--id-prefix", "p")
	require.Equal(t, exit.OK, code, errs)
	require.Equal(t, "published: the broker has confirmed 2 events\n", out)
	var sent []map[string]any
	require.NoError(t, json.Unmarshal([]byte(w.last().body), &sent))
	require.Equal(t, "p-2", sent[1]["id"])
	require.Equal(t, map[string]any{"n": 2.0}, sent[1]["data"])
	require.Equal(t, "t", sent[0]["tenant"])
	w.file("events", "{\"n\":1}\n{\"n\":2}\nbroken\n")
	_, errs, code = w.run("events", "publish", "orders", "--type", "a", "--id-prefix", "p", "-f", "events")
	require.Equal(t, exit.Partial, code)
	require.Contains(t, errs, "event 3, line 3")
	require.Contains(t, errs, "2 events are confirmed, up to event 2 on line 2; go on with --skip 2 --id-prefix p")
	out, _, code = w.run("events", "publish", "orders", "--type", "a", "--format", "data", "--content-type", "text/plain", "-q", "--id", "one", "plain")
	require.Equal(t, exit.OK, code)
	require.Equal(t, "one\n", out)
	require.Contains(t, w.last().body, `"data":"plain"`)
}

func TestTimelinesTellWhatHappened(t *testing.T) {
	w := newWorld(t, map[string]reply{"GET /orders/subscribe/sub_1/deliveries/dlv_1": {200, `{"id":"dlv_1","status":"failed","event_id":"e","event_source":"/s","attempt_count":2,"attempts":[
		{"number":2,"status":500,"outcome":"answered","error":"it answered 500","timings":{"queued_ms":1.5,"total_ms":20,"reused":true},
		 "request":{"method":"POST","url":"https://a/it's","headers":[{"name":"X-A","value":"b"},{"name":"Content-Length","value":"2"}],"body":"{}","body_bytes":2},
		 "response":{"status":500,"headers":[{"name":"Server","value":"\u001b]0;x"}],"body":"oops","body_cut":true}}]}`}})
	out, errs, code := w.run("deliveries", "get", "orders", "sub_1", "dlv_1")
	require.Equal(t, exit.OK, code, errs)
	for _, want := range []string{"dlv_1", "e of /s", "#2", "500  answered", "queued 1.5 ms, total 20.0 ms, over a connection that was there", "of 2 attempts the last 1 are kept"} {
		require.Contains(t, out, want)
	}
	require.NotContains(t, out, "oops")
	out, _, _ = w.run("deliveries", "get", "orders", "sub_1", "dlv_1", "--full")
	for _, want := range []string{"> POST https://a/it's", "> X-A: b", "< 500 Internal Server Error", "< Server: ?]0;x", "< oops", "(there was more)"} {
		require.Contains(t, out, want)
	}
	out, _, _ = w.run("deliveries", "get", "orders", "sub_1", "dlv_1", "--curl")
	require.Equal(t, "curl -sS -i -X 'POST' 'https://a/it'\\''s' \\\n  -H 'X-A: b' \\\n  --data-binary '{}'\n", out)
}

func TestTheReferenceIsUpToDate(t *testing.T) {
	w := newWorld(t, nil)
	want, _, code := w.run("docs")
	require.Equal(t, exit.OK, code)
	got, err := os.ReadFile("../../docs/cli.md")
	require.NoError(t, err)
	require.Equal(t, want, string(got), "run bin/webhookctl docs >docs/cli.md")
}

// TestEveryCommandIsDescribed keeps help complete: a short description, and no flag without one.
func TestEveryCommandIsDescribed(t *testing.T) {
	w := newWorld(t, nil)
	out, _, _ := w.run("docs")
	for _, command := range []string{"resources apply", "keys create", "deliveries tail", "replay watch", "events publish", "exit-codes", "context set", "subscriptions preview"} {
		require.Contains(t, out, "## webhookctl "+command+"\n")
	}
	require.NotContains(t, out, w.dir)
}

func TestAReplaysShareIsByTime(t *testing.T) {
	at := func(minutes int) time.Time { return time.Unix(1e9, 0).Add(time.Duration(minutes) * time.Minute) }
	for _, c := range []struct {
		r    contract.Replay
		want int64
	}{
		{contract.Replay{Since: at(0), Until: at(10), CreatedAt: at(20), Reached: at(5)}, 500},
		{contract.Replay{Since: at(0), Until: at(1000), CreatedAt: at(10), Reached: at(5)}, 500},
		{contract.Replay{Since: at(0), Until: at(10), CreatedAt: at(20)}, 0},
		{contract.Replay{Since: at(0), Until: at(10), CreatedAt: at(20), Reached: at(11)}, whole},
		{contract.Replay{Since: at(0), Until: at(0), CreatedAt: at(0), Reached: at(0)}, 0},
	} {
		require.Equal(t, c.want, share(c.r), "%+v", c.r)
	}
}

func TestDeadLettersAreTriedUntilNoneRemains(t *testing.T) {
	w := newWorld(t, map[string]reply{
		"GET /admin/v1/dead-letters": {200, `{"items":[{"id":"dev_1","kind":"event","resource":"orders","reason":"no \u001bschema","at":"2026-01-02T03:04:05Z"}]}`},
		"GET /admin/v1/breakers":     {200, `{"items":[{"subscription_id":"sub_1","failures":7,"reason":"timeout"}]}`},
	})
	out, errs, code := w.run("dead-letters", "list", "--kind", "event", "--reason", "schema", "--subscription", "orders/sub_1")
	require.Equal(t, exit.OK, code, errs)
	require.Contains(t, out, "no ?schema")
	require.Equal(t, "/admin/v1/dead-letters?kind=event&limit=50&reason=schema&subscription=sub_1", w.last().path)
	out, _, _ = w.run("breakers", "--resource", "orders")
	require.Contains(t, out, "timeout")
	require.Equal(t, "/admin/v1/breakers?resource=orders", w.last().path)

	parts := []string{`{"replays":1,"deliveries":4,"events":2,"remaining":9,"skipped":[{"subscription_id":"sub_2","reason":"it is paused"}]}`, `{"events":3,"remaining":0,"skipped":[]}`}
	var bodies []string
	w.handle = func(rw http.ResponseWriter, body string) {
		bodies = append(bodies, body)
		fmt.Fprint(rw, parts[len(bodies)-1])
	}
	out, errs, code = w.run("dead-letters", "replay", "--resource", "orders", "dev_1")
	require.Equal(t, exit.OK, code, errs)
	require.Contains(t, out, "5 published anew")
	require.Contains(t, out, "sub_2 was left out: it is paused")
	require.JSONEq(t, `{"resource":"orders","ids":["dev_1"]}`, bodies[0])
	require.JSONEq(t, `{"resource":"orders","ids":["dev_1"],"remaining":9}`, bodies[1])
	_, _, code = w.run("dead-letters", "replay")
	require.Equal(t, exit.Usage, code)
	_, errs, code = w.run("dead-letters", "replay", "--all")
	require.Equal(t, exit.Usage, code)
	require.Contains(t, errs, "--yes says so")
}

func TestTailGoesOnAfterTheLastEventOfAStreamThatBroke(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var asked []string
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		if len(asked) == 3 {
			cancel()
			return
		}
		fmt.Fprintf(w, ": beat\n\nid: %d\nevent: attempt\ndata: {\"delivery\":{\"id\":\"dlv_%d\",\"status\":\"failed\"},\"attempt\":{\"number\":1,\"status\":500}}\n\n", len(asked), len(asked))
	}))
	defer gateway.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	var out, errs bytes.Buffer
	code := Main(ctx, System{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: []string{"GATEWAY_URL=" + gateway.URL, "WEBHOOK_API_KEY=k"}, Dir: t.TempDir(), Now: time.Now},
		[]string{"deliveries", "tail", "orders", "sub_1", "--status", "failed"})
	require.Zero(t, code, errs.String())
	require.Equal(t, []string{"", "1", "2"}, asked)
	require.Contains(t, out.String(), "dlv_1")
	require.Contains(t, out.String(), "dlv_2")
}
