package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
)

// StatusClientGone is what nginx logs for a client that hung up before its answer.
const StatusClientGone = 499

// Exchange is what the proxy needs to know of one request, and tells of its answer. There is one per client
// connection, used again for each of its requests.
type Exchange struct {
	Target    string   // path and query, as the upstream gets them
	Host      string   // the Host header
	RemoteIP  []string // one element, ready to be a header; never changed in place
	RequestID []string // likewise; nil: none in the answer
	Status    int      // of the answer

	in *http.Request // what the proxy was given
}

type exchangeKey struct{}

// WithExchange gives the requests of a connection their exchange.
func WithExchange(ctx context.Context, x *Exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

func exchangeOf(ctx context.Context) *Exchange {
	x, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return x
}

// New makes the proxy to one upstream node. Its requests must carry an Exchange. Streams of events end with closing.
func New(closing context.Context, upstream config.Upstream, timeout config.Timeout, transport http.RoundTripper, log *zap.Logger) *httputil.ReverseProxy {
	errorLog, _ := zap.NewStdLogAt(log, zap.WarnLevel)
	return &httputil.ReverseProxy{
		Rewrite:   func(pr *httputil.ProxyRequest) { rewrite(pr, upstream) },
		Transport: transport,
		ModifyResponse: func(res *http.Response) error {
			finish(closing, exchangeOf(res.Request.Context()), res, timeout)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			fail(w, exchangeOf(r.Context()), err, log.With(zap.String("node", upstream.Node)))
		},
		ErrorLog:   errorLog,
		BufferPool: buffers,
	}
}

func rewrite(pr *httputil.ProxyRequest, upstream config.Upstream) {
	x := exchangeOf(pr.In.Context())
	x.in = pr.In
	out := pr.Out
	out.URL.Scheme, out.URL.Host, out.Host = "http", upstream.Node, x.Host // TLS, if any, is the dialler's
	if upstream.HostOfNode {
		out.Host = upstream.Node
	}
	setTarget(out.URL, x.Target)
	h := out.Header
	h["X-Real-Ip"] = x.RemoteIP
	h["X-Forwarded-For"] = forwardedFor(pr.In.Header["X-Forwarded-For"], x.RemoteIP)
	for _, name := range [...]string{"X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"} {
		if v, ok := pr.In.Header[name]; ok { // ReverseProxy took them out; the gateway's own are the ones to send
			h[name] = v
		}
	}
	pr.In.Header = nil // a call that waits holds one set of headers and not two
}

func forwardedFor(before, remote []string) []string {
	if len(before) == 0 {
		return remote
	}
	return []string{strings.Join(before, ", ") + ", " + remote[0]}
}

// setTarget makes u send target as it is written.
func setTarget(u *url.URL, target string) {
	u.RawQuery, u.ForceQuery, u.RawPath = "", false, ""
	if !strings.HasPrefix(target, "//") {
		u.Opaque = target
		return
	}
	// net/url would take an opaque part that begins with // for a host.
	path, query, has := strings.Cut(target, "?")
	u.Opaque, u.RawPath, u.Path = "", path, path
	if decoded, err := url.PathUnescape(path); err == nil {
		u.Path = decoded
	}
	u.RawQuery, u.ForceQuery = query, has
}

func finish(closing context.Context, x *Exchange, res *http.Response, timeout config.Timeout) {
	x.Status = res.StatusCode
	res.Header["Server"] = serverHeader
	if _, has := res.Header["X-Request-Id"]; !has && x.RequestID != nil {
		res.Header["X-Request-Id"] = x.RequestID
	}
	if res.ContentLength != 0 {
		res.Body = watchResponse(res.Body, timeout.Read)
	}
	if isStream(res.Header) {
		res.Body = endWith(closing, res.Body)
	}
}

// fail answers for an upstream that gave no answer.
func fail(w http.ResponseWriter, x *Exchange, err error, log *zap.Logger) {
	x.Status = statusOf(x.in, err)
	if x.Status == StatusClientGone {
		panic(http.ErrAbortHandler) // closes the connection; net/http would send 200
	}
	log.Error("the upstream gave no answer", zap.Int("status", x.Status), zap.Error(err))
	if x.RequestID != nil {
		w.Header()["X-Request-Id"] = x.RequestID
	}
	WritePage(w, x.Status)
}

func statusOf(in *http.Request, err error) int {
	body, limited := in.Body.(*requestBody)
	switch {
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrClientTimeout):
		return http.StatusRequestTimeout
	case in.Context().Err() != nil && limited && !body.ended.Load():
		return http.StatusRequestTimeout // a body that stops also ends the context, and that may be noticed first
	case in.Context().Err() != nil:
		return StatusClientGone
	case isTimeout(err), errors.Is(err, errUpstreamSilent):
		return http.StatusGatewayTimeout
	default:
		return http.StatusBadGateway
	}
}

// bufferPool hands out the buffers that answers are copied through.
type bufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

var buffers = &bufferPool{sync.Pool{New: func() any { return new([bufferSize]byte) }}}

func (b *bufferPool) Get() []byte { return b.pool.Get().(*[bufferSize]byte)[:] }

func (b *bufferPool) Put(p []byte) {
	if cap(p) >= bufferSize {
		b.pool.Put((*[bufferSize]byte)(p[:bufferSize]))
	}
}
