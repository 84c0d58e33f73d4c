package egress

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// middle is a proxy that a test has in its hand: it leads connections to endpoints of the test's, and notes where it was asked to.
type middle struct {
	t       testing.TB
	address string
	// plain and secret are where connections to port 443 and to others go.
	plain, secret string
	// answer replaces the one to CONNECT.
	answer string

	mu    sync.Mutex
	asked []string
	given []string
}

func newMiddle(t testing.TB, talk func(*middle, net.Conn), m *middle) *middle {
	t.Helper()
	m.t = t
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = l.Addr().String()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			all.Go(func() { defer func() { _ = c.Close() }(); talk(m, c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return m
}

func (m *middle) note(asked, given string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked, m.given = append(m.asked, asked), append(m.given, given)
}

func (m *middle) wantAsked(asked ...string) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(m.asked, asked) {
		m.t.Errorf("the proxy was asked for %v, want %v", m.asked, asked)
	}
}

// join leads a connection on.
func (m *middle) join(c net.Conn, from io.Reader, to string) {
	leads := m.plain
	if strings.HasSuffix(to, ":443") {
		leads = m.secret
	}
	there, err := net.Dial("tcp", leads)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(there, from); _ = there.(*net.TCPConn).CloseWrite() })
	_, _ = io.Copy(c, there)
	_ = c.Close()
	_ = there.Close()
	wg.Wait()
}

func connectProxy(m *middle, c net.Conn) {
	r := bufio.NewReader(c)
	request, err := http.ReadRequest(r)
	if err != nil || request.Method != http.MethodConnect {
		m.t.Errorf("the proxy got %v %v", request, err)
		return
	}
	m.note(request.RequestURI, request.Header.Get("Proxy-Authorization"))
	if m.answer != "" {
		_, _ = io.WriteString(c, m.answer)
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	m.join(c, r, request.RequestURI)
}

// socksProxy wants a user name and a password (RFC 1928, RFC 1929), and knows addresses alone.
func socksProxy(m *middle, c net.Conn) {
	read := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(c, b)
		return b
	}
	read(int(read(2)[1]))
	_, _ = c.Write([]byte{5, 2})
	user := string(read(int(read(2)[1])))
	password := string(read(int(read(1)[0])))
	_, _ = c.Write([]byte{1, 0})
	head, kind := read(4), 4
	if head[3] == 4 {
		kind = 16
	} else if head[3] != 1 {
		m.t.Errorf("the proxy got an address of type %d", head[3])
		return
	}
	addr, _ := netip.AddrFromSlice(read(kind))
	port := read(2)
	to := netip.AddrPortFrom(addr, uint16(port[0])<<8|uint16(port[1])).String()
	m.note(to, user+":"+password)
	_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	m.join(c, c, to)
}

func through(t testing.TB, url string) func(*Options) {
	t.Helper()
	proxy, err := ParseProxy(url)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Proxy = proxy }
}

// The names are public ones, so what is called here is called by way of the proxy or not at all.
func TestCallsGoThroughTheProxyToTheAddressThatWasVetted(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	cert, roots := certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	named := make(chan string, 1)
	secret := httptest.NewUnstartedServer(plain.Config.Handler)
	secret.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		named <- hello.ServerName
		return &cert, nil
	}}
	secret.Config.ErrorLog = quiet
	secret.StartTLS()
	t.Cleanup(secret.Close)
	dns := testkit.NewDNS(t)
	dns.Set("consumer.example", []string{"93.184.216.34"})
	dns.Set("six.example", []string{"2606:2800:220:1::1"})
	for scheme, talk := range map[string]func(*middle, net.Conn){"http": connectProxy, "socks5": socksProxy} {
		t.Run(scheme, func(t *testing.T) {
			m := newMiddle(t, talk, &middle{plain: plain.Listener.Addr().String(), secret: secret.Listener.Addr().String()})
			b := newBench(t, closed(t), asking(t, dns), through(t, scheme+"://me:pass%40word@"+m.address), func(o *Options) { o.Roots = roots })
			for _, host := range []string{"consumer.example", "six.example:8080"} {
				if res := b.call("http://" + host + "/"); res.status != http.StatusOK || string(res.body) != host {
					t.Fatalf("got %+v", res)
				}
			}
			b.call("https://consumer.example/").wantFailure(t, contract.OutcomeTLS, contract.DetailCertificateHost) // it is for 127.0.0.1
			if name := <-named; name != "consumer.example" {
				t.Errorf("the endpoint was asked for %q", name)
			}
			m.wantAsked("93.184.216.34:80", "[2606:2800:220:1::1]:8080", "93.184.216.34:443")
			if want := map[string]string{"http": "Basic " + base64.StdEncoding.EncodeToString([]byte("me:pass@word")), "socks5": "me:pass@word"}[scheme]; m.given[0] != want {
				t.Errorf("the proxy was given %q", m.given[0])
			}
		})
	}
}

func TestTheHostRulesHoldWithAProxy(t *testing.T) {
	m := newMiddle(t, connectProxy, &middle{})
	dns := testkit.NewDNS(t)
	dns.Set("private.example", []string{"10.0.0.1"})
	dns.Set("mixed.example", []string{"93.184.216.34", "127.0.0.1"})
	b := newBench(t, closed(t), asking(t, dns), through(t, "http://"+m.address))
	for _, target := range []string{"http://127.0.0.1/", "https://10.0.0.1/", "http://[::1]/", "http://localhost/", "https://metadata.google.internal/", "http://db.internal/",
		"https://private.example/", "http://mixed.example/", "https://93.184.216.34:22/"} {
		b.call(target).wantFailure(t, contract.OutcomeAddressRefused, "")
	}
	b.call("https://nobody.example/").wantFailure(t, contract.OutcomeDNS, "")
	m.wantAsked()
}

func TestAProxyThatMakesNoConnection(t *testing.T) {
	dns := testkit.NewDNS(t)
	dns.Set("consumer.example", []string{"93.184.216.34"})
	for name, answer := range map[string]string{
		"wants a password":    "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
		"may not":             "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
		"can not":             "HTTP/1.1 502 Bad Gateway\r\n\r\n",
		"speaks too early":    "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"is none":             "SSH-2.0-OpenSSH\r\n",
		"hangs up":            "HTTP/1.1",
		"answers without end": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxProxyAnswer),
	} {
		t.Run(name, func(t *testing.T) {
			m := newMiddle(t, connectProxy, &middle{answer: answer})
			b := newBench(t, closed(t), asking(t, dns), through(t, "http://me:hunter2@"+m.address))
			for _, scheme := range []string{"http", "https"} {
				b.call(scheme+"://consumer.example/").wantFailure(t, contract.OutcomeConnect, contract.DetailEgressProxy)
			}
		})
	}
	t.Run("is not there", func(t *testing.T) {
		for _, proxy := range []string{"http://127.0.0.1:1", "socks5://127.0.0.1:1"} {
			newBench(t, closed(t), asking(t, dns), through(t, proxy)).call("https://consumer.example/").
				wantFailure(t, contract.OutcomeConnect, contract.DetailEgressProxy)
		}
	})
	t.Run("says nothing", func(t *testing.T) {
		m := newMiddle(t, func(_ *middle, c net.Conn) { _, _ = io.Copy(io.Discard, c) }, &middle{})
		for _, scheme := range []string{"http", "socks5"} {
			b := newBench(t, closed(t), asking(t, dns), through(t, scheme+"://"+m.address))
			b.post(b.passFor("https://consumer.example/", contract.Timeouts{Connect: contract.Duration(soon)}), nil).
				wantFailure(t, contract.OutcomeConnect, contract.DetailConnectTimeout)
		}
	})
}

func TestAProxyOfTheAdministratorsIsReadOrRefusedWithoutItsPassword(t *testing.T) {
	for raw, want := range map[string]string{
		"http://proxy.example:3128": "", "http://me:hunter2@10.0.0.1:3128": "", "http://me:hunter2@[fd00::1]:3128/": "", "socks5://me:hunter2@proxy.example:1080": "", "": "",
		"https://me:hunter2@proxy.example:3128": "unknown scheme", "ftp://me:hunter2@proxy.example:1": "unknown scheme", "proxy.example:3128": "http://user:password@host:port",
		"http://me:hunter2@proxy.example": "http://user:password@host:port", "http://me:hunter2@:3128": "http://user:password@host:port",
		"http://me:hunter2@proxy.example:3128/path": "http://user:password@host:port", "http://me:hunter2@proxy.example:x": "http://user:password@host:port",
		"http://me:hunter2@proxy.example:3128?x": "http://user:password@host:port",
	} {
		proxy, err := ParseProxy(raw)
		switch {
		case want == "" && (err != nil || (proxy == nil) != (raw == "")):
			t.Errorf("%q: %v", raw, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%q: %v", raw, err)
		}
	}
	proxy, _ := ParseProxy("http://me:hunter2@127.0.0.1:1")
	if _, err := proxy.connect(t.Context(), netip.MustParseAddrPort("93.184.216.34:443")); err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), "hunter2") {
		t.Errorf("got %v", err)
	}
}
