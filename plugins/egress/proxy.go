package egress

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// maxProxyAnswer bounds what a proxy may answer to CONNECT, in bytes.
const maxProxyAnswer = 16 << 10

// Proxy is the administrator's own way out. It is asked to connect to addresses that the policy has vetted and never to a
// name, so it looks up nothing that could say something else.
type Proxy struct {
	address  string
	greeting http.Header
	socks    proxy.ContextDialer
}

// ParseProxy reads http://user:password@host:port (HTTP CONNECT, RFC 9110, section 9.3.6) or socks5://… (RFC 1928), both with
// or without credentials. "" is no proxy. The error says the fix and repeats nothing.
func ParseProxy(raw string) (*Proxy, error) {
	if raw == "" {
		return nil, nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("cannot be read: write it as http://user:password@host:port")
	}
	p := &Proxy{address: u.Host, greeting: http.Header{"User-Agent": {userAgent}}}
	switch u.Scheme {
	case "http":
		if u.User != nil {
			p.greeting.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials(u.User))))
		}
	case "socks5":
		p.socks = socks(u)
	default:
		return nil, errors.New("has an unknown scheme: use http:// or socks5://")
	}
	return p, nil
}

func credentials(user *url.Userinfo) string {
	password, _ := user.Password()
	return user.Username() + ":" + password
}

func socks(u *url.URL) proxy.ContextDialer {
	var auth *proxy.Auth
	if u.User != nil {
		auth = &proxy.Auth{User: u.User.Username()}
		auth.Password, _ = u.User.Password()
	}
	dialer, _ := proxy.SOCKS5("tcp", u.Host, auth, &net.Dialer{}) // never fails
	return dialer.(proxy.ContextDialer)
}

// proxyError says that the proxy was the reason. Its text has neither the proxy's address nor what it said.
type proxyError struct{ err error }

func (e *proxyError) Error() string { return "the egress proxy made no connection" }
func (e *proxyError) Unwrap() error { return e.err }

// connect is a guard.DialFunc.
func (p *Proxy) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var conn net.Conn
	var err error
	if p.socks != nil {
		conn, err = p.socks.DialContext(ctx, "tcp", to.String())
	} else {
		conn, err = p.tunnel(ctx, to.String())
	}
	if err != nil {
		return nil, &proxyError{err}
	}
	return conn, nil
}

// tunnel ends with the context, whatever the proxy does.
func (p *Proxy) tunnel(ctx context.Context, to string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = p.ask(conn, to)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close() // the error before counts
		return nil, err
	}
	return conn, nil
}

func (p *Proxy) ask(conn net.Conn, to string) error {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to, Header: p.greeting}
	if err := request.Write(conn); err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	answer := bufio.NewReader(io.LimitReader(conn, maxProxyAnswer))
	response, err := http.ReadResponse(answer, request) //nolint:bodyclose // it has none: what follows is the endpoint
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	case response.StatusCode/100 != 2:
		return fmt.Errorf("it answers %d", response.StatusCode)
	case answer.Buffered() > 0:
		return errors.New("it speaks before the endpoint can have been asked")
	}
	return nil
}
