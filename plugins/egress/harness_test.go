package egress

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
)

// soon is the timeout of calls that are meant to run into it.
const soon = 150 * time.Millisecond

// bench is an egress behind a real listener, with its book.
type bench struct {
	t      testing.TB
	url    string
	book   *pass.Book
	clock  *testkit.Clock
	egress *Egress
	client *http.Client
}

func policy(t testing.TB, cidrs ...string) *guard.Policy {
	t.Helper()
	p, err := guard.New(cidrs, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newBench makes an egress that may dial loopback, unless the options say otherwise.
func newBench(t testing.TB, change ...func(*Options)) *bench {
	t.Helper()
	c := &testkit.Clock{}
	o := Options{Book: pass.NewBook(c.Now), Policy: policy(t, "127.0.0.0/8", "::1/128")}
	for _, f := range change {
		f(&o)
	}
	e := New(o)
	transport := &http.Transport{DisableCompression: true}
	address := serveFront(t, e)
	t.Cleanup(func() { transport.CloseIdleConnections(); e.Close() })
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &bench{t: t, url: "http://" + address, book: o.Book, clock: c, egress: e, client: client}
}

// serveFront serves a handler as the egress is served.
func serveFront(t testing.TB, handler http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, served := newFront(handler, zap.NewNop()), make(chan error, 1)
	go func() { served <- f.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := f.Shutdown(ctx); err != nil {
			t.Error(err, f.Close())
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func (b *bench) pass(target string, timeout time.Duration) string {
	b.t.Helper()
	return b.passFor(target, contract.Timeouts{Total: contract.Duration(timeout)})
}

func (b *bench) passFor(target string, timeouts contract.Timeouts) string {
	b.t.Helper()
	return b.issue(pass.Grant{Target: parse(b.t, target), Timeouts: timeouts})
}

func parse(t testing.TB, target string) *url.URL {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (b *bench) issue(grant pass.Grant) string {
	b.t.Helper()
	p, err := b.book.Issue(grant)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// result is what the gateway sees.
type result struct {
	status  int
	outcome contract.Outcome
	detail  contract.Detail
	header  http.Header
	body    []byte
}

// post sends one request with a pass, and headers in turns.
func (b *bench) post(pass string, body io.Reader, headers ...string) result {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, b.url+"/?x=ignored", body)
	if err != nil {
		b.t.Fatal(err)
	}
	if pass != "" {
		req.Header.Set(contract.HeaderPass, pass)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return b.do(req)
}

func (b *bench) do(req *http.Request) result {
	b.t.Helper()
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatalf("the egress gave no answer: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("the egress's answer broke: %v", err)
	}
	if values := resp.Header.Values(contract.HeaderOutcome); len(values) != 1 {
		b.t.Fatalf("%s has the values %v", contract.HeaderOutcome, values)
	}
	return result{resp.StatusCode, contract.Outcome(resp.Header.Get(contract.HeaderOutcome)), contract.Detail(resp.Header.Get(contract.HeaderDetail)), resp.Header, body}
}

// call sends a small body to a target.
func (b *bench) call(target string) result {
	b.t.Helper()
	return b.post(b.pass(target, 5*time.Second), bytes.NewReader([]byte(`{}`)))
}

// wantFailure checks a call that brought no answer of the endpoint.
func (r result) wantFailure(t testing.TB, outcome contract.Outcome, detail contract.Detail) {
	t.Helper()
	var p contract.Problem
	err := json.Unmarshal(r.body, &p)
	if r.outcome != outcome || r.detail != detail || err != nil || p != contract.KindOfOutcome(outcome).Problem(sentences[outcome]) || r.status != p.Status ||
		r.header.Get("Content-Type") != contract.MediaProblem {
		t.Fatalf("got %d %s (%s) %s, want %s (%s)", r.status, r.outcome, r.detail, r.body, outcome, detail)
	}
}

// serve starts an endpoint.
func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// raw starts an endpoint below HTTP: it gets every connection after the request's header has been read.
func raw(t testing.TB, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			talk(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// readRequest reads one request whole, so that closing the connection is no reset by unread bytes.
func readRequest(c net.Conn) {
	buffer := make([]byte, 64<<10)
	_, _ = c.Read(buffer)
}

// certificate makes a self-signed one for 127.0.0.1.
func certificate(t testing.TB, from, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
