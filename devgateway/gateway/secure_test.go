package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// secureStatic is staticFile with a listener over TLS and verified upstreams.
func secureStatic(trusted string) string {
	return strings.NewReplacer("ssl: {enable: false}", "ssl: {enable: true, listen: [{ip: 127.0.0.1, port: 0}], ssl_trusted_certificate: "+trusted+"}",
		"nginx_config:", "nginx_config:\n  http_configuration_snippet: proxy_ssl_verify on;").Replace(staticFile())
}

// block is a text as a value in YAML.
func block(text string) string {
	return "|\n        " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n        ")
}

// secureRules routes to a node over TLS with a certificate, and lets clients in that have one.
func secureRules(a *testkit.Authority, node string) string {
	cert, key := a.Issue("gateway", nil, nil)
	return fmt.Sprintf(`
ssls:
  - id: ours
    snis: [localhost, "*.example"]
    cert: %s
    key: %s
    client:
      ca: %s
upstreams:
  - id: up
    scheme: https
    pass_host: node
    tls:
      client_cert: %s
      client_key: %s
    nodes: {"%s": 1}
routes:
  - {id: r, uri: /*, upstream_id: up, plugins: {request-id: {}}}
#END
`, block(cert), block(key), block(a.PEM()), block(cert), block(key), node)
}

// secureUpstream wants clients of the authority and says who comes.
func secureUpstream(t *testing.T, a *testkit.Authority) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %d", r.TLS.PeerCertificates[0].Subject.CommonName, r.Host, r.Header.Get("X-Forwarded-Proto"), n)
	}))
	s.TLS, s.Config.ErrorLog = a.Server(), log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.Replace(s.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
}

// secureCall asks for a name; with nil, the client has no certificate.
func secureCall(t *testing.T, g *running, a, of *testkit.Authority, name, body string) (string, error) {
	t.Helper()
	config := &tls.Config{RootCAs: a.Pool(), ServerName: name, MinVersion: tls.VersionTLS12}
	if of != nil {
		cert, key := of.Issue("client", nil, nil)
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		require.NoError(t, err)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://"+g.SecureAddr()+"/a", strings.NewReader(body))
	require.NoError(t, err)
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	return string(answer), err
}

func TestBothHopsOverTLSWithCertificates(t *testing.T) {
	ours, theirs := testkit.NewAuthority(t), testkit.NewAuthority(t)
	trusted := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(trusted, []byte(ours.PEM()), 0o600))
	node := secureUpstream(t, ours)
	g := startGateway(t, setup{static: secureStatic(trusted), rules: secureRules(ours, node)})
	for _, body := range []string{"", "small", strings.Repeat("x", 200<<10)} {
		got, err := secureCall(t, g, ours, ours, "localhost", body)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("gateway %s https %d", node, len(body)), got)
	}
	for name, test := range map[string]struct {
		of   *testkit.Authority
		name string
		want string
	}{
		"no certificate":           {nil, "localhost", "certificate required"},
		"one of another authority": {theirs, "localhost", "unknown certificate authority"},
		"an unknown name":          {ours, "elsewhere", "internal error"},
	} {
		_, err := secureCall(t, g, ours, test.of, test.name, "")
		require.ErrorContains(t, err, test.want, name)
	}

	// New certificates come with a new apisix.yaml, and so does an upstream that cannot be verified.
	writeFile(t, g.dir, "apisix.yaml", secureRules(theirs, node))
	require.Eventually(t, func() bool {
		_, err := secureCall(t, g, ours, theirs, "localhost", "")
		return err != nil && strings.Contains(err.Error(), "unknown authority")
	}, 10*time.Second, 5*time.Millisecond)
	got, err := secureCall(t, g, theirs, theirs, "localhost", "")
	require.NoError(t, err)
	assert.Contains(t, got, "502", "the upstream does not know the new certificate")
}

func TestAnUpstreamThatNobodyVerifiesIsRefused(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "config.yaml", staticFile())
	writeFile(t, dir, "apisix.yaml", secureRules(testkit.NewAuthority(t), "localhost:1"))
	_, err := Start(Options{ConfDir: dir, Log: zapNop, Lookup: func(string) (string, bool) { return "", false }})
	require.ErrorContains(t, err, "proxy_ssl_verify")
}

func TestACertificateIsForItsNames(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "b.c": true, "x.y.z": true, "": false, "y.z": false, "w.x.y.z": false, "c": false} {
		assert.Equal(t, want, named([]string{"a", "b.c", "*.y.z"}, name), name)
	}
}
