package gateway

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/extplugin"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/proxy"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/route"
)

// single is the headers of which nginx keeps one value: of two the last survives.
var single = map[string]bool{
	"www-authenticate": true, "location": true, "content-type": true, "etag": true, "last-modified": true, "server": true,
	"content-encoding": true, "content-range": true, "date": true, "expires": true, "accept-ranges": true, "refresh": true,
}

// framing is the headers that net/http must know by its own spelling, or that are also written elsewhere.
var framing = map[string]string{
	"content-length": "Content-Length", "connection": "Connection", "date": "Date", "x-request-id": "X-Request-Id",
}

// stop sends the answer of a plugin.
func (x *exchange) stop(w http.ResponseWriter) {
	res := &x.result
	h := w.Header()
	for _, e := range res.Headers {
		name := strings.ToLower(e.Name)
		if _, again := h[name]; again && !single[name] {
			h[name] = append(h[name], e.Value)
		} else {
			h[name] = []string{e.Value}
		}
	}
	delete(h, "server")
	delete(h, "transfer-encoding")
	for lower, name := range framing {
		if v, ok := h[lower]; ok {
			h[name] = v
			delete(h, lower)
		}
	}
	if res.Body == nil && res.Status >= http.StatusMultipleChoices {
		delete(h, "content-type")
		x.page(w, res.Status)
		return
	}
	x.writeStop(w, res)
}

func (x *exchange) writeStop(w http.ResponseWriter, res *extplugin.Result) {
	h := w.Header()
	x.Status = res.Status
	h["Server"] = []string{proxy.ServerName}
	h["Content-Type"] = nil // no sniffing: the plugin's own, if any, is there in lower case
	if _, own := h["X-Request-Id"]; !own && x.RequestID != nil {
		h["X-Request-Id"] = x.RequestID
	}
	body := res.Body
	if v := h["Content-Length"]; len(v) > 0 { // a plugin that sets it has its body cut
		if n, err := strconv.Atoi(v[0]); err == nil && n >= 0 {
			body = body[:min(n, len(body))]
		} else {
			delete(h, "Content-Length")
		}
	}
	w.WriteHeader(res.Status)
	_, _ = w.Write(body)
}

// excluded is the headers of the upstream's answer that a plugin can't set when the call goes on.
var excluded = map[string]bool{
	"connection": true, "content-length": true, "transfer-encoding": true, "location": true, "server": true,
	"www-authenticate": true, "content-encoding": true, "content-type": true, "content-location": true, "content-language": true,
}

// apply changes the call as the plugins want. It returns false when that ended it.
func (x *exchange) apply(w http.ResponseWriter) bool {
	res := &x.result
	for _, e := range res.Headers {
		x.setHeader(e)
	}
	if x.Host == "" { // a plugin took it away: APISIX sends none, and servers refuse that
		x.page(w, http.StatusBadRequest)
		return false
	}
	if strings.ContainsFunc(x.Host, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		x.page(w, http.StatusBadGateway) // APISIX would send it as it is, line feeds and all
		return false
	}
	if res.Body != nil {
		x.replaceBody(res.Body)
	}
	x.addResponseHeaders(w.Header(), res.RespHeaders)
	x.setTarget(res)
	return true
}

func (x *exchange) setHeader(e extplugin.Header) {
	if strings.EqualFold(e.Name, "Host") {
		x.Host = e.Value
		return
	}
	if e.Value == "" {
		x.r.Header.Del(e.Name)
		return
	}
	x.r.Header.Set(e.Name, e.Value)
}

func (x *exchange) addResponseHeaders(h http.Header, list []extplugin.Header) {
	seen := map[string]bool{}
	for _, e := range list {
		name := strings.ToLower(e.Name)
		if excluded[name] {
			continue
		}
		if seen[name] {
			h.Add(e.Name, e.Value)
		} else {
			h.Set(e.Name, e.Value)
		}
		seen[name] = true
	}
}

// setTarget applies a new path and new arguments. As in APISIX, with proxy-rewrite on the route new arguments count
// only together with a new path.
func (x *exchange) setTarget(res *extplugin.Result) {
	if len(res.Args) > 0 {
		x.args = changeArgs(x.args, res.Args)
		x.query = route.FormatArgs(x.args)
	}
	has := x.query != "" || len(res.Args) == 0 && x.target.HasArgs
	switch {
	case res.HasPath:
		x.Target = withQuery(route.EscapePath(res.Path), x.query, has)
	case len(res.Args) > 0 && !x.route.rewrites:
		x.Target = withQuery(route.EscapePath(x.target.Path), x.query, has)
	}
}

// changeArgs applies a plugin's changes: no value removes, the first value replaces, further ones are added.
func changeArgs(args []route.Arg, changes []extplugin.Header) []route.Arg {
	changed := map[string]bool{}
	for _, c := range changes {
		if !changed[c.Name] {
			args = removeArg(args, c.Name)
		}
		if c.HasValue {
			args = append(args, route.Arg{Name: c.Name, Value: c.Value, HasValue: true})
			changed[c.Name] = true
		}
	}
	return args
}

func removeArg(args []route.Arg, name string) []route.Arg {
	kept := args[:0]
	for _, a := range args {
		if a.Name != name {
			kept = append(kept, a)
		}
	}
	return kept
}
