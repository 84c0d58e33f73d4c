package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
)

const (
	gatewayKey = "the-key-of-the-tests-0123456789-abcdef"
	adminToken = "the-admin-token-of-the-tests"
)

// oneRing is that of all worlds: several may share a Redis, as replicas do.
var oneRing = keyring.Ephemeral()

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the API on two ports of its own, over a real Redis. It keeps all that it answered and logged.
type world struct {
	t          *testing.T
	gateway    string
	admin      string
	store      *store.Store
	app        *service.App
	signer     *contract.Signer
	publisher  *fakePublisher
	archive    shelf
	queue      fakeQueue
	dns        *names
	networks   []string // that the admin has opened
	clock      *testkit.Clock
	client     *http.Client
	transcript *testkit.Buffer
	allowHTTP  bool
	admins     []string // further admin tokens
	redis      string
	namespace  string
	limits     contract.Limits
}

func newWorld(t *testing.T) *world { return newWorldOn(t, testkit.Redis(t)) }

func newWorldOn(t *testing.T, redis string, set ...func(*world)) *world {
	return newWorldIn(t, redis, testkit.Namespace(t), set...)
}

// plain is a world whose administrator allows http.
func plain(w *world) { w.allowHTTP = true }

func newWorldIn(t *testing.T, redis, namespace string, set ...func(*world)) *world {
	t.Helper()
	w := &world{
		t: t, redis: redis, namespace: namespace, publisher: &fakePublisher{}, dns: newNames(), networks: []string{"10.1.0.0/16"},
		clock: testkit.NewClock(time.Now()), transcript: &testkit.Buffer{},
	}
	for _, s := range set {
		s(w)
	}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), w.transcript, zapcore.DebugLevel))
	w.app = service.New(log)
	t.Cleanup(func() { require.NoError(t, w.app.Stop(5*time.Second)) })
	kept, err := store.Open(store.Options{
		URL: redis, Namespace: namespace, Service: "subscription-service", MaxSubscriptions: w.limits.MaxSubscriptions, Keyring: oneRing,
	})
	require.NoError(t, err)
	w.store = kept
	w.app.OnStop("redis", func(context.Context) error { return kept.Close() })
	w.app.Health.Check("redis", kept.Writable)
	policy, err := guard.New(w.networks, w.allowHTTP)
	require.NoError(t, err)
	w.signer, err = contract.NewSigner([]byte(gatewayKey), w.clock.Now)
	require.NoError(t, err)

	known := catalogue.New(kept, log)
	w.app.Go("catalogue", known.Run)

	handlers, err := api.New(api.Options{
		Store: kept, Publisher: w.publisher, Archive: &w.archive, Queues: &w.queue, Names: rabbit.NamesFor("test"), Catalogue: known, Signer: w.signer, Policy: policy, Origin: "webhooks.example", Resolver: w.dns, Admins: must(api.ParseAdmins(adminToken, w.admins))(t), Limits: w.limits,
		Log: log, Metrics: w.app.Metrics, Now: w.clock.Now,
	}, w.app.Handler())
	require.NoError(t, err)
	w.app.Go("streams", handlers.Run)
	w.gateway = "http://" + must(w.app.Listen("gateway", "127.0.0.1:0", handlers.Gateway))(t)
	w.admin = "http://" + must(w.app.Listen("admin", "127.0.0.1:0", handlers.Admin))(t)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: stating{transport, w.signer}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return w
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(a.body, &v), "%s", a.body)
	return v
}

func (a answer) text(t *testing.T, field string) string {
	t.Helper()
	s, _ := a.json(t)[field].(string)
	require.NotEmpty(t, s, "%s in %s", field, a.body)
	return s
}

func (a answer) items(t *testing.T) []map[string]any {
	t.Helper()
	var list struct {
		Items []map[string]any `json:"items"`
	}
	require.NoError(t, json.Unmarshal(a.body, &list))
	require.NotNil(t, list.Items, "%s", a.body)
	return list.Items
}

// problem checks the form of an error answer and returns location → messages.
func (a answer) problem(t *testing.T, status int) map[string]string {
	t.Helper()
	require.Equal(t, status, a.status, "%s", a.body)
	require.Equal(t, contract.MediaProblem, a.header.Get("Content-Type"))
	var p struct {
		Type, Title, Detail string

		Status int
		Errors []map[string]any
	}
	require.NoError(t, json.Unmarshal(a.body, &p), "%s", a.body)
	require.Equal(t, status, p.Status)
	require.Equal(t, http.StatusText(status), p.Title)
	kind, known := contract.KindFromURL(p.Type)
	require.True(t, known, "the type %q is not in the catalogue of errors", p.Type)
	require.Equal(t, status, kind.Status(), kind)
	require.NotEmpty(t, p.Detail)
	at := map[string]string{}
	for _, e := range p.Errors {
		require.NotContains(t, e, "value")
		at[fmt.Sprint(e["location"])] += fmt.Sprintln(e["message"])
	}
	return at
}

// call sends a request; every answer is kept for the search for secrets.
func (w *world) call(method, url string, body any, headers ...string) answer {
	w.t.Helper()
	a, err := w.try(method, url, body, headers...)
	require.NoError(w.t, err)
	return a
}

func (w *world) try(method, url string, body any, headers ...string) (answer, error) {
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	case []byte:
		content = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url, content)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Content-Type" {
			req.Header.Del("Content-Type")
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, raw}, err
}

// as calls like the gateway does for a consumer: path is the public one.
func (w *world) as(consumer, method, path string, body any, headers ...string) answer {
	w.t.Helper()
	resource, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	action := contract.ActionSubscribe
	if strings.HasPrefix(rest, "events") {
		action = contract.ActionPublish
	}
	if path == contract.PathPortalLinks {
		resource, action = path, contract.ActionPortal
	}
	return w.call(method, w.gateway+"/gateway"+path, body, append([]string{contract.HeaderStatement, w.statement(consumer, resource, action)}, headers...)...)
}

// statement stands for a statement about whichever call it is sent with; see stating.
func (w *world) statement(consumer, resource, action string) string {
	return strings.Join([]string{"state", consumer, resource, action}, "|")
}

// stating makes the statements, as the gateway does: each is good for one call.
type stating struct {
	http.RoundTripper

	signer *contract.Signer
}

func (s stating) RoundTrip(r *http.Request) (*http.Response, error) {
	parts := strings.Split(r.Header.Get(contract.HeaderStatement), "|")
	if len(parts) == 4 && parts[0] == "state" {
		statement, err := s.signer.SignCaller(contract.Caller{
			Consumer: parts[1], Resource: parts[2], Action: parts[3], Method: r.Method, Path: strings.TrimPrefix(r.URL.Path, contract.GatewayPrefix),
			From: "203.0.113.7",
		})
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Header.Set(contract.HeaderStatement, statement)
	}
	return s.RoundTripper.RoundTrip(r)
}

// asAdmin calls the admin API.
func (w *world) asAdmin(method, path string, body any) answer {
	w.t.Helper()
	return w.call(method, w.admin+path, body, "Authorization", "Bearer "+adminToken)
}

// consumer makes a consumer, and the resources that it may use.
func (w *world) consumer(name string, resources ...string) string {
	w.t.Helper()
	var grants []map[string]any
	for _, r := range resources {
		require.Less(w.t, w.asAdmin("PUT", "/admin/v1/resources/"+r, map[string]any{}).status, 300)
		grants = append(grants, map[string]any{"resource": r, "actions": []string{"subscribe", "publish"}})
	}
	a := w.asAdmin("POST", "/admin/v1/consumers", map[string]any{"name": name, "grants": grants})
	require.Equal(w.t, http.StatusCreated, a.status, "%s", a.body)
	return a.text(w.t, "id")
}

// stored counts a consumer's subscriptions.
func (w *world) stored(consumer, resource string) int {
	w.t.Helper()
	subs, _, err := w.store.Subscriptions(context.Background(), consumer, resource, "", 100)
	require.NoError(w.t, err)
	return len(subs)
}

// fakePublisher stands for the broker.
type fakePublisher struct {
	panics    atomic.Bool
	during    func() // what happens while it publishes
	mu        sync.Mutex
	err       error
	called    int
	published []rabbit.Message
}

func (p *fakePublisher) Publish(_ context.Context, messages ...rabbit.Message) error {
	if p.panics.Load() {
		panic("s3cr3t")
	}
	if p.during != nil {
		p.during()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.called++
	if p.err == nil {
		for _, m := range messages {
			m.Body = bytes.Clone(m.Body)
			p.published = append(p.published, m)
		}
	}
	return p.err
}

func (p *fakePublisher) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// calls is how often Publish was called, each of which is confirmed as a whole.
func (p *fakePublisher) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.called
}

func (p *fakePublisher) take() []rabbit.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	published := p.published
	p.published = nil
	return published
}

// names stands for DNS. What it was not told does not exist.
type names struct {
	mu        sync.Mutex
	addresses map[string][]netip.Addr
	asked     []string
}

func newNames() *names { return &names{addresses: map[string][]netip.Addr{}} }

func (n *names) set(host string, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses[host+"."] = nil
	for _, text := range addresses {
		n.addresses[host+"."] = append(n.addresses[host+"."], netip.MustParseAddr(text))
	}
}

// take returns what was asked since the last time.
func (n *names) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := n.asked
	n.asked = nil
	return asked
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, host)
	addresses := n.addresses[host]
	if len(addresses) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return slices.Clone(addresses), nil
}
