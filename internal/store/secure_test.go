package store

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

// over opens a store over TLS.
func over(t *testing.T, url string, f tlsconf.Files) *Store {
	t.Helper()
	secure, err := tlsconf.NewClient(tlsconf.Redis(url), f, zap.NewNop())
	require.NoError(t, err)
	s, err := Open(Options{URL: url, Namespace: testkit.Namespace(t), TLS: secure})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestRedisOverTLSWantsTheRightCertificates(t *testing.T) {
	ours, theirs := testkit.NewAuthority(t), testkit.NewAuthority(t)
	url := testkit.StartSecureRedis(t, ours).URL
	good, foreign, misled := ours.Files(t, "store"), theirs.Files(t, "store"), ours.Files(t, "store")
	testkit.Put(t, foreign.CA, ours.PEM())
	testkit.Put(t, misled.CA, theirs.PEM())
	for name, test := range map[string]struct {
		url, fault string
		files      tlsconf.Files
	}{
		"no certificate":             {url, "certificate required", tlsconf.Files{CA: good.CA}},
		"one of another authority":   {url, "unknown certificate authority", foreign},
		"a server of an unknown one": {url, "unknown authority", misled},
		"the system's authorities":   {url, "unknown authority", tlsconf.Files{}},
		"without TLS":                {strings.Replace(url, "rediss", "redis", 1), "asking Redis", tlsconf.Files{}},
	} {
		t.Run(name, func(t *testing.T) {
			err := over(t, strings.Replace(test.url, "localhost", ":hunter2@localhost", 1), test.files).Ping(ctx)
			require.ErrorContains(t, err, test.fault)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	require.NoError(t, over(t, url, good).Writable(ctx))
}

func TestCertificatesForRedisAreReplacedUnderARunningProcess(t *testing.T) {
	ours := testkit.NewAuthority(t)
	url := testkit.StartSecureRedis(t, ours).URL
	files := ours.Files(t, "store")
	ours.Renew(t, files, "store", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(2 * time.Second) })
	s := over(t, url, files)
	require.NoError(t, s.Ping(ctx))
	anew := func() error { // on a new connection
		_ = s.rdb.Do(ctx, "QUIT").Err()
		return s.Ping(ctx)
	}
	require.Eventually(t, func() bool {
		err := anew()
		return err != nil && strings.Contains(err.Error(), "expired")
	}, 10*time.Second, 20*time.Millisecond)
	ours.Renew(t, files, "store", nil)
	require.NoError(t, anew())
}

func TestVerificationIsNeverSwitchedOff(t *testing.T) {
	_, err := Open(Options{URL: "rediss://:hunter2@localhost/0?skip_verify=true"})
	require.ErrorContains(t, err, "skip_verify")
	require.NotContains(t, err.Error(), "hunter2")
}
