package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/extplugin"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/plugin"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/proxy"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/route"
)

const notFound = `{"error_msg":"404 Route Not Found"}` + "\n"

// ServeHTTP is the way of a call: route, request id, key-auth, proxy-rewrite, limit-count, the runner's plugins, the upstream.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(r.Context())
	if err := x.begin(r); err != nil {
		proxy.WritePage(w, refusal(err))
		return
	}
	found, matched := g.table.Load().find(r.Method, x.target.Path)
	x.route = found
	defer func() { found.status.Count(x.Status) }()
	x.giveID()
	if !matched {
		x.answer(w, http.StatusNotFound, "text/plain; charset=utf-8", notFound)
		return
	}
	// A copy: the server looks at the body of r, and must find its own there.
	x.out = *r
	proxy.LimitBody(w, &x.out, g.static.MaxBody, g.static.BodyTimeout)
	if g.pass(w, x) {
		g.forward(w, x)
	}
}

// refusal is the status for a request that nginx would not take in.
func refusal(err error) int {
	if errors.Is(err, errLine) {
		return http.StatusRequestURITooLong
	}
	return http.StatusBadRequest
}

// pass runs the plugins of the route. It returns false when one has answered.
func (g *Gateway) pass(w http.ResponseWriter, x *exchange) bool {
	if x.route.keyAuth != nil && !x.knowsKey(w) {
		return false
	}
	for _, name := range x.route.remove {
		x.r.Header.Del(name)
	}
	if x.route.limiter != nil && !x.withinLimit(w) {
		return false
	}
	x.aim()
	if x.route.ext == nil {
		return true
	}
	return g.callRunner(w, x)
}

// knowsKey tells who calls by key-auth, or answers as APISIX does.
func (x *exchange) knowsKey(w http.ResponseWriter) bool {
	name, why := x.route.keyAuth.Consumer(x.route.keys, x.r.Header)
	if x.consumer = name; name == "" {
		w.Header().Set("Www-Authenticate", `apikey realm="key"`)
		x.answer(w, http.StatusUnauthorized, "text/plain; charset=utf-8", fmt.Sprintf(`{"message":"%s"}`, why)+"\n")
	}
	return name != ""
}

// withinLimit counts the call and tells the client how many are left.
func (x *exchange) withinLimit(w http.ResponseWriter) bool {
	l := x.route.limiter
	q := l.Take(x.addr)
	h := w.Header()
	h["X-RateLimit-Limit"] = []string{strconv.FormatInt(l.Count, 10)}
	h["X-RateLimit-Remaining"] = []string{strconv.FormatInt(q.Remaining, 10)}
	h["X-RateLimit-Reset"] = []string{plugin.ResetSeconds(q.Reset)}
	if !q.Allowed {
		x.page(w, l.RejectedCode)
	}
	return q.Allowed
}

// aim sets what the upstream gets unless a plugin changes it: the client's own target, or, with proxy-rewrite on the
// route, the normalised one.
func (x *exchange) aim() {
	x.Target = x.target.Raw
	if x.route.rewrites {
		x.Target = withQuery(route.EscapePath(x.target.Path), x.target.Args, x.target.HasArgs)
	}
}

// callRunner asks the runner. It returns false when the call ends here.
func (g *Gateway) callRunner(w http.ResponseWriter, x *exchange) bool {
	method, known := extplugin.MethodOf(x.r.Method)
	if !known {
		x.page(w, http.StatusInternalServerError)
		return false
	}
	x.args = route.ParseArgs(x.args, x.query)
	x.call = extplugin.Request{
		Method: method, Path: x.pluginPath(), Args: x.args, SrcIP: x.srcIP, Host: x.r.Host,
		Chunked: len(x.r.TransferEncoding) > 0, Header: x.r.Header, Source: x,
	}
	if err := g.client.Call(x.r.Context(), x.route.ext, &x.call, &x.result); err != nil {
		g.log.Error("the runner did not answer", zap.Error(err), zap.String("route", x.route.id))
		proxy.LimitRest(w, x.r, g.static.BodyTimeout)
		x.page(w, http.StatusServiceUnavailable)
		return false
	}
	if x.result.Stop {
		proxy.LimitRest(w, x.r, g.static.BodyTimeout)
		x.stop(w)
		return false
	}
	return x.apply(w)
}

// forward passes the call on.
func (g *Gateway) forward(w http.ResponseWriter, x *exchange) {
	if limit := g.static.MaxBody; limit > 0 && x.out.ContentLength > limit {
		x.page(w, http.StatusRequestEntityTooLarge)
		return
	}
	for _, name := range [...]string{"Connection", "Upgrade", "Te", "Expect", "Keep-Alive"} {
		delete(x.r.Header, name) // nginx never passes these on, nor does it heed the names in Connection
	}
	// The proxy has them from here: while the upstream is silent nothing of the request is held.
	x.r.Header, x.call, x.result = nil, extplugin.Request{}, extplugin.Result{}
	x.route.proxy.ServeHTTP(w, &x.out)
}

// page answers with nginx's page for a status.
func (x *exchange) page(w http.ResponseWriter, status int) {
	x.Status = status
	if x.RequestID != nil {
		w.Header()["X-Request-Id"] = x.RequestID
	}
	proxy.WritePage(w, status)
}

func (x *exchange) answer(w http.ResponseWriter, status int, contentType, body string) {
	x.Status = status
	h := w.Header()
	h.Set("Server", proxy.ServerName)
	h.Set("Content-Type", contentType)
	if x.RequestID != nil {
		h["X-Request-Id"] = x.RequestID
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}
