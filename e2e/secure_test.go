package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

// secureStack is a whole stack in which every hop is over TLS with client certificates, and the keys of statements are in files.
type secureStack struct {
	world.Stack

	dir       string
	authority *testkit.Authority
	port      map[string]string
	names     []string // of the processes
}

// startSecureStack runs the programs that the stack of the other tests was built with.
func startSecureStack(t *testing.T) *secureStack {
	t.Helper()
	s := &secureStack{dir: t.TempDir(), authority: testkit.NewAuthority(t), port: map[string]string{}}
	for _, name := range []string{"gateway", "secure", "gateway-metrics", "egress", "subscription", "admin", "listener", "callback"} {
		s.port[name] = freePort(t)
	}
	s.GatewayURL, s.AdminURL, s.AdminToken = "http://127.0.0.1:"+s.port["gateway"], "http://127.0.0.1:"+s.port["admin"], secret()
	s.CallbackMetricsURL, s.SubscriptionMetricsURL = "http://127.0.0.1:"+s.port["callback"]+"/metrics", s.AdminURL+"/metrics"
	redis, broker := testkit.StartSecureRedis(t, s.authority), testkit.StartSecureRabbit(t, s.authority)
	keys := []string{
		"WEBHOOK_GATEWAY_KEY_FILE=" + s.keys(t, "gateway", secret()), "WEBHOOK_CALLBACK_KEY_FILE=" + s.keys(t, "callback", secret()),
		"WEBHOOK_KEYRING=k1:" + base64.StdEncoding.EncodeToString([]byte(secret()[:32])), "WEBHOOK_ADMIN_TOKEN=" + s.AdminToken,
	}
	common := append([]string{
		"PATH=" + os.Getenv("PATH"), "REDIS_URL=" + redis.URL, "AMQP_URL=" + broker.SecureURL, "WEBHOOK_ALLOW_CIDRS=127.0.0.0/8", "WEBHOOK_ALLOW_HTTP=true",
		"WEBHOOK_LOG_LEVEL=warn", "WEBHOOK_RETRY_SCHEDULE=250ms,1s",
	}, keys...)
	common = append(common, variables("WEBHOOK_REDIS_", s.authority.Files(t, "anybody"))...)
	common = append(common, variables("WEBHOOK_AMQP_", s.authority.Files(t, "guest"))...)
	server := s.authority.Files(t, "subscription-service")
	s.run(t, "subscription-service", common, "WEBHOOK_LISTEN=127.0.0.1:"+s.port["subscription"], "WEBHOOK_ADMIN_LISTEN=127.0.0.1:"+s.port["admin"],
		"WEBHOOK_TLS_CERT="+server.Cert, "WEBHOOK_TLS_KEY="+server.Key, "WEBHOOK_TLS_CLIENT_CA="+server.CA)
	s.run(t, "event-listener", common, "WEBHOOK_METRICS_LISTEN=127.0.0.1:"+s.port["listener"])
	s.run(t, "devgateway", common, "WEBHOOK_GATEWAY_PORT="+s.port["gateway"], "WEBHOOK_GATEWAY_METRICS_PORT="+s.port["gateway-metrics"],
		"WEBHOOK_EGRESS=127.0.0.1:"+s.port["egress"], "WEBHOOK_SUBSCRIPTION_NODE=localhost:"+s.port["subscription"], "WEBHOOK_RUNNER="+program(t, "webhook-runner"))
	s.run(t, "callback-service", common, append(variables("WEBHOOK_GATEWAY_TLS_", s.authority.Files(t, "callback-service")),
		"WEBHOOK_GATEWAY_URL=https://localhost:"+s.port["secure"], "WEBHOOK_METRICS_LISTEN=127.0.0.1:"+s.port["callback"])...)
	for _, address := range []string{s.AdminURL, "http://127.0.0.1:" + s.port["listener"], "http://127.0.0.1:" + s.port["callback"]} {
		eventually(t, address+" is ready", func() bool { return status(address+"/readyz") == http.StatusOK })
	}
	eventually(t, "the gateway answers", func() bool { return status(s.GatewayURL+"/orders/subscribe") == http.StatusUnauthorized })
	return s
}

func secret() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	return hex.EncodeToString(raw)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func variables(prefix string, f tlsconf.Files) []string {
	return []string{prefix + "CA=" + f.CA, prefix + "CERT=" + f.Cert, prefix + "KEY=" + f.Key}
}

func status(url string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// keys writes the keys of statements for all processes at once.
func (s *secureStack) keys(t *testing.T, name string, keys ...string) string {
	t.Helper()
	path := filepath.Join(s.dir, name+".keys")
	testkit.Put(t, path, strings.Join(keys, "\n")+"\n")
	return path
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../bin/" + name)
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Skip("there are no programs: run through make test, or make build before")
	}
	return path
}

// run starts a program until the test ends. Its log is in the stack's folder.
func (s *secureStack) run(t *testing.T, name string, common []string, own ...string) {
	t.Helper()
	logged, err := os.Create(filepath.Join(s.dir, name+".log"))
	require.NoError(t, err)
	cmd := exec.CommandContext(context.Background(), program(t, name)) // #nosec G204 -- the project's own programs
	if name == "devgateway" {
		cmd.Args = append(cmd.Args, "-conf", s.conf(t))
	}
	cmd.Env, cmd.Stdout, cmd.Stderr = append(common, own...), logged, logged
	require.NoError(t, cmd.Start())
	s.names = append(s.names, name)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(logged.Name())
			t.Logf("%s:\n%s", name, text[max(0, len(text)-2000):])
		}
	})
}

// conf is apisix-conf with what docs/operator-guide.md says about TLS between the parts.
func (s *secureStack) conf(t *testing.T) string {
	t.Helper()
	dir, ca := t.TempDir(), filepath.Join(s.dir, "ca.pem")
	testkit.Put(t, ca, s.authority.PEM())
	s.change(t, dir, "config.yaml", "    enable: false", fmt.Sprintf("    enable: true\n    listen: [{ip: 127.0.0.1, port: %s}]\n    ssl_trusted_certificate: %s", s.port["secure"], ca),
		"    client_body_buffer_size 1m;", "    client_body_buffer_size 1m;\n    proxy_ssl_verify on;")
	cert, key := s.authority.Issue("gateway", nil, nil)
	s.change(t, dir, "apisix.yaml", "upstreams:\n", fmt.Sprintf("ssls:\n  - id: callback-service\n    snis: [localhost]\n    cert: %s\n    key: %s\n    client:\n      ca: %s\n\nupstreams:\n",
		block(cert), block(key), block(s.authority.PEM())),
		"  - id: subscription-service\n", fmt.Sprintf("  - id: subscription-service\n    scheme: https\n    pass_host: node\n    tls:\n      client_cert: %s\n      client_key: %s\n", block(cert), block(key)))
	return dir
}

func (s *secureStack) change(t *testing.T, dir, name string, oldnew ...string) {
	t.Helper()
	text, err := os.ReadFile("../apisix-conf/" + name)
	require.NoError(t, err)
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(t, string(text), oldnew[i])
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer(oldnew...).Replace(string(text))), 0o600))
}

// block is a text as a value in YAML.
func block(text string) string {
	return "|\n        " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n        ")
}

// said counts how often the processes logged something.
func (s *secureStack) said(t *testing.T, what string) int {
	t.Helper()
	n := 0
	for _, name := range s.names {
		text, err := os.ReadFile(filepath.Join(s.dir, name+".log"))
		require.NoError(t, err)
		n += strings.Count(string(text), what)
	}
	return n
}

// replaced is what a process logs once it has read new keys.
const replaced = "the keys of statements were replaced"

// Every hop over TLS at once, and meanwhile the keys of statements are replaced: no call fails and no attempt
// is refused for it.
func TestEveryHopOverTLSWhileKeysAreReplaced(t *testing.T) {
	stack(t) // skips where nothing was built
	s := startSecureStack(t)
	require.NoError(t, s.NewResource(ctx(t), "orders"))
	consumer, err := s.NewConsumer(ctx(t), "acme", world.Grant{Resource: "orders", Actions: []string{"subscribe", "publish"}})
	require.NoError(t, err)
	hook := receiver(t, nil)
	made, err := consumer.Want(ctx(t), 201, "POST", "/orders/subscribe", map[string]any{"callback_url": hook.URL})
	require.NoError(t, err)

	stop, ended, published := make(chan struct{}), make(chan error, 1), new(atomic.Int64)
	go func() { ended <- keepPublishing(ctx(t), consumer, published, stop) }()
	kinds := []string{"gateway", "callback"}
	before, after := map[string]string{}, map[string]string{}
	for _, kind := range kinds {
		older, err := os.ReadFile(filepath.Join(s.dir, kind+".keys"))
		require.NoError(t, err)
		before[kind], after[kind] = strings.TrimSpace(string(older)), secret()
	}
	for _, step := range [][]map[string]string{{before, after}, {after, before}, {after}} {
		known, at := s.said(t, replaced), published.Load()
		for _, kind := range kinds {
			var keys []string
			for _, of := range step {
				keys = append(keys, of[kind])
			}
			s.keys(t, kind, keys...)
		}
		// The runner both, and each of the services at the other ends its own. Then what was signed before must be over.
		eventually(t, "all have read the keys", func() bool { return s.said(t, replaced) == known+4 })
		eventually(t, "calls go on", func() bool { return published.Load() > at+3 })
	}
	close(stop)
	require.NoError(t, <-ended)
	eventually(t, "everything arrived", func() bool { return len(hook.Callbacks()) >= int(published.Load()) })
	for _, callback := range hook.Callbacks() {
		require.NoError(t, callback.Verify(made.Field("secret")))
	}
	attempts, err := world.Metric(ctx(t), s.CallbackMetricsURL, `webhook_attempts_total`)
	require.NoError(t, err)
	require.EqualValues(t, published.Load(), attempts, "none was refused and tried again")
}

func keepPublishing(ctx context.Context, consumer world.Client, published *atomic.Int64, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		event := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/e2e","type":"order.created","data":{}}`, published.Load())
		if _, err := consumer.With("Content-Type", "application/cloudevents+json").Want(ctx, 202, "POST", "/orders/events", event); err != nil {
			return err
		}
		if _, err := consumer.Want(ctx, 200, "GET", "/orders/subscribe", nil); err != nil {
			return err
		}
		published.Add(1)
	}
}
