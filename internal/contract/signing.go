package contract

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"
)

// Signature is a scheme by which callbacks are signed (Standard Webhooks 1.0, "Signature scheme").
type Signature string

// The schemes.
const (
	SignatureV1  Signature = "v1"  // HMAC-SHA-256: whoever can check can sign, too
	SignatureV1a Signature = "v1a" // ed25519: who has the public key can only check
)

// Secret signs callbacks, in the form of Standard Webhooks: a prefix and base64. Zero Until: no end.
type Secret struct {
	Value string    `json:"value"`
	Until time.Time `json:"until,omitzero"`

	key ed25519.PrivateKey // see Prepare
}

// Signs reports whether callbacks have a signature of the scheme.
func (s Subscription) Signs(scheme Signature) bool {
	if len(s.Signatures) == 0 {
		return scheme == SignatureV1
	}
	return slices.Contains(s.Signatures, scheme)
}

// SigningSecrets returns the secrets that sign at a time, newest first.
func (s Subscription) SigningSecrets(now time.Time) []string {
	var live []string
	for _, secret := range s.Secrets {
		if secret.live(now) {
			live = append(live, secret.Value)
		}
	}
	return live
}

// LiveKeys returns the private keys that sign at a time, newest first, or ErrSigningKey. It is cheap once Prepare was called.
func (s Subscription) LiveKeys(now time.Time) ([]ed25519.PrivateKey, error) {
	var live []ed25519.PrivateKey
	for _, secret := range s.SigningKeys {
		if !secret.live(now) {
			continue
		}
		if secret.key == nil {
			key, err := parseSigningKey(secret.Value)
			if err != nil {
				return nil, err
			}
			secret.key = key
		}
		live = append(live, secret.key)
	}
	return live, nil
}

// Prepare makes the signing keys ready, for one that will sign often. One that can't be read stays as it is.
func (s *Subscription) Prepare() {
	for i := range s.SigningKeys {
		s.SigningKeys[i].key, _ = parseSigningKey(s.SigningKeys[i].Value) // LiveKeys says so
	}
}

func (s Secret) live(now time.Time) bool { return s.Until.IsZero() || now.Before(s.Until) }

// Prefixes of ed25519 keys in the form of Standard Webhooks.
const (
	prefixPrivate = "whsk_"
	prefixPublic  = "whpk_"
)

// ErrSigningKey means that a private key cannot be read. Its text holds nothing of it.
var ErrSigningKey = errors.New("the signing key cannot be read")

// NewSigningKey makes an ed25519 key pair: "whsk_" and the base64 of its seed. Each subscription has its own. With one for all, a
// consumer could let a transform write what another one's endpoint believes, have it signed by subscribing, and pass it on.
func NewSigningKey() string {
	var seed [ed25519.SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails
	return prefixPrivate + base64.StdEncoding.EncodeToString(seed[:])
}

func parseSigningKey(value string) (ed25519.PrivateKey, error) {
	text, ok := strings.CutPrefix(value, prefixPrivate)
	seed, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(seed) != ed25519.SeedSize {
		return nil, ErrSigningKey
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// PublicKeyText writes a public key in the form of Standard Webhooks: "whpk_" and base64.
func PublicKeyText(key ed25519.PublicKey) string {
	return prefixPublic + base64.StdEncoding.EncodeToString(key)
}
