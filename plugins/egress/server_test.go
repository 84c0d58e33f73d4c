package egress

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
)

var quiet = log.New(io.Discard, "", 0)

// start is Serve with the address that it got.
func start(t testing.TB, address string) (*Server, *pass.Book, string) {
	t.Helper()
	book := pass.NewBook(time.Now)
	s := Serve(address, New(Options{Book: book, Policy: policy(t, "127.0.0.0/8")}), zap.NewNop())
	select {
	case got := <-s.bound:
		return s, book, got.String()
	case <-time.After(5 * time.Second):
		t.Fatal("it does not listen")
	}
	return nil, nil, ""
}

func within(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

func TestAPortThatIsHeldIsTakenOnceItIsFree(t *testing.T) {
	holder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(holder.Addr().String(), New(Options{Book: pass.NewBook(time.Now), Policy: policy(t)}), zap.NewNop())
	if s.Ready() {
		t.Error("ready while another holds the port")
	}
	_ = holder.Close()
	within(t, "it is ready", s.Ready)
	if err := s.Shutdown(context.Background()); err != nil || s.Ready() {
		t.Fatalf("shutdown: %v, ready %t", err, s.Ready())
	}
}

func TestAShutdownBeforeThePortIsFreeEnds(t *testing.T) {
	holder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close() }()
	s := Serve(holder.Addr().String(), New(Options{Book: pass.NewBook(time.Now), Policy: policy(t)}), zap.NewNop())
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func send(address, pass string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+address, strings.NewReader("{}"))
	if err != nil {
		return nil, err
	}
	req.Header.Set(contract.HeaderPass, pass)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return client.Do(req)
}

func TestAShutdownLetsCallsUnderWayEndAndFreesThePort(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) { close(inside); <-leave; w.WriteHeader(http.StatusTeapot) })
	s, book, address := start(t, "127.0.0.1:0")
	b := &bench{t: t, book: book}
	status := make(chan int, 1)
	token := b.pass(endpoint.URL, 10*time.Second)
	go func() {
		resp, err := send(address, token)
		if err != nil {
			status <- 0
			return
		}
		_ = resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-inside
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(context.Background()) }()
	next, _, _ := start(t, address) // the new runner gets the port while the old one's call is still under way
	select {
	case err := <-ended:
		t.Fatalf("it ended before its call: %v", err)
	default:
	}
	close(leave)
	if got := <-status; got != http.StatusTeapot {
		t.Errorf("the call under way got %d", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := next.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAShutdownEndsAtItsDeadline(t *testing.T) {
	inside := make(chan struct{})
	endpoint := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server sees the other side hang up only after that
		close(inside)
		<-r.Context().Done()
	})
	s, book, address := start(t, "127.0.0.1:0")
	b := &bench{t: t, book: book}
	token, done := b.pass(endpoint.URL, 10*time.Second), make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := send(address, token); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-inside
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("the call that was cut is not told of")
	}
	<-done
}

func TestRefusingKeepsThePortOpenForCallsWithAPass(t *testing.T) {
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) {})
	s, book, address := start(t, "127.0.0.1:0")
	b := &bench{t: t, book: book}
	token := b.pass(endpoint.URL, 0)
	within(t, "it is ready", s.Ready)
	s.Refuse()
	if s.Ready() {
		t.Error("still ready")
	}
	resp, err := send(address, token)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get(contract.HeaderOutcome); got != "response" {
		t.Errorf("got %s", got)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
