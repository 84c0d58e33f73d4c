package testkit

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const (
	redisStart = 10 * time.Second
	redisTries = 3
)

// Redis returns the URL of a Redis to test against: $REDIS_URL, or else a private server that keeps nothing, listens on
// loopback only and ends with the test. Without redis-server the test is skipped, or fails where $WEBHOOK_TEST_REQUIRE
// is set. Keep to a Namespace: others may use the same server.
func Redis(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("REDIS_URL"); url != "" {
		return url
	}
	return StartRedis(t).URL
}

// Namespace returns a prefix for keys that no other test has.
func Namespace(t testing.TB) string {
	t.Helper()
	return contract.NewID("test")
}

// RedisServer is a private Redis, for tests that stop it.
type RedisServer struct {
	URL string

	server *process
}

// StartRedis runs a private Redis until the test ends. See Redis for when it skips.
func StartRedis(t testing.TB) *RedisServer {
	t.Helper()
	return startRedisWith(t)
}

func startRedisWith(t testing.TB, more ...string) *RedisServer {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		skip(t, "redis-server is not installed: apt-get install redis-server, or set REDIS_URL")
	}
	for try := 1; ; try++ {
		r, err := startRedis(t.TempDir(), binary, more...)
		if err == nil {
			t.Cleanup(r.Stop)
			return r
		}
		if try == redisTries { // somebody else may have taken the port
			t.Fatal(err)
		}
	}
}

// StartSecureRedis runs a private Redis that wants clients of the authority, over TLS, until the test ends. Its certificate is
// for localhost. See Redis for when it skips.
func StartSecureRedis(t testing.TB, a *Authority) *RedisServer {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	files := a.Files(t, "redis")
	r := startRedisWith(t, "--tls-port", strconv.Itoa(port), "--tls-auth-clients", "yes",
		"--tls-ca-cert-file", files.CA, "--tls-cert-file", files.Cert, "--tls-key-file", files.Key)
	r.URL = fmt.Sprintf("rediss://localhost:%d/0", port)
	return r
}

// Stop ends the server. Doing it again is harmless.
func (r *RedisServer) Stop() { r.server.end(syscall.SIGKILL) }

func startRedis(dir, binary string, more ...string) (*RedisServer, error) {
	port, err := freePort()
	if err != nil {
		return nil, fmt.Errorf("finding a port for Redis: %w", err)
	}
	plain := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir}
	server, err := run(dir, "redis", nil, binary, append(plain, more...)...)
	if err != nil {
		return nil, err
	}
	if !awaitRedis(server, port) {
		server.end(syscall.SIGKILL) // before its output is read
		return nil, fmt.Errorf("redis-server does not answer:\n%s", server.output.Bytes())
	}
	return &RedisServer{URL: fmt.Sprintf("redis://127.0.0.1:%d/0", port), server: server}, nil
}

func awaitRedis(server *process, port int) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(redisStart)
	defer deadline.Stop()
	for !answers(port, pong) {
		select {
		case <-server.done:
			return false
		case <-deadline.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

func pong(c net.Conn) bool {
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	reply := make([]byte, len("+PONG"))
	n, err := c.Read(reply)
	return err == nil && strings.HasPrefix(string(reply[:n]), "+")
}
