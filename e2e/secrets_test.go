package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// Every kind of secret goes through every part once, with good and with bad ends; then no log, metric, dead letter or API
// answer may hold any of them.
func TestNoSecretIsInALogAMetricAQueueOrAnAnswer(t *testing.T) {
	s := setScene(t)
	key := s.consumer.Header.Get("apikey")
	fails := receiver(t, func(int, world.Callback) int { return 410 })
	works := receiver(t, nil)
	bearer, password, wrongKey := "bearer-"+s.resource, "password-"+s.resource, "whk_wrong-"+s.resource
	_, secretOne := s.subscribe(t, works.URL, map[string]any{"auth": map[string]string{"type": "bearer", "token": bearer}})
	id, secretTwo := s.subscribe(t, fails.URL, map[string]any{"auth": map[string]string{"type": "basic", "username": "me", "password": password}})
	client, apiKey, granted := "client-"+s.resource, "apikey-"+s.resource, "granted-"+s.resource
	g := newGrantor(t, "acme", client, granted)
	certificate, private := testkit.NewAuthority(t).Issue("acme", nil, nil)
	for _, auth := range []map[string]any{
		g.auth("acme", client), g.auth("acme", client+"-wrong"), {"type": "headers", "headers": map[string]string{"X-Api-Key": apiKey}},
		{"type": "mtls", "certificate": certificate, "key": private},
	} {
		url := works.URL
		if auth["type"] == "mtls" {
			url = "https" + strings.TrimPrefix(works.URL, "http") // which has no TLS: it fails
		}
		s.subscribe(t, url, map[string]any{"auth": auth, "signatures": []string{"v1", "v1a"}})
	}
	s.publish(t, "one")
	_, err := works.WaitFor(ctx(t), 3) // bearer, oauth2, headers
	require.NoError(t, err)
	letter, err := s.producer.DeadLetter(ctx(t), func(m rabbit.Message) bool { return m.Headers["x-webhook-subscription"] == id })
	require.NoError(t, err)

	seen := map[string]string{"the dead letter": fmt.Sprint(letter.Headers, string(letter.Body))}
	ask := func(name string, c world.Client, method, path string, body any) {
		answer, err := c.Do(ctx(t), method, path, body)
		require.NoError(t, err)
		seen[name] = fmt.Sprint(answer.Header, string(answer.Body))
	}
	ask("a wrong key", s.Consumer(wrongKey), "GET", s.path(), nil)
	ask("a token", s.Consumer("").With("Authorization", "Bearer eyJ.token-"+s.resource+".x"), "GET", s.path(), nil)
	ask("a key and a token", s.consumer.With("Authorization", "Bearer eyJ.token-"+s.resource+".x"), "GET", s.path(), nil)
	ask("a bad statement", s.consumer.With("X-Webhook-Statement", "eyJ.statement-"+s.resource+".x"), "GET", s.path(), nil)
	ask("a bad URL", s.consumer, "POST", s.path(), `{"callback_url":"https://me:`+password+`@example.com/"}`)
	ask("a bad auth", s.consumer, "POST", s.path(), `{"callback_url":"https://example.com/","auth":{"type":"bearer","token":"`+bearer+`","x":1}}`)
	ask("a bad client", s.consumer, "POST", s.path(), map[string]any{"callback_url": "ftp://example.com/", "auth": g.auth("acme", client)})
	ask("a bad key", s.consumer, "POST", s.path(), map[string]any{"callback_url": "https://example.com/", "auth": map[string]any{"type": "mtls", "certificate": private, "key": certificate}})
	ask("broken JSON", s.consumer, "POST", s.path(), `{"auth":{"token":"`+bearer+`"`)
	ask("the list", s.consumer, "GET", s.path(), nil)
	ask("one", s.consumer, "GET", s.path()+"/"+id, nil)
	ask("the deliveries", s.consumer, "GET", s.path()+"/"+id+"/deliveries", nil)
	ask("the consumers", s.Admin(), "GET", "/admin/v1/consumers", nil)
	ask("a wrong admin token", world.Client{Base: s.AdminURL}.With("Authorization", "Bearer admin-"+s.resource), "GET", "/admin/v1/consumers", nil)
	for name, url := range map[string]string{"callback": s.CallbackMetricsURL, "listener": s.ListenerMetricsURL, "subscription": s.SubscriptionMetricsURL} {
		ask(name+" metrics", world.Client{Base: url}, "GET", "", nil)
		ask(name+" readiness", world.Client{Base: strings.TrimSuffix(url, "/metrics")}, "GET", "/readyz", nil)
	}
	for file, text := range logs(t) {
		seen[file] = text
	}

	secrets := map[string]string{
		"the API key": key, "a wrong API key": wrongKey, "the bearer token": bearer, "the password": password,
		"a signing secret": strings.TrimPrefix(secretOne, "whsec_"), "another signing secret": strings.TrimPrefix(secretTwo, "whsec_"),
		"a client secret": client, "a secret header": apiKey, "an access token": granted, "a private key": strings.Split(private, "\n")[1],
		"the admin token": s.AdminToken, "a wrong admin token": "admin-" + s.resource, "a statement": "statement-" + s.resource, "a token": "token-" + s.resource,
	}
	for name, value := range ownSecrets(t) {
		secrets[name] = value
	}
	for where, text := range seen {
		for what, secret := range secrets {
			require.NotContains(t, text, secret, "%s is in %s", what, where)
		}
	}
}

// logs reads the logs of all parts, where the stack is ours.
func logs(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	paths, err := filepath.Glob(filepath.Join(runDir(), "log", "*.log"))
	require.NoError(t, err)
	for _, path := range paths {
		text, err := os.ReadFile(path) // #nosec G304 -- the stack's own folder
		require.NoError(t, err)
		files[filepath.Base(path)] = string(text)
	}
	return files
}

// ownSecrets reads what the stack's parts share with one another.
func ownSecrets(t *testing.T) map[string]string {
	t.Helper()
	secrets := map[string]string{}
	text, err := os.ReadFile(filepath.Join(runDir(), "secrets.env"))
	if os.IsNotExist(err) {
		return secrets
	}
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			secrets[name] = value
		}
	}
	require.NotEmpty(t, secrets)
	return secrets
}

func runDir() string {
	dir := os.Getenv("RUN_DIR")
	if dir == "" {
		return "no-stack-of-ours"
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join("..", dir)
	}
	return dir
}
