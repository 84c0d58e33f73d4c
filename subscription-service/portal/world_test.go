package portal_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/portal"
)

const (
	gatewayKey = "the-key-of-the-tests-0123456789-abcdef"
	adminToken = "the-admin-token-of-the-tests"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the service with its portal over a real Redis, and a gateway before it that vouches as the plugin does.
type world struct {
	t         *testing.T
	store     *store.Store
	signer    *contract.Signer
	publisher *publisher
	clock     *testkit.Clock
	gateway   *httptest.Server
	admin     *httptest.Server
	logs      *testkit.Buffer
	ancestors []string
	where     func(*api.PortalOptions)
}

// embeddable lets a page of another origin embed the portal.
func embeddable(origins ...string) func(*world) { return func(w *world) { w.ancestors = origins } }

// at changes where the portal says that it is.
func at(change func(*api.PortalOptions)) func(*world) { return func(w *world) { w.where = change } }

func newWorld(t *testing.T, set ...func(*world)) *world {
	t.Helper()
	w := &world{t: t, publisher: &publisher{}, clock: testkit.NewClock(time.Now()), logs: &testkit.Buffer{}, where: func(*api.PortalOptions) {}}
	for _, s := range set {
		s(w)
	}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), w.logs, zapcore.DebugLevel))
	app := service.New(log)
	t.Cleanup(func() { require.NoError(t, app.Stop(5*time.Second)) })
	kept, err := store.Open(store.Options{URL: testkit.Redis(t), Namespace: testkit.Namespace(t), Service: "subscription-service", Keyring: keyring.Ephemeral()})
	require.NoError(t, err)
	app.OnStop("redis", func(context.Context) error { return kept.Close() })
	w.store = kept
	w.signer, err = contract.NewSigner([]byte(gatewayKey), w.clock.Now)
	require.NoError(t, err)
	known := catalogue.New(kept, log)
	app.Go("catalogue", known.Run)
	policy, err := guard.New([]string{"127.0.0.0/8"}, true)
	require.NoError(t, err)

	var gateway, admin http.Handler // known only once the servers have their addresses
	w.gateway = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.vouch(gateway, rw, r) }))
	w.admin = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { admin.ServeHTTP(rw, r) }))
	t.Cleanup(w.gateway.Close)
	t.Cleanup(w.admin.Close)
	where := api.PortalOptions{URL: w.gateway.URL}
	w.where(&where)
	admins, err := api.ParseAdmins(adminToken, nil)
	require.NoError(t, err)
	handlers, err := api.New(api.Options{
		Store: kept, Publisher: w.publisher, Archive: archive{}, Queues: queues{}, Names: rabbit.NamesFor("test"), Catalogue: known, Signer: w.signer, Policy: policy,
		Origin: "webhooks.example", Resolver: names{}, Admins: admins, Portal: where, Streams: api.StreamBounds{Beat: 20 * time.Millisecond}, Log: log, Metrics: app.Metrics, Now: w.clock.Now,
	}, app.Handler())
	require.NoError(t, err)
	pages, err := portal.New(portal.Options{API: handlers, Store: kept, Admins: admins, At: where, FrameAncestors: w.ancestors, Log: log, Now: w.clock.Now})
	require.NoError(t, err)
	pages.Mount(handlers)
	app.Go("streams", handlers.Run)
	gateway, admin = handlers.Gateway, handlers.Admin
	return w
}

// vouch does what the plugin webhook-subscribe does. The header apikey holds the consumer's id itself.
func (w *world) vouch(to http.Handler, rw http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	caller := contract.Caller{Method: r.Method, Path: path, From: "203.0.113.7", Resource: path, Action: contract.ActionPublic}
	if path == contract.PathPortalLinks {
		caller.Consumer, caller.Action, caller.Key = r.Header.Get("apikey"), contract.ActionPortal, r.Header.Get("X-Key-Of-The-Test")
	} else if !contract.IsPublic(path) {
		resource, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		caller.Consumer, caller.Resource, caller.Action = r.Header.Get("apikey"), resource, contract.ActionSubscribe
	}
	statement, err := w.signer.SignCaller(caller)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	r.Header.Set(contract.HeaderStatement, statement)
	r.URL.Path = contract.GatewayPrefix + path
	to.ServeHTTP(rw, r)
}

// consumer makes one with grants on resources, which it makes too.
func (w *world) consumer(name string, resources ...string) string {
	w.t.Helper()
	grants := []map[string]any{}
	for _, r := range resources {
		require.Less(w.t, w.asAdmin("PUT", "/admin/v1/resources/"+r, `{}`).status, 300)
		grants = append(grants, map[string]any{"resource": r, "actions": []string{"subscribe", "publish"}})
	}
	body, err := json.Marshal(map[string]any{"name": name, "grants": grants})
	require.NoError(w.t, err)
	return w.asAdmin("POST", "/admin/v1/consumers", string(body)).field("id")
}

// asAdmin calls the admin API with the token.
func (w *world) asAdmin(method, path, body string) answer {
	w.t.Helper()
	return w.stranger().do(method, w.admin.URL+path, body, "Authorization", "Bearer "+adminToken, "Content-Type", "application/json")
}

// asConsumer calls the API through the gateway.
func (w *world) asConsumer(id, method, path, body string) answer {
	w.t.Helper()
	return w.stranger().do(method, w.gateway.URL+path, body, "apikey", id, "Content-Type", "application/json")
}

// link makes a link for a consumer.
func (w *world) link(consumer string) string {
	w.t.Helper()
	a := w.asConsumer(consumer, "POST", "/portal/links", "")
	require.Equal(w.t, http.StatusCreated, a.status, a.body)
	return a.field("url")
}

// browser keeps cookies and follows redirects, as a browser without scripts does.
type browser struct {
	*http.Client

	t *testing.T
}

func (w *world) stranger() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	transport := &http.Transport{DisableKeepAlives: true}
	return &browser{&http.Client{Transport: transport, Jar: jar}, w.t}
}

// signedIn is a browser in which a consumer is signed in.
func (w *world) signedIn(consumer string) *browser {
	w.t.Helper()
	b := w.stranger()
	a := b.do("POST", w.link(consumer), "")
	require.Equal(w.t, http.StatusOK, a.status, a.body)
	return b
}

// signedInAdmin is a browser in which an admin is signed in, at the admin listener.
func (w *world) signedInAdmin() *browser {
	w.t.Helper()
	b := w.stranger()
	a := b.do("POST", w.asAdmin("POST", "/admin/v1/portal-links", "").field("url"), "")
	require.Equal(w.t, http.StatusOK, a.status, a.body)
	return b
}

// answer is what came back at the end of all redirects.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	url    *url.URL
	body   string
}

func (a answer) field(name string) string {
	a.t.Helper()
	var v map[string]any
	require.NoError(a.t, json.Unmarshal([]byte(a.body), &v), a.body)
	text, _ := v[name].(string)
	require.NotEmpty(a.t, text, a.body)
	return text
}

func (b *browser) do(method, url, body string, headers ...string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, url, strings.NewReader(body))
	require.NoError(b.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return answer{b.t, resp.StatusCode, resp.Header, resp.Request.URL, string(raw)}
}

// get opens a page that must be there.
func (b *browser) get(url string) answer {
	b.t.Helper()
	a := b.do("GET", url, "")
	require.Equal(b.t, http.StatusOK, a.status, a.body)
	return a
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// csrf is what the forms of a page carry.
func (a answer) csrf() string {
	a.t.Helper()
	found := csrfField.FindStringSubmatch(a.body)
	require.NotNil(a.t, found, a.body)
	return found[1]
}

// post sends a form, as a page that was opened does.
func (b *browser) post(page answer, path string, fields url.Values) answer {
	b.t.Helper()
	if fields == nil {
		fields = url.Values{}
	}
	fields.Set("csrf", page.csrf())
	to := page.url.Scheme + "://" + page.url.Host + path
	return b.do("POST", to, fields.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
}

// still forbids a browser to follow redirects.
func (b *browser) still() *browser {
	c := *b.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{&c, b.t}
}

// publisher stands for the broker.
type publisher struct {
	mu        sync.Mutex
	then      func(rabbit.Message) // what the rest of the services would do with it
	published []rabbit.Message
}

func (p *publisher) Publish(_ context.Context, messages ...rabbit.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.published = append(p.published, messages...)
	if p.then != nil {
		p.then(messages[0])
	}
	return nil
}

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.published)
}

// archive has no events.
type archive struct{}

func (archive) ReadStream(ctx context.Context, _ string, _ rabbit.StreamOffset, _ func(context.Context, []rabbit.StreamMessage) error) error {
	return nil
}

// queues are empty.
type queues struct{}

func (queues) Depths(context.Context, ...string) (map[string]int, error) { return nil, nil }

func (queues) Sift(context.Context, string, int, func(context.Context, []rabbit.Message) error) (int, error) {
	return 0, nil
}

// names know every host.
type names struct{}

func (names) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}
