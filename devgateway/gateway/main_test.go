package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/extplugin/fakerunner"
)

// runnerDir is where the real runner is built.
var runnerDir string

// TestMain makes this test binary a fake runner when the gateway starts it as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "fake-runner" {
		runFake()
		return
	}
	code := m.Run()
	_ = os.RemoveAll(runnerDir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func runFake() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	path := strings.TrimPrefix(os.Getenv("APISIX_LISTEN_ADDRESS"), "unix:")
	r, err := fakerunner.Listen(path, fakePlugins)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-stop
	r.Close()
}

// fakePlugins does what the header x-do says, `;` between commands, and shows what it saw in x-saw-….
func fakePlugins(c *fakerunner.Call) fakerunner.Answer {
	a := fakerunner.Answer{}
	saw := func(name, value string) {
		a.Headers = append(a.Headers, fakerunner.Pair{Name: "x-saw-" + name, Value: value, Set: true})
	}
	for _, do := range strings.Split(strings.Join(c.Header("x-do"), ";"), ";") {
		what, arg, _ := strings.Cut(do, "=")
		name, value, set := strings.Cut(arg, ":")
		pair := fakerunner.Pair{Name: name, Value: value, Set: set}
		switch what {
		case "stop":
			a.Stop = true
			_, _ = fmt.Sscan(name, &a.Status)
			a.Body = []byte(value)
		case "path":
			a.Path = arg
		case "header":
			a.Headers = append(a.Headers, pair)
		case "answer":
			a.RespHeaders = append(a.RespHeaders, pair)
		case "arg":
			a.Args = append(a.Args, pair)
		case "var":
			v, ok := c.Var(arg)
			saw(arg, fmt.Sprintf("%s %v", v, ok))
		case "body":
			saw("body", c.Body())
		case "count":
			saw("count", fmt.Sprint(len(c.Headers)))
		case "see":
			saw("path", c.Path)
			saw("arguments", fmt.Sprint(c.Args))
			saw("ip", net.IP(c.SrcIP).String())
			saw("method", c.Method)
			saw("names", names(c.Headers))
		case "break": // a line feed in the value of the named header
			a.Headers = append(a.Headers, fakerunner.Pair{Name: arg, Value: "a\r\nX-Injected: 1", Set: true})
		case "env":
			env := os.Environ()
			sort.Strings(env)
			saw("env", strings.Join(env, "|"))
		case "die":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	return a
}

func names(list []fakerunner.Pair) string {
	var out []string
	for _, h := range list {
		out = append(out, h.Name)
	}
	sort.Strings(out)
	return strings.Join(out, ",")
}

// staticFile is a config.yaml that runs the fake runner on free ports.
func staticFile(command ...string) string {
	if len(command) == 0 {
		command = []string{os.Args[0], "fake-runner"}
	}
	return fmt.Sprintf(`
apisix:
  node_listen: [{ip: 127.0.0.1, port: 0}]
  enable_server_tokens: false
  enable_control: false
  ssl: {enable: false}
deployment: {role: data_plane, role_data_plane: {config_provider: yaml}}
ext-plugin: {cmd: ["%s"]}
nginx_config:
  envs: [REDIS_URL, NOT_SET, GORACE=atexit_sleep_ms=0]
  http: {client_max_body_size: 1m, client_body_timeout: 300ms}
plugins: [request-id, key-auth, proxy-rewrite, limit-count, prometheus, ext-plugin-post-req]
plugin_attr: {prometheus: {export_addr: {ip: 127.0.0.1, port: 0}}}
`, strings.Join(command, `","`))
}

const plugins = `
plugin_configs:
  - id: both
    plugins: {ext-plugin-post-req: {conf: [{name: a, value: "{}"}, {name: b, value: "{}"}]}}
global_rules:
  - id: all
    plugins: {request-id: {}, prometheus: {prefer_name: true}}
`

// rulesFile routes to node: /plain/* with nothing, /ext/* with the runner, /rewrite/* with the runner and proxy-rewrite,
// /limited/* two calls a minute, /key/* with the runner behind key-auth.
func rulesFile(node string) string {
	return fmt.Sprintf(`
upstreams: [{id: up, type: roundrobin, nodes: {"%s": 1}}]`, node) + plugins + `
routes:
  - {id: r-plain, name: plain, uri: /plain/*, upstream_id: up, timeout: {connect: 1, send: 1, read: 0.3}}
  - {id: r-ext, uri: /ext/*, upstream_id: up, plugin_config_id: both}
  - id: r-rewrite
    uri: /rewrite/*
    upstream_id: up
    plugin_config_id: both
    plugins: {proxy-rewrite: {headers: {remove: [X-Secret]}}}
  - {id: r-limited, uri: /limited/*, upstream_id: up, plugins: {limit-count: {count: 2, time_window: 60, rejected_code: 429}}}
  - {id: r-key, uri: /key/*, upstream_id: up, plugin_config_id: both, plugins: {key-auth: {hide_credentials: true}}}
consumers: [{username: acme, plugins: {key-auth: {key: k-acme}}}]
#END
`
}

var zapNop = zap.NewNop()

type setup struct {
	static, rules string
	env           map[string]string
	opts          Options
}

type running struct {
	*Gateway
	dir    string
	egress string // of the real runner
	logs   *observer.ObservedLogs
}

// startGateway runs a gateway until the end of the test.
func startGateway(tb testing.TB, s setup) *running {
	tb.Helper()
	dir := tb.TempDir()
	writeFile(tb, dir, "config.yaml", s.static)
	writeFile(tb, dir, "apisix.yaml", s.rules)
	core, logs := observer.New(zapcore.InfoLevel)
	s.opts.ConfDir, s.opts.Log = dir, zap.New(core)
	s.opts.Lookup = func(name string) (string, bool) { v, ok := s.env[name]; return v, ok }
	if s.opts.RespawnDelay == 0 {
		s.opts.RespawnDelay = 20 * time.Millisecond
	}
	if s.opts.Poll == 0 {
		s.opts.Poll = 5 * time.Millisecond
	}
	g, err := Start(s.opts)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close(deadline(tb))) })
	require.NoError(tb, g.Ready(deadline(tb)))
	return &running{Gateway: g, dir: dir, logs: logs}
}

func writeFile(tb testing.TB, dir, name, text string) {
	tb.Helper()
	require.NoError(tb, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}

func deadline(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

// upstream answers with what it got: the request line and sorted headers, then the body.
func upstream(tb testing.TB) string {
	tb.Helper()
	s := httptest.NewServer(http.HandlerFunc(echo))
	tb.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Server", "upstream")
	w.Header().Set("X-Own", "upstream")
	var lines []string
	for name, values := range r.Header {
		for _, v := range values {
			lines = append(lines, name+": "+v)
		}
	}
	sort.Strings(lines)
	_, _ = fmt.Fprintf(w, "%s %s\nHost: %s\n%s\n\n%s", r.Method, r.RequestURI, r.Host, strings.Join(lines, "\n"), body)
}

type answer struct {
	*http.Response
	body string
}

// raw sends bytes as they are and reads one answer.
func (g *running) raw(tb testing.TB, request string) answer {
	tb.Helper()
	c, err := net.Dial("tcp", g.Addr())
	require.NoError(tb, err)
	defer func() { _ = c.Close() }()
	require.NoError(tb, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(c, request)
	require.NoError(tb, err)
	method, _, _ := strings.Cut(request, " ")
	return readAnswer(tb, c, method)
}

func readAnswer(tb testing.TB, c net.Conn, method string) answer {
	tb.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	require.NoError(tb, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(tb, err)
	return answer{res, string(body)}
}

// get sends a request with header lines of the form "Name: value".
func (g *running) get(tb testing.TB, target string, headers ...string) answer {
	tb.Helper()
	lines := append([]string{"GET " + target + " HTTP/1.1", "Host: gw.example:9080"}, headers...)
	return g.raw(tb, strings.Join(lines, "\r\n")+"\r\n\r\n")
}
