package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func firstLine(a answer) string {
	line, _, _ := strings.Cut(a.body, "\n")
	return line
}

func TestTargets(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	tests := []struct{ name, target, do, want string }{
		{"raw without plugins", "/plain/a%2Fb/../c?x=%20&y", "", "/plain/a%2Fb/../c?x=%20&y"},
		{"raw with an untouching plugin", "/ext//a%2Fb?x=1", "", "/ext//a%2Fb?x=1"},
		{"question mark alone", "/plain/a?", "", "/plain/a?"},
		{"normalised by proxy-rewrite", "/rewrite//a%2Fb%20c/../d?x=%20&y", "", "/rewrite/a/d?x=%20&y"},
		{"path", "/ext/a?x=%20&y", "path=/new/p", "/new/p?x=%20&y"},
		{"path is encoded", "/ext/a", "path=/new%2Fp?q", "/new%252Fp%3Fq"},
		{"argument", "/ext/a%2Fb?x=1&y=2", "arg=y:3", "/ext/a/b?x=1&y=3"},
		{"argument twice", "/ext/a?x=1", "arg=y:1;arg=y:2 3", "/ext/a?x=1&y=1&y=2%203"},
		{"argument removed", "/ext/a?x=1&y=2", "arg=x", "/ext/a?y=2"},
		{"last argument removed", "/ext/a?x=1", "arg=x", "/ext/a"},
		{"argument and path", "/rewrite/a?x=1", "path=/b;arg=x:2", "/b?x=2"},
		{"argument alone is lost after proxy-rewrite", "/rewrite/a?x=1", "arg=x:2", "/rewrite/a?x=1"},
		{"absolute target", "http://gw.example/plain/a?b", "", "/plain/a?b"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := g.get(t, tc.target, "x-do: "+tc.do)
			assert.Equal(t, "GET "+tc.want, firstLine(got))
		})
	}
}

func TestDoubleSlashTarget(t *testing.T) {
	rules := strings.Replace(rulesFile(upstream(t)), "/plain/*", "/*", 1)
	g := startGateway(t, setup{static: staticFile(), rules: rules})
	assert.Equal(t, "GET //a%2Fb/c?x", firstLine(g.get(t, "//a%2Fb/c?x")))
}

func TestUpstreamHeaders(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	got := g.get(t, "/rewrite/a", "X-Do: header=x-set:1;header=x-gone;header=x-empty:", "X-Gone: 1", "X-Empty: 1",
		"X-Secret: s", "x_secret: kept", "X.Invalid: 1", "Connection: x-kept", "X-Kept: 1", "Upgrade: websocket", "TE: trailers",
		"X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
		"X-Forwarded-Port: 1", "Forwarded: for=evil", "X-Request-Id: mine")
	lines := strings.Split(got.body, "\n")
	assert.Contains(t, lines, "Host: gw.example:9080")
	assert.Contains(t, lines, "X-Real-Ip: 127.0.0.1")
	assert.Contains(t, lines, "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1")
	assert.Contains(t, lines, "X-Forwarded-Proto: http")
	assert.Contains(t, lines, "X-Forwarded-Host: gw.example:9080")
	assert.Contains(t, lines, "X-Forwarded-Port: 9080")
	assert.Contains(t, lines, "X-Set: 1")
	assert.Contains(t, lines, "X_secret: kept")
	assert.Contains(t, lines, "X-Kept: 1", "nginx does not heed Connection")
	assert.Contains(t, lines, "X-Request-Id: mine")
	for _, gone := range []string{"X-Gone", "X-Empty", "X-Secret", "X.invalid", "Connection", "Upgrade", "Te:", "Forwarded:", "Accept-Encoding"} {
		assert.NotContains(t, got.body, "\n"+gone, gone)
	}
	assert.Equal(t, "APISIX", got.Header.Get("Server"))
	assert.Equal(t, []string{"mine"}, got.Header["X-Request-Id"])
}

func TestRealIPFromThisMachine(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	got := g.get(t, "/ext/a", "X-Real-IP: 2001:db8::1", "x-do: see;var=remote_addr;var=realip_remote_addr")
	assert.Contains(t, got.body, "X-Saw-Ip: 2001:db8::1\n")
	assert.Contains(t, got.body, "X-Real-Ip: 2001:db8::1\n")
	assert.Contains(t, got.body, "X-Saw-Remote_addr: 2001:db8::1 true")
	assert.Contains(t, got.body, "X-Saw-Realip_remote_addr: 127.0.0.1 true")
	assert.Contains(t, g.get(t, "/ext/a", "X-Real-IP: nonsense").body, "X-Real-Ip: 127.0.0.1\n")
}

func TestWhatThePluginSees(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	got := g.get(t, "/ext//x%2Fy/../a%20b?p=1&flag", "x-do: see;var=real_request_uri;var=uri;var=request_uri;var=args;"+
		"var=host;var=scheme;var=request_method;var=consumer_name;var=http_x_thing;var=arg_p;var=route_id;var=nonsense", "X_Thing: t")
	for _, want := range []string{
		"X-Saw-Path: /ext/x/a b", "X-Saw-Arguments: [{p 1 true} {flag  false}]", "X-Saw-Ip: 127.0.0.1", "X-Saw-Method: GET",
		"X-Saw-Names: host,x-do,x-forwarded-host,x-forwarded-port,x-forwarded-proto,x-request-id,x_thing",
		"X-Saw-Real_request_uri: /ext//x%2Fy/../a%20b?p=1&flag true", "X-Saw-Uri: /ext/x/a b true",
		"X-Saw-Request_uri: /ext/x/a b?p=1&flag true", "X-Saw-Args: p=1&flag true", "X-Saw-Host: gw.example true",
		"X-Saw-Scheme: http true", "X-Saw-Request_method: GET true", "X-Saw-Http_x_thing: t true", "X-Saw-Arg_p: 1 true",
		"X-Saw-Route_id: r-ext true", "X-Saw-Consumer_name: false", "X-Saw-Nonsense: false",
	} {
		assert.Contains(t, got.body, want+"\n")
	}
	got = g.get(t, "/rewrite/a%20b", "x-do: see")
	assert.Contains(t, got.body, "X-Saw-Path: /rewrite/a%20b\n", "proxy-rewrite has encoded it")
}

func TestKeyAuthTellsThePluginWhoCalls(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	got := g.get(t, "/key/a", "apikey: k-acme", "X-Consumer-Username: root", "X-Credential-Identifier: 1", "x-do: see;var=consumer_name")
	for _, want := range []string{"X-Saw-Consumer_name: acme true", "X-Consumer-Username: acme"} {
		assert.Contains(t, got.body, want+"\n")
	}
	assert.NotContains(t, got.body, "k-acme")
	assert.NotContains(t, got.body, "root")
	assert.NotContains(t, got.body, "X-Credential-Identifier")
	for _, header := range []string{"apikey: other", "X-Consumer-Username: acme"} {
		refused := g.get(t, "/key/a", header)
		assert.Equal(t, 401, refused.StatusCode)
		assert.Equal(t, `apikey realm="key"`, refused.Header.Get("WWW-Authenticate"))
		assert.Contains(t, refused.body, "API key in request")
	}
}

// Calls share an exchange per connection: what one of them is must not be the next one's.
func TestTheNextCallOnAConnectionIsNobodys(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	c, err := net.Dial("tcp", g.Addr())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	answers := bufio.NewReader(c)
	for _, call := range [][2]string{{"/key/a", "acme true"}, {"/ext/a", " false"}} {
		_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\napikey: k-acme\r\nx-do: var=consumer_name\r\n\r\n", call[0])
		require.NoError(t, err)
		res, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Contains(t, string(body), "X-Saw-Consumer_name: "+strings.TrimSpace(call[1])+"\n")
	}
}

func TestHundredHeaders(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	var headers []string
	for i := range 200 {
		headers = append(headers, fmt.Sprintf("Zz-%d: 1", i))
	}
	got := g.get(t, "/ext/a", append(headers, "X-Do: count")...)
	assert.Contains(t, got.body, "X-Saw-Count: 100\n")
	assert.Equal(t, 200, strings.Count(got.body, "\nZz-"), "the upstream gets all")
}

func TestBadRequests(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	long := strings.Repeat("x", 8<<10)
	tests := map[string]struct {
		request string
		status  int
	}{
		"above the root":    {"GET /../a HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"encoded above":     {"GET /%2e%2e/a HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"bad escape":        {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"zero byte":         {"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"asterisk":          {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		"no host":           {"GET /plain/a HTTP/1.1\r\n\r\n", 400},
		"long header line":  {"GET /plain/a HTTP/1.1\r\nHost: h\r\nA: " + long + "\r\n\r\n", 400},
		"long headers":      {"GET /plain/a HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: "+long[:7000]+"\r\n", 5) + "\r\n", 400},
		"long request line": {"GET /plain/" + long + " HTTP/1.1\r\nHost: h\r\n\r\n", 414},
		"unknown method":    {"PURGE /ext/a HTTP/1.1\r\nHost: h\r\n\r\n", 500},
		"without a plugin":  {"PURGE /plain/a HTTP/1.1\r\nHost: h\r\n\r\n", 200},
		"31 KB of headers":  {"GET /ext/a HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: "+long[:7000]+"\r\n", 4) + "\r\n", 200},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.status, g.raw(t, tc.request).StatusCode) })
	}
}

// What the gateway lets pass is one request for the upstream too.
func TestOneRequestIsOneForTheUpstream(t *testing.T) {
	var seen atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		echo(w, r)
	}))
	defer s.Close()
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(s.Listener.Addr().String())})
	const hidden = "GET /plain/hidden HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, framing := range []string{
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 5\r\nContent-Length: 0\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
		"Transfer-Encoding : chunked\r\n", "Transfer-Encoding:\r\n chunked\r\n", "Host: other\r\n", "X: a\rb\r\n",
	} {
		got := g.raw(t, "POST /plain/a HTTP/1.1\r\nHost: h\r\n"+framing+"\r\n0\r\n\r\n"+hidden)
		assert.Equal(t, 400, got.StatusCode, framing)
	}
	assert.Zero(t, seen.Load())
	got := g.raw(t, fmt.Sprintf("POST /plain/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(hidden), hidden))
	assert.True(t, strings.HasSuffix(got.body, "\n\n"+hidden), "a body stays a body")
	assert.EqualValues(t, 1, seen.Load())
}

func TestNotFound(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	got := g.get(t, "/nowhere", "X-Request-Id: mine")
	assert.Equal(t, 404, got.StatusCode)
	assert.Equal(t, `{"error_msg":"404 Route Not Found"}`+"\n", got.body)
	assert.Equal(t, "mine", got.Header.Get("X-Request-Id"))
	assert.Equal(t, "APISIX", got.Header.Get("Server"))
}

func TestStop(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	got := g.get(t, "/ext/a", "X-Do: stop=401:{};header=Content-Type:application/problem+json;header=WWW-Authenticate:A;"+
		"header=WWW-Authenticate:B;header=X-Two:1;header=X-Two:2;header=Server:me")
	assert.Equal(t, 401, got.StatusCode)
	assert.Equal(t, "{}", got.body)
	assert.Equal(t, "application/problem+json", got.Header.Get("Content-Type"))
	assert.Equal(t, []string{"B"}, got.Header["Www-Authenticate"], "nginx keeps the last")
	assert.Equal(t, []string{"1", "2"}, got.Header["X-Two"])
	assert.Equal(t, []string{"APISIX"}, got.Header["Server"])
	assert.NotEmpty(t, got.Header.Get("X-Request-Id"))

	page := g.get(t, "/ext/a", "X-Do: stop=403:;header=Content-Type:application/json")
	assert.Equal(t, 403, page.StatusCode)
	assert.Contains(t, page.body, "<center><h1>403 Forbidden</h1></center>")
	assert.Contains(t, page.Header.Get("Content-Type"), "text/html")

	empty := g.get(t, "/ext/a", "X-Do: stop=202:")
	assert.Equal(t, 202, empty.StatusCode)
	assert.Empty(t, empty.body)

	short := g.get(t, "/ext/a", "X-Do: stop=200:123456;header=Content-Length:3")
	assert.Equal(t, "123", short.body, "a plugin that sets the length has its body cut")
}

func TestAnswerHeadersOfAPlugin(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	got := g.get(t, "/ext/a", "X-Do: answer=X-New:1;answer=X-New:2;answer=X-Own:plugin;answer=Content-Type:a/b;answer=Location:x")
	assert.Equal(t, []string{"1", "2"}, got.Header["X-New"])
	assert.Equal(t, []string{"plugin", "upstream"}, got.Header["X-Own"], "of both comes out twice")
	assert.NotEqual(t, "a/b", got.Header.Get("Content-Type"))
	assert.Empty(t, got.Header.Get("Location"))
}

func TestHostOfAPlugin(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	assert.Contains(t, g.get(t, "/ext/a", "X-Do: header=Host:other.example").body, "Host: other.example\n")
	assert.Equal(t, 400, g.get(t, "/ext/a", "X-Do: header=Host").StatusCode)
	for _, name := range []string{"Host", "X-Other"} {
		got := g.get(t, "/ext/a", "X-Do: break="+name)
		assert.Equal(t, 502, got.StatusCode, "a line feed in %s is not sent", name)
		assert.NotContains(t, got.body, "X-Injected")
	}
}

func TestBodies(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	body := strings.Repeat("0123456789abcdef", 4000)
	post := func(target, extra, body string) answer {
		return g.raw(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n%s", target, extra, len(body), body))
	}
	chunked := func(target, body string) answer {
		return g.raw(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", target, len(body), body))
	}
	assert.True(t, strings.HasSuffix(post("/ext/a", "", body).body, "\n\n"+body))
	assert.True(t, strings.HasSuffix(post("/ext/a", "Expect: 100-continue\r\n", "").body, "\n\n"))
	assert.True(t, strings.HasSuffix(chunked("/ext/a", body).body, "\n\n"+body))
	read := post("/ext/a", "X-Do: body\r\n", "short")
	assert.Contains(t, read.body, "X-Saw-Body: short\n")
	assert.True(t, strings.HasSuffix(read.body, "\n\nshort"), "what a plugin read the upstream gets too")
	large := strings.Repeat("x", 1<<20+1)
	assert.Equal(t, 413, g.raw(t, "POST /ext/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n").StatusCode)
	assert.Equal(t, 401, g.raw(t, "POST /ext/a HTTP/1.1\r\nHost: h\r\nX-Do: stop=401:x\r\nContent-Length: 1048577\r\n\r\n").StatusCode,
		"plugins run before the body counts")
	assert.Equal(t, 200, post("/ext/a", "", large[1:]).StatusCode)
	assert.Equal(t, 413, chunked("/ext/a", large).StatusCode)
	assert.Equal(t, 408, g.raw(t, "POST /ext/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab").StatusCode)
}

// A body that came in time leaves no deadline behind on the connection.
func TestNoDeadlineIsLeftBehind(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}))
	defer s.Close()
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(s.Listener.Addr().String())})
	timer := time.AfterFunc(500*time.Millisecond, func() { close(release) }) // longer than the body timeout
	defer timer.Stop()
	assert.Equal(t, 200, g.raw(t, "POST /ext/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab").StatusCode)
}

func TestUpstreamFailures(t *testing.T) {
	stop := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plain/half" {
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
		}
		<-stop
	}))
	defer silent.Close()
	defer close(stop)
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(silent.Listener.Addr().String())})
	got := g.get(t, "/plain/a")
	assert.Equal(t, 504, got.StatusCode)
	assert.Contains(t, got.body, "<center><h1>504 Gateway Time-out</h1></center>")
	assert.Equal(t, "APISIX", got.Header.Get("Server"))
	c, err := net.Dial("tcp", g.Addr())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, err = io.WriteString(c, "GET /plain/half HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	_, err = io.ReadAll(c)
	require.NoError(t, err, "an answer that stops half way ends the connection")

	gone := startGateway(t, setup{static: staticFile(), rules: rulesFile("127.0.0.1:1")})
	got = gone.get(t, "/plain/a", "X-Request-Id: mine")
	assert.Equal(t, 502, got.StatusCode)
	assert.Equal(t, "mine", got.Header.Get("X-Request-Id"))
}

func TestLimitCount(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	want := []struct {
		status    int
		remaining string
	}{{200, "1"}, {200, "0"}, {429, "0"}}
	for _, w := range want {
		got := g.get(t, "/limited/a", "X-Real-IP: 10.1.1.1")
		assert.Equal(t, w.status, got.StatusCode)
		assert.Equal(t, "2", got.Header.Get("X-RateLimit-Limit"))
		assert.Equal(t, w.remaining, got.Header.Get("X-RateLimit-Remaining"))
		assert.NotEmpty(t, got.Header.Get("X-RateLimit-Reset"))
	}
	assert.Equal(t, 200, g.get(t, "/limited/a", "X-Real-IP: 10.1.1.2").StatusCode)
}

func TestMetricsOfCalls(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	g.get(t, "/plain/a")
	g.get(t, "/ext/a", "X-Do: stop=401:x")
	g.get(t, "/nowhere")
	res, err := http.Get("http://" + g.MetricsAddr() + "/apisix/prometheus/metrics")
	require.NoError(t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	for _, want := range []string{`{code="200",route="plain"} 1`, `{code="401",route="r-ext"} 1`, `{code="404",route=""} 1`} {
		assert.Contains(t, string(body), "apisix_http_status"+want)
	}
}

func TestRunnerEnvironment(t *testing.T) {
	env := map[string]string{"PATH": "/bin", "HOME": "/root", "REDIS_URL": "redis://x", "OTHER": "secret", "NODE": upstream(t)}
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile("${{NODE}}"), env: env})
	got := g.get(t, "/ext/a", "X-Do: env")
	_, line, _ := strings.Cut(got.body, "X-Saw-Env: ")
	line, _, _ = strings.Cut(line, "\n")
	var names []string
	for _, entry := range strings.Split(line, "|") {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, name)
	}
	assert.Equal(t, []string{"APISIX_CONF_EXPIRE_TIME", "APISIX_LISTEN_ADDRESS", "GORACE", "NODE", "PATH", "REDIS_URL"}, names)
	assert.Contains(t, line, "APISIX_CONF_EXPIRE_TIME=3600|APISIX_LISTEN_ADDRESS=unix:/")
}

// again calls until the status is what it should be.
func (g *running) again(t *testing.T, status int, target string, headers ...string) answer {
	t.Helper()
	var got answer
	require.Eventually(t, func() bool {
		got = g.get(t, target, headers...)
		return got.StatusCode == status
	}, 10*time.Second, 5*time.Millisecond)
	return got
}

func TestRunnerKilledAndRespawned(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t)), opts: Options{RespawnDelay: 200 * time.Millisecond}})
	require.Equal(t, 200, g.get(t, "/ext/a").StatusCode)
	first := g.RunnerPID()
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Eventually(t, func() bool { return g.RunnerPID() == 0 }, 5*time.Second, time.Millisecond)
	got := g.get(t, "/ext/a")
	assert.Equal(t, 503, got.StatusCode)
	assert.Contains(t, got.body, "503 Service Temporarily Unavailable")
	assert.Equal(t, 200, g.get(t, "/plain/a").StatusCode, "routes without a plugin go on")
	g.again(t, 200, "/ext/a")
	assert.NotEqual(t, first, g.RunnerPID())
}

func TestRunnerDiesInACall(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t))})
	assert.Equal(t, 503, g.get(t, "/ext/a", "X-Do: die").StatusCode)
	g.again(t, 200, "/ext/a")
}

func TestRestartOfTheRunner(t *testing.T) {
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(upstream(t)), opts: Options{RespawnDelay: time.Hour}})
	first := g.RunnerPID()
	g.RestartRunner()
	require.Eventually(t, func() bool { p := g.RunnerPID(); return p != 0 && p != first }, 10*time.Second, time.Millisecond)
	g.again(t, 200, "/ext/a")
}

func TestRoutesAreLive(t *testing.T) {
	node := upstream(t)
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(node)})
	assert.Equal(t, 404, g.get(t, "/other/a").StatusCode)
	changed := strings.Replace(rulesFile(node), "/ext/*", "/other/*", 1)
	writeFile(t, g.dir, "apisix.yaml", changed)
	g.again(t, 200, "/other/a")
	assert.Equal(t, 404, g.get(t, "/ext/a").StatusCode)
	for _, bad := range []string{strings.Replace(changed, "#END", "", 1), "routes: {}\n#END", strings.Replace(changed, "limit-count:", "limit-conn:", 1)} {
		logged := g.logs.FilterMessage("the routes stay as they are").Len()
		writeFile(t, g.dir, "apisix.yaml", bad)
		require.Eventually(t, func() bool { return g.logs.FilterMessage("the routes stay as they are").Len() > logged },
			5*time.Second, time.Millisecond)
		assert.Equal(t, 200, g.get(t, "/other/a").StatusCode)
	}
	writeFile(t, g.dir, "apisix.yaml", rulesFile(node))
	g.again(t, 200, "/ext/a")
}

func TestLimitsOutliveAChangeElsewhere(t *testing.T) {
	node := upstream(t)
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(node)})
	g.get(t, "/limited/a")
	writeFile(t, g.dir, "apisix.yaml", strings.Replace(rulesFile(node), "/ext/*", "/other/*", 1))
	g.again(t, 200, "/other/a")
	assert.Equal(t, "0", g.get(t, "/limited/a").Header.Get("X-RateLimit-Remaining"))
}

func TestCloseDrainsAndStopsTheRunner(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = w.Write([]byte("done"))
	}))
	defer s.Close()
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(s.Listener.Addr().String())})
	pid := g.RunnerPID()
	c, err := net.Dial("tcp", g.Addr())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, err = io.WriteString(c, "GET /ext/a HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	<-entered
	closed := make(chan error, 1)
	go func() { closed <- g.Close(deadline(t)) }()
	require.Eventually(t, func() bool {
		probe, err := net.Dial("tcp", g.Addr())
		if err == nil {
			_ = probe.Close()
		}
		return err != nil
	}, 5*time.Second, time.Millisecond, "it stops to listen at once")
	require.NoError(t, syscall.Kill(pid, 0), "the runner lives as long as calls do")
	close(release)
	assert.Equal(t, "done", readAnswer(t, c, "GET").body)
	require.NoError(t, <-closed)
	assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	assert.NoFileExists(t, g.runner.Socket)
}

func TestStubbornRunnerIsKilled(t *testing.T) {
	script := `trap '' TERM; while :; do read -r _ <"$0" || exit; done`
	g := startGateway2(t, setup{static: staticFile("/bin/sh", "-c", strings.ReplaceAll(script, `"`, `\"`), "/dev/zero"),
		rules: rulesFile("127.0.0.1:1"), opts: Options{RunnerStop: 50 * time.Millisecond}})
	pid := g.RunnerPID()
	require.NoError(t, g.Close(deadline(t)))
	assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
}

// startGateway2 does not wait for the runner's socket.
func startGateway2(t *testing.T, s setup) *Gateway {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "config.yaml", s.static)
	writeFile(t, dir, "apisix.yaml", s.rules)
	s.opts.ConfDir, s.opts.Log = dir, zapNop
	s.opts.Lookup = func(string) (string, bool) { return "", false }
	g, err := Start(s.opts)
	require.NoError(t, err)
	return g
}

func TestStartFailsCleanly(t *testing.T) {
	good := rulesFile("127.0.0.1:1")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	tests := map[string]struct{ static, rules, want string }{
		"no runner":      {staticFile("/does/not/exist"), good, "starting the runner /does/not/exist"},
		"port taken":     {strings.Replace(staticFile(), "port: 0", "port: "+port, 1), good, "listening"},
		"unknown key":    {staticFile() + "\napisix_x: 1", good, "apisix_x"},
		"unknown plugin": {strings.Replace(staticFile(), "[request-id", "[cors, request-id", 1), good, `"cors"`},
		"bad routes":     {staticFile(), strings.Replace(good, "uri: /ext", "uri: ext", 1), "routes[1].uri"},
		"not in plugins": {strings.Replace(staticFile(), "limit-count, ", "", 1), good, "add limit-count to plugins"},
		"global":         {staticFile(), strings.Replace(good, "{request-id", "{proxy-rewrite: {}, request-id", 1), "global_rules"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, dir, "config.yaml", tc.static)
			writeFile(t, dir, "apisix.yaml", tc.rules)
			_, err := Start(Options{ConfDir: dir, Log: zapNop, Lookup: os.LookupEnv})
			require.ErrorContains(t, err, tc.want)
		})
	}
}
