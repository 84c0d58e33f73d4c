package testkit

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

// Files writes a certificate of the authority and the authority's own into a folder of the test.
func (a *Authority) Files(t testing.TB, name string) tlsconf.Files {
	t.Helper()
	dir := t.TempDir()
	f := tlsconf.Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	Put(t, f.CA, a.PEM())
	a.Renew(t, f, name, nil)
	return f
}

// Renew replaces the certificate and its key, as change wants them.
func (a *Authority) Renew(t testing.TB, f tlsconf.Files, name string, change func(*x509.Certificate)) {
	t.Helper()
	cert, key := a.Issue(name, nil, change)
	Put(t, f.Cert, cert)
	Put(t, f.Key, key)
}

// Put replaces a file as operators should: all of it at once.
func Put(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}
