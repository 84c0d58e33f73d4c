package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/callbackproxy"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/subscribe"
)

// asRunner makes the test's binary be the runner, and asParent a process that starts one and waits to be killed.
const (
	asRunner = "WEBHOOK_RUNNER_TEST_RUNNER"
	asParent = "WEBHOOK_RUNNER_TEST_PARENT"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asParent) != "":
		beParent()
	case os.Getenv(asRunner) != "":
		main()
	default:
		goleak.VerifyTestMain(m)
	}
}

func beParent() {
	_ = os.Unsetenv(asParent)
	child := exec.CommandContext(context.Background(), os.Args[0])
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		panic(err)
	}
	fmt.Println("child", child.Process.Pid)
	_ = child.Wait()
}

// running is a runner as APISIX starts it.
type running struct {
	*testkit.Buffer

	cmd  *exec.Cmd
	exit chan error
}

// launch starts a runner. Only what is given is in its environment.
func launch(t *testing.T, env ...string) *running {
	t.Helper()
	r := &running{Buffer: &testkit.Buffer{}, exit: make(chan error, 1), cmd: exec.CommandContext(context.Background(), os.Args[0])}
	r.cmd.Env = append([]string{asRunner + "=1", "APISIX_CONF_EXPIRE_TIME=3600", "PATH=" + os.Getenv("PATH")}, env...)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { r.exit <- r.cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); <-ended })
	return r
}

func (r *running) terminate(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.wantCleanExit(t)
}

func (r *running) wantCleanExit(t *testing.T) {
	t.Helper()
	select {
	case err := <-r.exit:
		if err != nil {
			t.Fatalf("it ended with %v:\n%s", err, r)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("it does not end:\n%s", r)
	}
}

func within(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

func accepts(network, address string) func() bool {
	return func() bool {
		c, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}
}

// complete reports whether a socket has its last mode.
func complete(path string) func() bool {
	return func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode().Perm() == finalMode && accepts("unix", path)()
	}
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func goodEnvironment(socket, egress string) []string {
	return []string{"APISIX_LISTEN_ADDRESS=unix:" + socket, "REDIS_URL=redis://127.0.0.1:1/0", "WEBHOOK_EGRESS=" + egress,
		"WEBHOOK_GATEWAY_KEY=" + goodKey, "WEBHOOK_CALLBACK_KEY=" + goodKey, "WEBHOOK_RUNNER_METRICS_LISTEN=off"}
}

func TestTheRunnerListensQuietlyAndExitsCleanly(t *testing.T) {
	socket, egress := filepath.Join(shortDir(t), "a.sock"), freeAddress(t)
	r := launch(t, goodEnvironment(socket, egress)...)
	within(t, "the socket", complete(socket))
	within(t, "the egress", accepts("tcp", egress))
	if private := fmt.Sprintf("%s.%d", socket, r.cmd.Process.Pid); fileExists(private) {
		t.Errorf("%s is still there", private)
	}
	r.terminate(t)
	if strings.Contains(r.String(), "INFO") || strings.Contains(r.String(), goodKey) {
		t.Errorf("it says:\n%s", r)
	}
}

func fileExists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestWithABadEnvironmentItRunsOnAndSaysWhyOnce(t *testing.T) {
	socket := filepath.Join(shortDir(t), "a.sock")
	r := launch(t, "APISIX_LISTEN_ADDRESS=unix:"+socket, "WEBHOOK_GATEWAY_KEY=hunter2", "WEBHOOK_LOG_LEVEL=loud", "WEBHOOK_RUNNER_METRICS_LISTEN=off")
	within(t, "the socket", complete(socket))
	r.terminate(t)
	said := r.String()
	if strings.Count(said, "every call is refused") != 1 || !strings.Contains(said, "WEBHOOK_LOG_LEVEL") || strings.Contains(said, "hunter2") {
		t.Errorf("it says:\n%s", said)
	}
}

func TestWithoutAnAddressToListenOnItEndsWithAReason(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:80", "unix:"} {
		r := launch(t, "APISIX_LISTEN_ADDRESS="+address)
		select {
		case err := <-r.exit:
			if err == nil || !strings.Contains(r.String(), "APISIX_LISTEN_ADDRESS") {
				t.Errorf("%q: %v:\n%s", address, err, r)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q: it runs on", address)
		}
	}
}

// A reload: the new runner starts while the old one still runs, and the old one ends after it.
func TestAReloadLosesNeitherTheSocketNorTheEgress(t *testing.T) {
	socket, egress := filepath.Join(shortDir(t), "a.sock"), freeAddress(t)
	old := launch(t, goodEnvironment(socket, egress)...)
	within(t, "the old socket", complete(socket))
	within(t, "the old egress", accepts("tcp", egress))
	before, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	next := launch(t, goodEnvironment(socket, egress)...)
	within(t, "the new socket in the old one's place", func() bool {
		now, err := os.Stat(socket)
		return err == nil && !os.SameFile(before, now)
	})
	within(t, "that the new one waits for the port", func() bool { return strings.Contains(next.String(), "waits for its port") })
	old.terminate(t)
	if !complete(socket)() {
		t.Error("the old runner took the new one's socket away")
	}
	within(t, "the new egress", accepts("tcp", egress))
	next.terminate(t)
}

func TestALeftoverOfAnEarlierProcessIsNotPublished(t *testing.T) {
	dir := shortDir(t)
	public := filepath.Join(dir, "a.sock")
	t.Setenv(listenVariable, unixScheme+public)
	leftover := fmt.Sprintf("%s.%d", public, os.Getpid())
	l, err := net.Listen("unix", leftover)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	if err := os.Chmod(leftover, finalMode); err != nil {
		t.Fatal(err)
	}
	s, err := privateSocket()
	if err != nil || fileExists(leftover) || os.Getenv(listenVariable) != unixScheme+s.private {
		t.Fatalf("got %+v, %v", s, err)
	}
	stop := make(chan struct{})
	close(stop)
	if err := s.publish(stop); err != nil || fileExists(public) {
		t.Fatalf("published: %v", err)
	}
}

func TestASocketIsPublishedOnlyOnceItHasItsLastMode(t *testing.T) {
	dir := shortDir(t)
	s := socket{public: filepath.Join(dir, "a"), private: filepath.Join(dir, "a.1")}
	l, err := net.Listen("unix", s.private)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	done, stop := make(chan error, 1), make(chan struct{})
	defer close(stop)
	go func() { done <- s.publish(stop) }()
	select {
	case err := <-done:
		t.Fatalf("published before its time: %v", err)
	case <-time.After(20 * publishEvery):
	}
	if err := os.Chmod(s.private, finalMode); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !fileExists(s.public) {
		t.Fatalf("not published: %v", err)
	}
}

// An orphan would hold the egress's port against the next gateway's runner.
func TestAnOrphanEnds(t *testing.T) {
	socket, egress := filepath.Join(shortDir(t), "a.sock"), freeAddress(t)
	parent := launch(t, append(goodEnvironment(socket, egress), asParent+"=1")...)
	within(t, "the socket", complete(socket))
	within(t, "the egress", accepts("tcp", egress))
	if err := parent.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	within(t, "that the egress is gone", func() bool { return !accepts("tcp", egress)() })
}

// whole is all of a runner but the library's socket.
func whole(t *testing.T) *process {
	t.Helper()
	setAll(t, map[string]string{"WEBHOOK_EGRESS": freeAddress(t), "WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8", "WEBHOOK_ALLOW_HTTP": "true"})
	env, _, err := readEnvironment()
	p := assemble(env, err, zap.NewNop())
	p.start(env)
	within(t, "the egress", func() bool { return p.server != nil && p.server.Ready() })
	return p
}

func (p *process) callback(t *testing.T, target string) (*requesttest.Request, *requesttest.Answer) {
	t.Helper()
	statement, err := p.parts.callback.SignCallback(contract.Callback{Target: target, Subscription: "sub_1", Delivery: "dlv_1"})
	if err != nil {
		t.Fatal(err)
	}
	r := requesttest.New(t, "POST", contract.CallbackPath, contract.HeaderStatement, statement)
	return r, p.route(t, r)
}

// route runs both plugins under one value, as every route does.
func (p *process) route(t *testing.T, r *requesttest.Request) *requesttest.Answer {
	t.Helper()
	return requesttest.Call(t, "{}", r, p.gate.Plugin(subscribe.Name, p.handlers[subscribe.Name]),
		p.gate.Plugin(callbackproxy.Name, p.handlers[callbackproxy.Name]))
}

// send is what the gateway does with a call that goes on.
func send(t *testing.T, r *requesttest.Request) (*http.Response, error) {
	t.Helper()
	path, header := r.Upstream()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+os.Getenv("WEBHOOK_EGRESS")+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return client.Do(req)
}

func TestBothPluginsShareARouteAndEachActsOnItsOwnPath(t *testing.T) {
	p := whole(t)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer endpoint.Close()
	r, a := p.callback(t, endpoint.URL)
	if a != nil {
		t.Fatalf("refused: %s", a.Body)
	}
	resp, err := send(t, r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusTeapot || resp.Header.Get(contract.HeaderOutcome) != "response" {
		t.Errorf("got %d %s", resp.StatusCode, resp.Header.Get(contract.HeaderOutcome))
	}
	if a := p.route(t, requesttest.New(t, "GET", "/orders/subscribe")); a == nil || a.Status != http.StatusUnauthorized {
		t.Errorf("subscribe: got %+v", a)
	}
	other := requesttest.New(t, "GET", "/other", "apikey", "k")
	if a := p.route(t, other); a != nil || other.Touched() {
		t.Errorf("another route: got %+v, touched %t", a, other.Touched())
	}
	if err := p.drain(); err != nil {
		t.Error(err)
	}
}

func TestADrainLetsACallWithAPassThroughAndRefusesNewOnes(t *testing.T) {
	p := whole(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(inside)
		<-leave
	}))
	defer endpoint.Close()
	vouched, a := p.callback(t, endpoint.URL)
	if a != nil {
		t.Fatalf("refused: %s", a.Body)
	}
	drained := make(chan error, 1)
	go func() { drained <- p.drain() }()
	within(t, "that new calls are refused", func() bool {
		r, a := p.callback(t, endpoint.URL)
		if a == nil { // came in just before: its pass would hold the drain up
			_, header := r.Upstream()
			p.book.Redeem(header["x-webhook-pass"][0])
		}
		return a != nil && a.Status == http.StatusServiceUnavailable
	})
	status := make(chan int, 1)
	go func() {
		resp, err := send(t, vouched)
		if err != nil {
			status <- 0
			return
		}
		_ = resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-inside
	close(leave)
	if got := <-status; got != http.StatusOK {
		t.Errorf("the call with a pass got %d", got)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// withKeysAt is a plugin's value that takes tokens of an issuer whose keys are at a URL.
func withKeysAt(url string) string {
	return fmt.Sprintf(`{"jwt":{"issuers":[{"issuer":"i","audience":"a","jwks_url":"%s"}]}}`, url)
}

func TestKeysOverPlainHTTPFromElsewhereRefuseEveryCallUnlessTheEnvironmentAllowsThem(t *testing.T) {
	for allowed, want := range map[string]int{"false": http.StatusServiceUnavailable, "true": http.StatusUnauthorized} {
		setAll(t, map[string]string{"WEBHOOK_ALLOW_HTTP": allowed})
		env, _, err := readEnvironment()
		p := assemble(env, err, zap.NewNop())
		value := withKeysAt("http://192.0.2.1/jwks.json")
		a := requesttest.Call(t, value, requesttest.New(t, "GET", "/orders/subscribe"), p.gate.Plugin(subscribe.Name, p.handlers[subscribe.Name]))
		if a == nil || a.Status != want {
			t.Errorf("allowed %s: got %+v", allowed, a)
		}
		if err := p.drain(); err != nil {
			t.Error(err)
		}
	}
}

func TestADrainDoesNotWaitForAnIssuerThatIsSilent(t *testing.T) {
	p := whole(t)
	asked, ended := make(chan struct{}), make(chan struct{})
	issuer := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(ended)
	}))
	defer issuer.Close()
	if _, err := p.gate.Plugin(subscribe.Name, p.handlers[subscribe.Name]).ParseConf([]byte(withKeysAt(issuer.URL))); err != nil {
		t.Fatal(err)
	}
	<-asked
	began := time.Now()
	if err := p.drain(); err != nil || time.Since(began) > 2*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	<-ended
}
