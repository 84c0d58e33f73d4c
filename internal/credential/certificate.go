// Package credential reads the client certificates that consumers give for their callbacks.
package credential

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const (
	// MaxPEM is the longest chain and the longest key that are taken, in bytes of PEM.
	MaxPEM = 16 << 10
	// mostCertificates is the longest chain: what a handshake carries.
	mostCertificates = 8
	// minRSA is the shortest RSA key (NIST SP 800-131A), in bits; maxRSA bounds what a handshake costs.
	minRSA, maxRSA = 2048, 8192
)

// Fault says what is wrong with one of the two texts, and never repeats any of it.
type Fault struct {
	// Key is true if it is the private key, false if it is the certificate.
	Key     bool
	Message string
}

func (f *Fault) Error() string { return f.Message }

func fault(format string, args ...any) error { return &Fault{Message: fmt.Sprintf(format, args...)} }
func keyFault(format string, args ...any) error {
	return &Fault{Key: true, Message: fmt.Sprintf(format, args...)}
}

// Check reads a chain and its private key, both PEM, as a consumer gave them, and makes the record of them. Errors are *Fault.
func Check(chain, key string, now time.Time) (*contract.ClientCertificate, error) {
	pair, err := parse(chain, key)
	if err != nil {
		return nil, err
	}
	if err := usable(pair.Leaf, now); err != nil {
		return nil, err
	}
	return &contract.ClientCertificate{ID: idOf(pair), Chain: chain, Key: key}, nil
}

// Load reads a record for use in handshakes. The error holds nothing of it.
func Load(c *contract.ClientCertificate) (*tls.Certificate, error) {
	pair, err := parse(c.Chain, c.Key)
	if err != nil {
		return nil, err
	}
	if idOf(pair) != c.ID {
		return nil, errors.New("the certificate is not the one of its ID")
	}
	return pair, nil
}

// Leaf reads the first certificate of a record's chain alone.
func Leaf(c *contract.ClientCertificate) (*x509.Certificate, error) {
	chain, err := parseChain(c.Chain)
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// Fingerprint is the SHA-256 of a certificate, as "openssl x509 -fingerprint -sha256" shows it but for colons and case.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// idOf covers the whole chain: a chain that was completed is another one, though the first certificate is the same.
func idOf(pair *tls.Certificate) string {
	sum := sha256.Sum256(bytes.Join(pair.Certificate, nil))
	return hex.EncodeToString(sum[:])
}

func parse(chain, key string) (*tls.Certificate, error) {
	certs, err := parseChain(chain)
	if err != nil {
		return nil, err
	}
	private, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	if !matches(certs[0], private) {
		return nil, keyFault("does not belong to the certificate: give the key of the chain's first one")
	}
	pair := &tls.Certificate{PrivateKey: private, Leaf: certs[0]}
	for _, cert := range certs {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair, nil
}

func matches(cert *x509.Certificate, private crypto.Signer) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(private.Public())
}

func parseChain(text string) ([]*x509.Certificate, error) {
	blocks, err := blocksOf(text)
	if err != nil {
		return nil, fault("%v", err)
	}
	if len(blocks) > mostCertificates {
		return nil, fault("has more than %d certificates: give the client's and those between it and the root", mostCertificates)
	}
	certs := make([]*x509.Certificate, len(blocks))
	for i, block := range blocks {
		if block.Type != "CERTIFICATE" {
			return nil, fault("has something else than certificates: the private key goes into key")
		}
		if certs[i], err = x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fault("has a certificate that cannot be read: its number %d", i+1)
		}
	}
	return certs, nil
}

func parseKey(text string) (crypto.Signer, error) {
	blocks, err := blocksOf(text)
	blocks = slices.DeleteFunc(blocks, func(b *pem.Block) bool { return b.Type == "EC PARAMETERS" }) // openssl ecparam writes them before the key
	switch {
	case err != nil:
		return nil, keyFault("%v", err)
	case len(blocks) != 1:
		return nil, keyFault("has %d PEM blocks: give the private key alone", len(blocks))
	case blocks[0].Type == "ENCRYPTED PRIVATE KEY" || blocks[0].Headers["DEK-Info"] != "":
		return nil, keyFault("is encrypted: give it without a passphrase")
	}
	private := privateKey(blocks[0])
	if private == nil {
		return nil, keyFault("is no private key that can be used: give an RSA, ECDSA or Ed25519 key as PEM (PKCS #8, PKCS #1 or SEC 1)")
	}
	return private, strong(private)
}

func privateKey(block *pem.Block) crypto.Signer {
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, _ = x509.ParsePKCS8PrivateKey(block.Bytes) // nil: the caller says so
	case "RSA PRIVATE KEY":
		key, _ = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, _ = x509.ParseECPrivateKey(block.Bytes)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key != nil {
			return key
		}
	case *ecdsa.PrivateKey:
		if key != nil {
			return key
		}
	case ed25519.PrivateKey:
		return key
	}
	return nil
}

func strong(private crypto.Signer) error {
	switch public := private.Public().(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSA || bits > maxRSA {
			return keyFault("is an RSA key of %d bits: use %d to %d", bits, minRSA, maxRSA)
		}
	case *ecdsa.PublicKey:
		if public.Curve.Params().BitSize < 256 {
			return keyFault("is on the curve %s: use P-256, P-384 or P-521", public.Curve.Params().Name)
		}
	}
	return nil
}

func usable(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fault("expired on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fault("is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case !forClients(leaf):
		return fault("is not for clients: its extended key usage lacks clientAuth")
	}
	return nil
}

// forClients follows RFC 5280, section 4.2.1.12: without the extension a certificate is for all purposes.
func forClients(leaf *x509.Certificate) bool {
	return len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// blocksOf reads PEM (RFC 7468) and nothing but PEM.
func blocksOf(text string) ([]*pem.Block, error) {
	if len(text) > MaxPEM {
		return nil, fmt.Errorf("is longer than %d bytes", MaxPEM)
	}
	var blocks []*pem.Block
	rest := bytes.TrimSpace([]byte(text))
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil || !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return nil, errors.New("is not PEM: it starts with -----BEGIN and has nothing around its blocks")
		}
		blocks, rest = append(blocks, block), bytes.TrimSpace(after)
	}
	if len(blocks) == 0 {
		return nil, errors.New("is empty: give it as PEM")
	}
	return blocks, nil
}
