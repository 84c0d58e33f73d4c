package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	rabbitCtl    = "/usr/lib/rabbitmq/bin/rabbitmqctl"
	rabbitStart  = 90 * time.Second
	rabbitStop   = 30 * time.Second
)

// AMQP returns the URL of the broker to test against, $AMQP_URL. Without one the test is skipped, or
// fails where $WEBHOOK_TEST_REQUIRE is set.
func AMQP(t testing.TB) string {
	t.Helper()
	url := os.Getenv("AMQP_URL")
	if url == "" {
		skip(t, "AMQP_URL is not set: run through make test")
	}
	return url
}

// Rabbit is AMQP, or a private broker until the test ends where $AMQP_URL is not set.
func Rabbit(t testing.TB) string {
	t.Helper()
	if os.Getenv("AMQP_URL") == "" {
		return StartRabbit(t).URL
	}
	return AMQP(t)
}

func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("WEBHOOK_TEST_REQUIRE") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// Broker is a private RabbitMQ, for tests that stop and start it. It has no plugins, keeps its data
// across restarts and listens on loopback only.
type Broker struct {
	URL string
	// SecureURL is where it wants clients of an authority, over TLS; see StartSecureRabbit. It has no user in it.
	SecureURL string

	dir        string
	plugins    string
	conf       string
	port, dist int
	epmdPort   int
	epmd       *process

	mu     sync.Mutex
	server *process
}

// StartRabbit runs a broker until the test ends. It skips where RabbitMQ isn't installed, unless
// $WEBHOOK_TEST_REQUIRE is set.
func StartRabbit(t testing.TB) *Broker {
	t.Helper()
	if !RabbitInstalled() {
		skip(t, rabbitServer+" is not installed: apt-get install rabbitmq-server, or run through make test")
	}
	b, err := NewBroker(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// StartSecureRabbit is StartRabbit with a listener that wants clients of the authority, over TLS; its certificate is for localhost.
// A client whose certificate is for "guest" may sign in with it alone (SASL EXTERNAL).
func StartSecureRabbit(t testing.TB, a *Authority) *Broker {
	t.Helper()
	if !RabbitInstalled() {
		skip(t, rabbitServer+" is not installed: apt-get install rabbitmq-server, or run through make test")
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	f := a.Files(t, "rabbitmq")
	b := &Broker{dir: t.TempDir(), SecureURL: fmt.Sprintf("amqps://localhost:%d/", port), plugins: "[rabbitmq_auth_mechanism_ssl].\n"}
	b.conf = fmt.Sprintf(`listeners.ssl.1 = 127.0.0.1:%d
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_cert_login_from = common_name
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
`, port, f.CA, f.Cert, f.Key)
	t.Cleanup(b.Close)
	if err := errors.Join(b.prepare(), b.start()); err != nil {
		t.Fatal(err)
	}
	return b
}

// RabbitInstalled says whether NewBroker can work here.
func RabbitInstalled() bool {
	_, err := os.Stat(rabbitServer)
	return err == nil
}

// NewBroker is StartRabbit for a TestMain: it keeps everything in dir, and its caller has to Close it.
func NewBroker(dir string) (*Broker, error) {
	b := &Broker{dir: dir, plugins: "[].\n"}
	if err := b.prepare(); err != nil {
		return nil, fmt.Errorf("preparing a broker: %w", err)
	}
	if err := b.start(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Broker) prepare() error {
	// Instead of the machine's own.
	files := map[string]string{"plugins": b.plugins, "rabbitmq.conf": b.conf, "env.conf": ""}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, port := range []*int{&b.port, &b.dist, &b.epmdPort} {
		var err error
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	b.URL = fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", b.port)
	// In the foreground and ours: Erlang would start one that outlives the broker.
	epmd, err := run(b.dir, "epmd", b.environment(), "epmd", "-port", strconv.Itoa(b.epmdPort), "-address", "127.0.0.1")
	if err != nil {
		return err
	}
	b.epmd = epmd
	return b.await(epmd, b.epmdPort, nil)
}

func (b *Broker) environment() []string {
	in := func(name string) string { return filepath.Join(b.dir, name) }
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"HOME=" + b.dir, // for the Erlang cookie
		"ERL_EPMD_PORT=" + strconv.Itoa(b.epmdPort),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=test" + strconv.Itoa(b.port) + "@localhost",
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT=" + strconv.Itoa(b.port),
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(b.dist),
		"RABBITMQ_MNESIA_BASE=" + in("mnesia"),
		"RABBITMQ_LOG_BASE=" + in("log"),
		"RABBITMQ_LOG=warning",
		"RABBITMQ_PID_FILE=" + in("pid"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + in("plugins"),
		"RABBITMQ_CONFIG_FILE=" + in("rabbitmq"),
		"RABBITMQ_CONF_ENV_FILE=" + in("env.conf"),
		// Makes the start script become the server, rather than its parent: the pid is the server's.
		"RABBITMQ_ALLOW_INPUT=true",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-noinput -kernel inet_dist_use_interface {127,0,0,1}",
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (b *Broker) start() error {
	server, err := run(b.dir, "rabbitmq", b.environment(), rabbitServer)
	if err != nil {
		return fmt.Errorf("starting RabbitMQ: %w", err)
	}
	if err := b.await(server, b.port, greets); err != nil {
		server.end(syscall.SIGKILL) // before its output is read
		return fmt.Errorf("starting RabbitMQ: %w\n%s", err, server.output.Bytes())
	}
	b.server = server
	return nil
}

// await polls until the port answers.
func (b *Broker) await(p *process, port int, probe func(net.Conn) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), rabbitStart)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(port, probe) {
			return nil
		}
		select {
		case <-p.done:
			return errors.New("it exited")
		case <-ctx.Done():
			return fmt.Errorf("no answer on port %d after %v", port, rabbitStart)
		case <-tick.C:
		}
	}
}

func answers(port int, probe func(net.Conn) bool) bool {
	c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	return probe == nil || probe(c)
}

// greets says whether an AMQP 0.9.1 broker answers the protocol header, with a method frame.
func greets(c net.Conn) bool {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return false
	}
	if _, err := c.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return false
	}
	first := make([]byte, 1)
	_, err := c.Read(first)
	return err == nil && first[0] == 1
}

// Start starts a stopped broker and waits until it answers.
func (b *Broker) Start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		return nil
	}
	return b.start()
}

// Stop ends the broker in an orderly way and waits for it.
func (b *Broker) Stop() { b.end(syscall.SIGTERM) }

// Kill ends the broker as a crash would, and waits for it.
func (b *Broker) Kill() { b.end(syscall.SIGKILL) }

// Restart is Stop and Start.
func (b *Broker) Restart() error {
	b.Stop()
	return b.Start()
}

// Ctl runs rabbitmqctl against the broker.
func (b *Broker) Ctl(args ...string) error {
	cmd := exec.Command(rabbitCtl, args...)
	cmd.Env = b.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("rabbitmqctl %v: %w\n%s", args, err, out)
	}
	return nil
}

func (b *Broker) end(s syscall.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		b.server.end(s)
		b.server = nil
	}
}

// Close ends every process the broker needed.
func (b *Broker) Close() {
	b.Kill()
	if b.epmd != nil {
		b.epmd.end(syscall.SIGKILL)
		b.epmd = nil
	}
}

// process is a child in a process group of its own.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan struct{}
}

func run(dir, name string, env []string, command string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(command, args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, env
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = ownGroup()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	return p, nil
}

// end signals the process and, when it doesn't go, kills it. What it left in its group is killed.
func (p *process) end(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(rabbitStop):
		_ = p.cmd.Process.Kill()
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}
