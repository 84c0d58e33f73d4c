package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/extplugin"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/proxy"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/route"
)

// exchange is the state of one request. There is one per client connection, used again for each of its requests,
// which HTTP/1.1 puts in a row.
type exchange struct {
	proxy.Exchange
	peer       netip.Addr
	peerHeader []string
	port       []string // the gateway's own, as a header
	scheme     []string // likewise

	r      *http.Request
	out    http.Request // what is passed on: r with the body that is left
	target route.Target
	route  *liveRoute
	// consumer is whom a plugin of the gateway found to call; empty if none did.
	consumer string
	addr     netip.Addr // of the client: the peer, or what a proxy on this machine says
	srcIP    []byte
	query    string // the raw query, which a plugin may change
	args     []route.Arg
	call     extplugin.Request
	result   extplugin.Result
}

type exchangeKey struct{}

// withExchange prepares a new client connection.
func withExchange(c net.Conn) context.Context {
	x := &exchange{scheme: schemeHTTP}
	if _, secured := c.(*tls.Conn); secured {
		x.scheme = schemeHTTPS
	}
	if peer, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		x.peer = peer.AddrPort().Addr().Unmap().WithZone("")
	}
	if own, ok := c.LocalAddr().(*net.TCPAddr); ok {
		x.port = []string{fmt.Sprint(own.Port)}
	}
	x.peerHeader = []string{x.peer.String()}
	// The proxy ends a call whose answer breaks by a panic only below a server.
	ctx := context.WithValue(context.Background(), http.ServerContextKey, x)
	return proxy.WithExchange(context.WithValue(ctx, exchangeKey{}, x), &x.Exchange)
}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

var (
	errHeaders = errors.New("a header line or all headers are too long")
	errLine    = errors.New("the request line is too long")
)

// begin takes a new request in. Its error means 414 for errLine, else 400.
func (x *exchange) begin(r *http.Request) error {
	x.r, x.args, x.route, x.consumer = r, x.args[:0], nil, ""
	x.Exchange = proxy.Exchange{Host: r.Host}
	if len(r.Method)+len(r.RequestURI)+len("  HTTP/1.1\r\n") > maxHeaderLine {
		return errLine
	}
	if err := checkHeaders(r.Header); err != nil {
		return err
	}
	var err error
	if x.target, err = route.ParseTarget(r.RequestURI); err != nil {
		return err
	}
	x.query = x.target.Args
	x.client()
	x.forwarded()
	return nil
}

// What nginx takes: large_client_header_buffers is 4 times 8 KB.
const (
	maxHeaderLine = 8 << 10
	maxHeaders    = 32 << 10
)

// checkHeaders refuses long headers and drops names that nginx takes as invalid.
func checkHeaders(h http.Header) error {
	total := 0
	for name, values := range h {
		if !validName(name) {
			delete(h, name)
			continue
		}
		for _, v := range values {
			line := len(name) + len(": \r\n") + len(v)
			if total += line; line >= maxHeaderLine || total > maxHeaders {
				return errHeaders
			}
		}
	}
	return nil
}

func validName(name string) bool {
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// client finds the address of the client: APISIX believes X-Real-IP from 127.0.0.1.
func (x *exchange) client() {
	x.addr, x.RemoteIP = x.peer, x.peerHeader
	if real := x.r.Header["X-Real-Ip"]; len(real) > 0 && x.peer == loopback {
		if addr, ok := parseAddr(real[0]); ok {
			x.addr, x.RemoteIP = addr, []string{addr.String()}
		}
	}
	if x.addr.Is4() {
		b := x.addr.As4()
		x.srcIP = append(x.srcIP[:0], b[:]...)
		return
	}
	b := x.addr.As16()
	x.srcIP = append(x.srcIP[:0], b[:]...)
}

func parseAddr(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return addr.Unmap(), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil && ap.Addr().Zone() == "" {
		return ap.Addr().Unmap(), true
	}
	return netip.Addr{}, false
}

var schemeHTTP, schemeHTTPS = []string{"http"}, []string{"https"}

// forwarded replaces what a client says about the way it came.
func (x *exchange) forwarded() {
	h := x.r.Header
	h["X-Forwarded-Proto"] = x.scheme
	h["X-Forwarded-Host"] = []string{x.r.Host}
	h["X-Forwarded-Port"] = x.port
	if p := hostPort(x.r.Host); p != "" {
		h["X-Forwarded-Port"] = []string{p}
	}
	delete(h, "Forwarded")
}

// hostPort is the digits after the last colon of a Host header, if there are only digits.
func hostPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.Trim(host[i+1:], "0123456789") != "" {
		return ""
	}
	return host[i+1:]
}

// giveID makes sure that the request has an id.
func (x *exchange) giveID() {
	if x.route.requestID == nil {
		return
	}
	id := x.r.Header["X-Request-Id"]
	if len(id) == 0 || id[0] == "" {
		id = []string{uuid.NewString()}
		x.r.Header["X-Request-Id"] = id
	}
	if x.route.requestID.IncludeInResponse {
		x.RequestID = id[:1:1]
	}
}

// pluginPath is the path that a plugin sees: with proxy-rewrite on the route, APISIX has encoded it by then.
func (x *exchange) pluginPath() string {
	if x.route.rewrites {
		return route.EscapePath(x.target.Path)
	}
	return x.target.Path
}

// Var is a variable of the request, by the names of nginx and APISIX.
func (x *exchange) Var(name string) (string, bool) {
	switch name {
	case "real_request_uri":
		return x.target.Raw, true
	case "uri":
		return x.target.Path, true
	case "request_uri":
		return withQuery(x.target.Path, x.target.Args, x.target.HasArgs), true
	case "args":
		return x.query, x.query != ""
	case "is_args":
		if x.query == "" {
			return "", true
		}
		return "?", true
	case "method", "request_method":
		return x.r.Method, true
	case "scheme":
		return x.scheme[0], true
	case "host":
		return strings.ToLower(strings.TrimSuffix(x.r.Host, ":"+hostPort(x.r.Host))), true
	case "http_host":
		return x.r.Host, true
	case "remote_addr":
		return x.RemoteIP[0], true
	case "realip_remote_addr":
		return x.peerHeader[0], true
	case "server_port":
		return x.port[0], true
	case "server_protocol":
		return x.r.Proto, true
	case "consumer_name":
		return x.consumer, x.consumer != ""
	case "route_id":
		return x.route.id, true
	case "route_name":
		return x.route.name, x.route.name != ""
	}
	return x.prefixed(name)
}

func (x *exchange) prefixed(name string) (string, bool) {
	if header, ok := strings.CutPrefix(name, "http_"); ok {
		return x.headerVar(header)
	}
	if arg, ok := strings.CutPrefix(name, "arg_"); ok {
		for _, a := range route.ParseArgs(nil, x.query) {
			if a.Name == arg {
				return a.Value, true
			}
		}
	}
	return "", false
}

// headerVar finds a header by its name in lower case with _ for -; several values are one list.
func (x *exchange) headerVar(name string) (string, bool) {
	for n, values := range x.r.Header {
		if len(n) == len(name) && strings.ReplaceAll(strings.ToLower(n), "-", "_") == name {
			return strings.Join(values, ", "), true
		}
	}
	return "", false
}

// Body reads the whole body and puts it back, for the upstream to get as well.
func (x *exchange) Body() ([]byte, error) {
	if x.out.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(x.out.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the request body: %w", err)
	}
	x.replaceBody(body)
	return body, nil
}

func (x *exchange) replaceBody(body []byte) {
	x.out.Body = io.NopCloser(bytes.NewReader(body))
	x.out.ContentLength = int64(len(body))
	x.out.TransferEncoding = nil
}

func withQuery(path, query string, has bool) string {
	if !has && query == "" {
		return path
	}
	return path + "?" + query
}
