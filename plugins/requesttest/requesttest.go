// Package requesttest stands in for APISIX and the runner library in tests of the plugins. It knows what the two do to a
// request that would surprise: see Call.
package requesttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/apache/apisix-go-plugin-runner/pkg/plugin"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// shown is how many headers APISIX shows to a plugin.
const shown = 100

// Request is a client's request as a plugin sees it.
type Request struct {
	t      testing.TB
	method string
	raw    string
	client [][2]string

	// Vars are variables of APISIX beside real_request_uri.
	Vars map[string]string
	// VarErr makes Var fail.
	VarErr error
	// VarCalls counts the questions back to APISIX.
	VarCalls int

	path     []byte
	hdr, old http.Header
	args     url.Values
	respHdr  http.Header
}

// New makes a request. headers are names and values in turns, in the client's order and spelling.
func New(t testing.TB, method, target string, headers ...string) *Request {
	t.Helper()
	r := &Request{t: t, method: method, raw: target}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Add(headers[i], headers[i+1])
	}
	return r
}

// Add adds a header behind the others.
func (r *Request) Add(name, value string) { r.client = append(r.client, [2]string{name, value}) }

// Reset forgets what a plugin did, so that a benchmark can use the request again.
func (r *Request) Reset() { r.path, r.hdr, r.old, r.args, r.respHdr = nil, nil, nil, nil, nil }

// Touched reports whether the library would send APISIX a rewrite.
func (r *Request) Touched() bool {
	return r.path != nil || r.hdr != nil || r.args != nil || r.respHdr != nil
}

// Upstream is what the upstream gets: the path, or the raw target if the path was left alone, and the headers in lower case.
// Names with underscores are not the ones with hyphens.
func (r *Request) Upstream() (string, map[string][]string) {
	target := r.raw
	if r.path != nil {
		target = (&url.URL{Path: string(r.path)}).EscapedPath()
		if _, query, ok := strings.Cut(r.raw, "?"); ok {
			target += "?" + query
		}
	}
	out := map[string][]string{}
	for _, h := range r.client {
		name := strings.ToLower(h[0])
		out[name] = append(out[name], h[1])
	}
	for name := range r.old {
		if _, kept := r.hdr[name]; !kept {
			delete(out, strings.ToLower(name))
		}
	}
	for name, values := range r.hdr {
		if was, ok := r.old[name]; !ok || was[0] != values[0] { // only the first values are compared, and only the first is sent
			out[strings.ToLower(name)] = values[:1]
		}
	}
	return target, out
}

// ID is the call's number.
func (r *Request) ID() uint32 { return 1 }

// SrcIP is the client's address.
func (r *Request) SrcIP() net.IP { return net.IPv4(127, 0, 0, 1) }

// Method is the client's.
func (r *Request) Method() string { return r.method }

// Path is decoded, with slashes merged and dots resolved, as nginx does it.
func (r *Request) Path() []byte {
	if r.path != nil {
		return r.path
	}
	raw, _, _ := strings.Cut(r.raw, "?")
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		decoded = raw
	}
	clean := path.Clean(decoded)
	if strings.HasSuffix(decoded, "/") && clean != "/" {
		clean += "/"
	}
	return []byte(clean)
}

// SetPath changes the path.
func (r *Request) SetPath(p []byte) { r.path = p }

type header struct{ http.Header }

func (h header) View() http.Header { return h.Header }

// Header shows the first 100 headers. To ask is to change: the library then sends a rewrite.
func (r *Request) Header() pkgHTTP.Header {
	if r.hdr == nil {
		r.hdr = http.Header{}
		for _, h := range r.client[:min(shown, len(r.client))] {
			r.hdr.Add(h[0], h[1])
		}
		r.old = r.hdr.Clone()
	}
	return header{r.hdr}
}

// Args is the query.
func (r *Request) Args() url.Values {
	if r.args == nil {
		r.args = url.Values{}
	}
	return r.args
}

// Var knows real_request_uri and Vars.
func (r *Request) Var(name string) ([]byte, error) {
	r.VarCalls++
	if r.VarErr != nil {
		return nil, r.VarErr
	}
	if name == "real_request_uri" {
		return []byte(r.raw), nil
	}
	return []byte(r.Vars[name]), nil
}

// Body fails the test: of a larger body the unread bytes become protocol frames.
func (r *Request) Body() ([]byte, error) {
	r.t.Error("a plugin read the body")
	return nil, errors.New("not to be called")
}

// Context is the call's.
func (r *Request) Context() context.Context { return context.Background() }

// RespHeader are headers for the answer.
func (r *Request) RespHeader() http.Header {
	if r.respHdr == nil {
		r.respHdr = http.Header{}
	}
	return r.respHdr
}

// Answer is what the client gets instead of the upstream's answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

type writer struct {
	code   int
	header http.Header
	body   bytes.Buffer
}

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *writer) WriteHeader(status int) {
	if w.code == 0 {
		w.code = status
	}
}

// Call runs plugins in the order of a route, all under the same value, until one answers. Nil means that the call goes on.
// It fails the test where APISIX would garble the answer.
func Call(t testing.TB, value string, r *Request, plugins ...plugin.Plugin) *Answer {
	t.Helper()
	for _, p := range plugins {
		conf, err := p.ParseConf([]byte(value))
		if err != nil {
			t.Fatalf("%s: ParseConf failed, so APISIX would let the call through: %v", p.Name(), err)
		}
		if a := Run(t, conf, r, p); a != nil {
			return a
		}
	}
	return nil
}

// Run is Call for one plugin under a parsed configuration.
func Run(t testing.TB, conf any, r *Request, p plugin.Plugin) *Answer {
	t.Helper()
	w := &writer{header: http.Header{}}
	p.RequestFilter(conf, w, r)
	if w.code == 0 && w.body.Len() == 0 {
		return nil
	}
	a := &Answer{Status: w.code, Header: w.header, Body: w.body.Bytes()}
	a.check(t)
	return a
}

func (a *Answer) check(t testing.TB) {
	t.Helper()
	if _, set := a.Header["Content-Length"]; set {
		t.Error("Content-Length is set: APISIX would cut the body")
	}
	if len(a.Body) == 0 {
		t.Error("the body is empty: APISIX would put an HTML page there")
	}
	for name, values := range a.Header {
		if len(values) != 1 {
			t.Errorf("%s has %d values: only the last may survive", name, len(values))
		}
	}
	if ct := a.Header.Get("Content-Type"); ct != contract.MediaProblem {
		t.Errorf("Content-Type is %q", ct)
	}
	p := a.Problem(t)
	if kind, known := p.Kind(); !known || kind.Status() != a.Status || p.Status != a.Status || p.Title == "" || p.Detail == "" {
		t.Errorf("status %d with the problem %+v", a.Status, p)
	}
}

// Problem reads the body.
func (a *Answer) Problem(t testing.TB) contract.Problem {
	t.Helper()
	var p contract.Problem
	if err := json.Unmarshal(a.Body, &p); err != nil {
		t.Fatalf("the body is no problem: %v", err)
	}
	return p
}

// Names returns the header names in order, for comparisons.
func Names(headers map[string][]string) []string {
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
