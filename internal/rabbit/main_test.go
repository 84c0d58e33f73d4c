package rabbit

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// patience is how long a test waits for what should happen; a broker takes seconds to restart.
const patience = 90 * time.Second

var (
	private    = sync.OnceValues(startPrivate)
	privateDir string
	stopBroker = func() {}
)

func startPrivate() (*testkit.Broker, error) {
	b, err := testkit.NewBroker(privateDir)
	if err == nil {
		stopBroker = b.Close
	}
	return b, err
}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rabbit")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	privateDir = dir
	defer os.RemoveAll(dir)
	code := m.Run()
	stopBroker()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// broker is the private broker all tests of the package share; they run one after the other.
func broker(t testing.TB) *testkit.Broker {
	t.Helper()
	if !testkit.RabbitInstalled() {
		testkit.StartRabbit(t) // skips or fails
	}
	b, err := private()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil { // a failed test may have left it stopped
		t.Fatal(err)
	}
	eventually(t, "the broker keeps a message", func() bool { return keeps(b.URL) == nil })
	return b
}

// keeps asks whether the broker's quorum queues work. After a kill by the test before, its port may be open long before that:
// a declaration is an INTERNAL_ERROR then, and a publish refused.
func keeps(url string) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("probe-%d-%d", os.Getpid(), namespaces.Add(1))
	if _, err := ch.QueueDeclare(name, true, false, false, false, quorum()); err != nil {
		return err
	}
	defer func() { _, _ = ch.QueueDelete(name, false, false, false) }()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	confirm, err := ch.PublishWithDeferredConfirm("", name, true, false, amqp.Publishing{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	kept, err := confirm.WaitContext(ctx)
	if err == nil && !kept {
		err = ErrNacked
	}
	return err
}

// brokerURL is the broker given by the environment, or else the private one.
func brokerURL(t testing.TB) string {
	t.Helper()
	if os.Getenv("AMQP_URL") != "" {
		return testkit.AMQP(t)
	}
	return broker(t).URL
}

var namespaces atomic.Int64

func namespace(t testing.TB, url string) string {
	ns := fmt.Sprintf("t%d-%d", os.Getpid(), namespaces.Add(1))
	t.Cleanup(func() { deleteAll(t, url, NamesFor(ns)) })
	return ns
}

func deleteAll(t testing.TB, url string, n Names) {
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Logf("cleaning up: %v", err)
		return
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Logf("cleaning up: %v", err)
		return
	}
	exchanges, queues := n.topology()
	for _, q := range append(queues, n.archive()) {
		_, _ = ch.QueueDelete(q.name, false, false, false)
	}
	for _, e := range exchanges {
		_ = ch.ExchangeDelete(e.name, false, false)
	}
}

// noLeaks checks at the end of the test, after every cleanup registered later.
func noLeaks(t testing.TB) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open connects in a new namespace.
func open(t testing.TB, url string) *Conn {
	t.Helper()
	c := openIn(t, url, namespace(t, url))
	return c
}

func openIn(t testing.TB, url, ns string) *Conn {
	t.Helper()
	c, err := Open(background(t), url, Options{Namespace: ns, Name: t.Name(), Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func numbered(n int) []Message {
	messages := make([]Message, n)
	for i := range messages {
		messages[i] = Message{ID: fmt.Sprint(i), Body: []byte(`{"n":1}`), ContentType: "application/json"}
	}
	return messages
}

func each(messages []Message, address func(Message) Message) []Message {
	out := make([]Message, len(messages))
	for i, m := range messages {
		out[i] = address(m)
	}
	return out
}

// consuming runs Consume in the background; stop ends it and returns its result.
func consuming(t testing.TB, c *Conn, queue string, o ConsumeOptions, handle func(context.Context, []*Delivery)) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Consume(ctx, queue, o, handle) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return fmt.Errorf("Consume of %s doesn't end", queue)
		}
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// collect gets deliveries through a channel.
func collect(t testing.TB, c *Conn, queue string, o ConsumeOptions) (<-chan *Delivery, func() error) {
	out := make(chan *Delivery, 100_000)
	stop := consuming(t, c, queue, o, func(_ context.Context, batch []*Delivery) {
		for _, d := range batch {
			out <- d
		}
	})
	return out, stop
}

func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// depth is how many messages a queue has ready for delivery.
func depth(t testing.TB, url, queue string) int {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Messages
}

// proxy stands between a client and the broker, to break what is between them.
type proxy struct {
	URL      string
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	refuse  bool
	muted   bool // swallow what the broker says
	unmuted *sync.Cond
	onBytes func(fromClient []byte) // sees what clients send
	until   []byte                  // of what the broker says: with it a connection ends
}

func newProxy(t testing.TB, url string) *proxy {
	t.Helper()
	u, err := amqp.ParseURI(url)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: fmt.Sprintf("%s:%d", u.Host, u.Port), conns: map[net.Conn]bool{}}
	p.unmuted = sync.NewCond(&p.mu)
	u.Port = l.Addr().(*net.TCPAddr).Port
	u.Host = "127.0.0.1"
	p.URL = u.String()
	if u.Password == "guest" && u.Username == "guest" {
		p.URL = fmt.Sprintf("amqp://127.0.0.1:%d/", u.Port)
	}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mute(false)
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		p.mu.Lock()
		if err != nil || p.refuse {
			_ = client.Close()
			if err == nil {
				_ = server.Close()
			}
			p.mu.Unlock()
			continue
		}
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.wg.Go(func() { p.pipe(server, client, true) })
		p.wg.Go(func() { p.pipe(client, server, false) })
	}
}

func (p *proxy) pipe(to, from net.Conn, fromClient bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for last := false; !last; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if fromClient {
			p.mu.Lock()
			see := p.onBytes
			p.mu.Unlock()
			if see != nil {
				see(buf[:n])
			}
		} else {
			p.mu.Lock()
			for p.muted && p.conns[from] {
				p.unmuted.Wait()
			}
			last = p.until != nil && bytes.Contains(buf[:n], p.until)
			p.mu.Unlock()
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut breaks every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
	}
	p.unmuted.Broadcast()
}

func (p *proxy) mute(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = on
	p.unmuted.Broadcast()
}

func (p *proxy) away(on bool) {
	p.mu.Lock()
	p.refuse = on
	p.mu.Unlock()
	if on {
		p.cut()
	}
}

// endAfter lets connections end with these bytes of the broker's.
func (p *proxy) endAfter(until []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = until
}

func (p *proxy) watch(see func([]byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onBytes = see
}
