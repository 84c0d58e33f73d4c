package tlsconf_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder has the files of one side.
type folder struct {
	t   *testing.T
	dir string
}

func newFolder(t *testing.T) folder { return folder{t, t.TempDir()} }

func (f folder) path(name string) string { return filepath.Join(f.dir, name) }

// put replaces a file and returns its path.
func (f folder) put(name, text string) string {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(f.path(name+".new"), []byte(text), 0o600))
	require.NoError(f.t, os.Rename(f.path(name+".new"), f.path(name)))
	return f.path(name)
}

// client has files with an authority, and a certificate of another one.
func (f folder) client(believes, of *testkit.Authority, change func(*x509.Certificate)) tlsconf.Files {
	cert, key := of.Issue("client", nil, change)
	return tlsconf.Files{CA: f.put("ca", believes.PEM()), Cert: f.put("cert", cert), Key: f.put("key", key)}
}

func (f folder) server(of, clients *testkit.Authority, change func(*x509.Certificate)) tlsconf.ServerFiles {
	cert, key := of.Issue("server", nil, change)
	return tlsconf.ServerFiles{Cert: f.put("cert", cert), Key: f.put("key", key), ClientCA: f.put("ca", clients.PEM())}
}

var where = tlsconf.Where{Variable: "REDIS_URL", URL: "rediss://localhost", Prefix: "WEBHOOK_REDIS_"}

func newClient(t *testing.T, f tlsconf.Files, log *zap.Logger) *tlsconf.Client {
	t.Helper()
	c, err := tlsconf.NewClient(where, f, log)
	require.NoError(t, err)
	return c
}

// serve greets every client that may come in by its certificate's serial number.
func serve(t *testing.T, config *tls.Config) (port string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			if secured := c.(*tls.Conn); secured.Handshake() == nil {
				_, _ = io.WriteString(c, serial(secured))
			}
			_ = c.Close()
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

func serial(c *tls.Conn) string {
	if certs := c.ConnectionState().PeerCertificates; len(certs) > 0 {
		return certs[0].SerialNumber.String()
	}
	return "nobody"
}

// meet connects, and returns how the server greets and its certificate's serial number.
func meet(t *testing.T, c *tlsconf.Client, host, port string) (greeting, server string, err error) {
	t.Helper()
	conn, err := c.Dial(t.Context(), &net.Dialer{Timeout: 5 * time.Second}, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return "", "", err
	}
	text, err := io.ReadAll(conn)
	return string(text), serial(conn.(*tls.Conn)), errors.Join(err, conn.Close())
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }

func elsewhere(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"redis.example"}, nil }

func TestBothSidesAreVerified(t *testing.T) {
	ours, theirs := testkit.NewAuthority(t), testkit.NewAuthority(t)
	for name, test := range map[string]struct {
		server   *testkit.Authority
		named    func(*x509.Certificate)
		believes *testkit.Authority
		shows    *testkit.Authority
		fault    string
	}{
		"right":                                {server: ours, believes: ours, shows: ours},
		"a server of an unknown authority":     {server: theirs, believes: ours, shows: ours, fault: "unknown authority"},
		"a server of another name":             {server: ours, named: elsewhere, believes: ours, shows: ours, fault: "redis.example, not localhost"},
		"a client without a certificate":       {server: ours, believes: ours, fault: "certificate required"},
		"a client of an unknown authority":     {server: ours, believes: ours, shows: theirs, fault: "unknown certificate authority"},
		"a client that believes somebody else": {server: ours, believes: theirs, shows: ours, fault: "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := tlsconf.NewServer("WEBHOOK_TLS_", newFolder(t).server(test.server, ours, test.named), zap.NewNop())
			require.NoError(t, err)
			port := serve(t, config)
			files := tlsconf.Files{CA: newFolder(t).put("ca", test.believes.PEM())}
			if test.shows != nil {
				files = newFolder(t).client(test.believes, test.shows, nil)
			}
			_, _, err = meet(t, newClient(t, files, zap.NewNop()), "localhost", port)
			if test.fault == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.fault)
		})
	}
}

func TestAServerThatExpiredIsRefused(t *testing.T) {
	ours := testkit.NewAuthority(t)
	cert, key := ours.Issue("server", nil, expired)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	require.NoError(t, err)
	port := serve(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
	_, _, err = meet(t, newClient(t, newFolder(t).client(ours, ours, nil), zap.NewNop()), "localhost", port)
	require.ErrorContains(t, err, "expired")
	require.ErrorContains(t, err, "TLS handshake with localhost:"+port)
}

func TestAnOldVersionIsRefused(t *testing.T) {
	ours := testkit.NewAuthority(t)
	cert, key := ours.Issue("server", nil, nil)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	require.NoError(t, err)
	port := serve(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, Certificates: []tls.Certificate{pair}}) // #nosec G402 -- it is what must be refused
	_, _, err = meet(t, newClient(t, newFolder(t).client(ours, ours, nil), zap.NewNop()), "localhost", port)
	require.ErrorContains(t, err, "protocol version")
}

func TestFilesThatAreReplacedCountFromTheNextConnectionOn(t *testing.T) {
	ours, next := testkit.NewAuthority(t), testkit.NewAuthority(t)
	at, by := newFolder(t), newFolder(t)
	config, err := tlsconf.NewServer("WEBHOOK_TLS_", at.server(ours, ours, nil), zap.NewNop())
	require.NoError(t, err)
	port := serve(t, config)
	client := newClient(t, by.client(ours, ours, nil), zap.NewNop())
	firstClient, firstServer, err := meet(t, client, "localhost", port)
	require.NoError(t, err)

	by.client(ours, ours, nil)
	secondClient, server, err := meet(t, client, "localhost", port)
	require.NoError(t, err)
	require.NotEqual(t, firstClient, secondClient)
	require.Equal(t, firstServer, server)

	at.server(next, ours, nil)
	_, _, err = meet(t, client, "localhost", port)
	require.ErrorContains(t, err, "unknown authority", "the server shows its new certificate at once")
	by.put("ca", ours.PEM()+next.PEM())
	same, server, err := meet(t, client, "localhost", port)
	require.NoError(t, err)
	require.Equal(t, secondClient, same)
	require.NotEqual(t, firstServer, server)
}

func TestHalfOfAReplacementLeavesTheCertificateBefore(t *testing.T) {
	ours := testkit.NewAuthority(t)
	core, logs := observer.New(zap.InfoLevel)
	by := newFolder(t)
	config, err := tlsconf.NewServer("WEBHOOK_TLS_", newFolder(t).server(ours, ours, nil), zap.NewNop())
	require.NoError(t, err)
	port := serve(t, config)
	client := newClient(t, by.client(ours, ours, nil), zap.New(core))
	before, _, err := meet(t, client, "localhost", port)
	require.NoError(t, err)
	cert, key := ours.Issue("client", nil, nil)
	late, lateKey := ours.Issue("client", nil, expired)
	for _, step := range []func(){
		func() { by.put("cert", cert) }, func() { require.NoError(t, os.Remove(by.path("key"))) }, func() { by.put("cert", late); by.put("key", lateKey) },
	} {
		step()
		for range 2 {
			same, _, err := meet(t, client, "localhost", port)
			require.NoError(t, err)
			require.Equal(t, before, same)
		}
		require.Equal(t, 1, logs.FilterLevelExact(zap.ErrorLevel).Len(), "it is said once")
		logs.TakeAll()
	}
	by.put("cert", cert)
	by.put("key", key)
	after, _, err := meet(t, client, "localhost", port)
	require.NoError(t, err)
	require.NotEqual(t, before, after)
	require.Equal(t, 1, logs.FilterMessage("new TLS files are in use").Len())
}

// told is what Certificates tells, by metric and kind.
func told(t *testing.T, c *tlsconf.Certificates) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	testkit.LintMetrics(t, registry)
	all, err := registry.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			values[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return values
}

func TestItIsToldWhenCertificatesExpireAndWhetherFilesAreUsed(t *testing.T) {
	authority, f := testkit.NewAuthority(t), newFolder(t)
	files := f.client(authority, authority, nil)
	client := newClient(t, files, zap.NewNop())
	config, err := tlsconf.NewServer("TEST_", newFolder(t).server(authority, authority, nil), zap.NewNop())
	require.NoError(t, err)
	all := tlsconf.NewCertificates(config, client, &tlsconf.Client{}, nil)
	values := told(t, all)
	require.Len(t, values, 3)
	require.Greater(t, values["webhook_certificate_expiry_timestamp_seconds listener"], float64(time.Now().Unix()))
	require.Greater(t, values["webhook_certificate_expiry_timestamp_seconds WEBHOOK_REDIS_CERT"], float64(time.Now().Unix()))
	require.Zero(t, values["webhook_certificate_fault WEBHOOK_REDIS_CERT"])
	require.NoError(t, os.WriteFile(files.Cert, []byte("no certificate"), 0o600))
	require.InDelta(t, 1, told(t, all)["webhook_certificate_fault WEBHOOK_REDIS_CERT"], 0)
	require.Empty(t, told(t, tlsconf.NewCertificates(nil)))
}

func TestAllFaultsOfTheFilesAreToldAtOnceWithoutWhatIsInThem(t *testing.T) {
	ours := testkit.NewAuthority(t)
	f := newFolder(t)
	good := f.client(ours, ours, nil)
	_, other := ours.Issue("other", nil, nil)
	late, lateKey := ours.Issue("client", nil, expired)
	early, earlyKey := ours.Issue("client", nil, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	open := f.put("open", other)
	require.NoError(t, os.Chmod(open, 0o644))
	secret := f.put("secret", "hunter2")
	for name, test := range map[string]struct {
		files  tlsconf.Files
		faults []string
	}{
		"no files":            {tlsconf.Files{CA: "/no/ca", Cert: "/no/cert", Key: "/no/key"}, []string{"WEBHOOK_REDIS_CA: /no/ca", "WEBHOOK_REDIS_CERT: /no/cert", "WEBHOOK_REDIS_KEY: /no/key"}},
		"no PEM":              {tlsconf.Files{CA: secret, Cert: secret, Key: secret}, []string{"WEBHOOK_REDIS_CA: " + secret, "WEBHOOK_REDIS_CERT and WEBHOOK_REDIS_KEY: " + secret}},
		"no names":            {tlsconf.Files{CA: "hunter2", Cert: "-----BEGIN hunter2", Key: "hunter2"}, []string{"WEBHOOK_REDIS_CA: is not the absolute path", "WEBHOOK_REDIS_CERT: is not", "WEBHOOK_REDIS_KEY: is not"}},
		"no key":              {tlsconf.Files{CA: "/no/ca", Cert: good.Cert}, []string{"WEBHOOK_REDIS_KEY is missing", "WEBHOOK_REDIS_CA: /no/ca"}},
		"no certificate":      {tlsconf.Files{Key: good.Key}, []string{"WEBHOOK_REDIS_CERT is missing"}},
		"of another key":      {tlsconf.Files{Cert: good.Cert, Key: f.put("other", other)}, []string{"does not match"}},
		"a key for everybody": {tlsconf.Files{Cert: good.Cert, Key: open}, []string{"WEBHOOK_REDIS_KEY: " + open, "chmod 600"}},
		"expired":             {tlsconf.Files{Cert: f.put("late", late), Key: f.put("latekey", lateKey)}, []string{"WEBHOOK_REDIS_CERT", "expired on"}},
		"not yet":             {tlsconf.Files{Cert: f.put("early", early), Key: f.put("earlykey", earlyKey)}, []string{"WEBHOOK_REDIS_CERT", "holds from"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tlsconf.NewClient(where, test.files, zap.NewNop())
			for _, fault := range test.faults {
				require.ErrorContains(t, err, fault)
			}
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), "PRIVATE KEY")
		})
	}
}

func TestFilesForAURLWithoutTLSAreRefused(t *testing.T) {
	ours := testkit.NewAuthority(t)
	files := newFolder(t).client(ours, ours, nil)
	for _, url := range []string{"redis://:hunter2@localhost:6379/0", "amqp://u:hunter2@h/", "http://gateway:9080", "unix:///tmp/redis.sock", "localhost"} {
		for _, f := range []tlsconf.Files{{CA: files.CA}, {Cert: files.Cert, Key: files.Key}} {
			_, err := tlsconf.NewClient(tlsconf.Where{Variable: "THE_URL", URL: url, Prefix: "WEBHOOK_X_"}, f, zap.NewNop())
			require.ErrorContains(t, err, "THE_URL is a URL without TLS, but WEBHOOK_X_CA, _CERT or _KEY is set")
			require.NotContains(t, err.Error(), "hunter2")
		}
		_, err := tlsconf.NewClient(tlsconf.Where{Variable: "THE_URL", URL: url, Prefix: "WEBHOOK_X_"}, tlsconf.Files{}, zap.NewNop())
		require.NoError(t, err)
	}
}

func TestNoURLSwitchesVerificationOff(t *testing.T) {
	for _, url := range []string{"rediss://h/0?skip_verify=true", "amqps://h/?verify=verify_none", "amqps://h/?server_name_indication=x", "amqps://h/?cacertfile=/x"} {
		_, err := tlsconf.NewClient(tlsconf.Where{Variable: "THE_URL", URL: url, Prefix: "WEBHOOK_X_"}, tlsconf.Files{}, zap.NewNop())
		require.ErrorContains(t, err, "THE_URL has the parameter")
	}
}

func TestAListenerHasTLSOnlyWithFilesAndAllOfThem(t *testing.T) {
	ours := testkit.NewAuthority(t)
	config, err := tlsconf.NewServer("WEBHOOK_TLS_", tlsconf.ServerFiles{}, zap.NewNop())
	require.NoError(t, err)
	require.Nil(t, config)
	_, err = tlsconf.NewServer("WEBHOOK_TLS_", tlsconf.ServerFiles{ClientCA: newFolder(t).put("ca", ours.PEM())}, zap.NewNop())
	require.ErrorContains(t, err, "WEBHOOK_TLS_CERT and WEBHOOK_TLS_KEY are missing")
	_, err = tlsconf.NewServer("WEBHOOK_TLS_", tlsconf.ServerFiles{ClientCA: "/no/ca", Cert: "/no/cert", Key: "/no/key"}, zap.NewNop())
	require.ErrorContains(t, err, "WEBHOOK_TLS_CLIENT_CA: /no/ca")
	require.ErrorContains(t, err, "WEBHOOK_TLS_KEY: /no/key")
}

func TestWithoutAClientAuthorityClientsNeedNoCertificate(t *testing.T) {
	ours := testkit.NewAuthority(t)
	files := newFolder(t).server(ours, ours, nil)
	files.ClientCA = ""
	config, err := tlsconf.NewServer("WEBHOOK_TLS_", files, zap.NewNop())
	require.NoError(t, err)
	greeting, _, err := meet(t, newClient(t, tlsconf.Files{CA: newFolder(t).put("ca", ours.PEM())}, zap.NewNop()), "127.0.0.1", serve(t, config))
	require.NoError(t, err)
	require.Equal(t, "nobody", greeting)
}

func TestAServerThatAsksForACertificateInVainIsLogged(t *testing.T) {
	ours := testkit.NewAuthority(t)
	config, err := tlsconf.NewServer("WEBHOOK_TLS_", newFolder(t).server(ours, ours, nil), zap.NewNop())
	require.NoError(t, err)
	port := serve(t, config)
	core, logs := observer.New(zap.WarnLevel)
	client := newClient(t, tlsconf.Files{CA: newFolder(t).put("ca", ours.PEM())}, zap.New(core))
	for range 3 {
		_, _, err = meet(t, client, "localhost", port)
		require.Error(t, err)
	}
	require.Equal(t, 1, logs.Len())
	require.Equal(t, "WEBHOOK_REDIS_CERT", logs.All()[0].ContextMap()["certificate"])
}

func TestTheZeroClientBelievesTheSystem(t *testing.T) {
	ours := testkit.NewAuthority(t)
	config, err := tlsconf.NewServer("WEBHOOK_TLS_", newFolder(t).server(ours, ours, nil), zap.NewNop())
	require.NoError(t, err)
	_, _, err = meet(t, &tlsconf.Client{}, "localhost", serve(t, config))
	require.ErrorContains(t, err, "unknown authority")
}
