package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func key[K crypto.Signer](k K, err error) func(testing.TB) crypto.Signer {
	return func(t testing.TB) crypto.Signer {
		t.Helper()
		require.NoError(t, err)
		return k
	}
}

func edKey(t testing.TB) crypto.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return private
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestEveryUsualKeyIsTakenAndLoadedAgain(t *testing.T) {
	a := testkit.NewAuthority(t)
	for name, k := range map[string]crypto.Signer{
		"RSA":     key(rsa.GenerateKey(rand.Reader, 2048))(t),
		"P-256":   key(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t),
		"P-384":   key(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t),
		"Ed25519": edKey(t),
	} {
		chain, private := a.Issue("client", k, nil)
		record, err := Check(chain+a.PEM(), private, time.Now())
		require.NoError(t, err, name)
		pair, err := Load(record)
		require.NoError(t, err, name)
		require.Len(t, pair.Certificate, 2, name)
		leaf, err := Leaf(record)
		require.NoError(t, err)
		require.Equal(t, "client", leaf.Subject.CommonName)
		require.Len(t, Fingerprint(leaf), 64)
	}
}

func TestTheOlderFormsOfKeysAreTaken(t *testing.T) {
	a := testkit.NewAuthority(t)
	rsaKey := key(rsa.GenerateKey(rand.Reader, 2048))(t).(*rsa.PrivateKey)
	ecKey := key(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t).(*ecdsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	require.NoError(t, err)
	for _, c := range []struct {
		key  crypto.Signer
		text string
	}{
		{rsaKey, inPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
		{ecKey, inPEM("EC PARAMETERS", []byte{6, 1, 1}) + inPEM("EC PRIVATE KEY", sec1)},
	} {
		chain, _ := a.Issue("client", c.key, nil)
		_, err := Check("\n"+chain, c.text+"\n", time.Now())
		require.NoError(t, err)
	}
}

func TestACompletedChainIsAnotherCertificate(t *testing.T) {
	a := testkit.NewAuthority(t)
	chain, private := a.Issue("client", nil, nil)
	short, err := Check(chain, private, time.Now())
	require.NoError(t, err)
	long, err := Check(chain+a.PEM(), private, time.Now())
	require.NoError(t, err)
	require.NotEqual(t, short.ID, long.ID)
	leaf, err := Leaf(short)
	require.NoError(t, err)
	require.Equal(t, Fingerprint(leaf), short.ID, "of one certificate it is its fingerprint")
}

func TestWhatCanNotBeAClientCertificateIsRefusedWithoutItsContents(t *testing.T) {
	a := testkit.NewAuthority(t)
	chain, private := a.Issue("client", nil, nil)
	_, other := a.Issue("client", nil, nil)
	weak := key(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))(t)
	weakChain, weakKey := a.Issue("client", weak, nil)
	expired, expiredKey := a.Issue("client", nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early, earlyKey := a.Issue("client", nil, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	server, serverKey := a.Issue("client", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	for name, c := range map[string]struct {
		chain, key string
		ofKey      bool
		want       string
	}{
		"no PEM":               {"s3cr3t", private, false, "is not PEM"},
		"something around":     {"s3cr3t\n" + chain, private, false, "nothing around"},
		"something after":      {chain + "s3cr3t", private, false, "nothing around"},
		"empty":                {" ", private, false, "is empty"},
		"a key in it":          {chain + private, private, false, "goes into key"},
		"no certificate":       {inPEM("CERTIFICATE", []byte("s3cr3t")), private, false, "number 1"},
		"too long":             {strings.Repeat(chain, 1+MaxPEM/len(chain)), private, false, "longer than"},
		"too many":             {strings.Repeat(chain, 9), private, false, "more than 8"},
		"expired":              {expired, expiredKey, false, "expired on"},
		"not yet valid":        {early, earlyKey, false, "not valid before"},
		"of a server":          {server, serverKey, false, "clientAuth"},
		"another's key":        {chain, other, true, "does not belong"},
		"no PEM as key":        {chain, "s3cr3t", true, "is not PEM"},
		"two keys":             {chain, private + private, true, "2 PEM blocks"},
		"encrypted":            {chain, inPEM("ENCRYPTED PRIVATE KEY", []byte("s3cr3t")), true, "passphrase"},
		"no key":               {chain, inPEM("PRIVATE KEY", []byte("s3cr3t")), true, "no private key"},
		"a public key":         {chain, inPEM("PUBLIC KEY", []byte("s3cr3t")), true, "no private key"},
		"a broken old key":     {chain, inPEM("RSA PRIVATE KEY", []byte("s3cr3t")), true, "no private key"},
		"a weak curve":         {weakChain, weakKey, true, "P-224"},
		"a certificate as key": {chain, chain, true, "no private key"},
	} {
		_, err := Check(c.chain, c.key, time.Now())
		var fault *Fault
		require.True(t, errors.As(err, &fault), "%s: %v", name, err)
		require.Equal(t, c.ofKey, fault.Key, name)
		require.Contains(t, fault.Message, c.want, name)
		require.NotContains(t, fault.Message, "s3cr3t", name)
	}
}

func TestARecordOfAnotherCertificateIsNotLoaded(t *testing.T) {
	a := testkit.NewAuthority(t)
	chain, private := a.Issue("client", nil, nil)
	record, err := Check(chain, private, time.Now())
	require.NoError(t, err)
	record.ID = strings.Repeat("0", 64)
	_, err = Load(record)
	require.Error(t, err)
	_, err = Load(&contract.ClientCertificate{})
	require.Error(t, err)
}

func FuzzCheck(f *testing.F) {
	a := testkit.NewAuthority(f)
	chain, private := a.Issue("client", nil, nil)
	f.Add(chain, private)
	f.Add(chain+chain, chain)
	f.Add("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
	now := time.Now()
	f.Fuzz(func(t *testing.T, chain, private string) {
		record, err := Check(chain, private, now)
		if err != nil {
			var fault *Fault
			require.ErrorAs(t, err, &fault)
			return
		}
		_, err = Load(record)
		require.NoError(t, err)
	})
}
