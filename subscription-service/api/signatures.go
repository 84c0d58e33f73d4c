package api

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// signatures are the schemes that a subscription asks for.
type signatures []contract.Signature

// Schema says which there are.
func (signatures) Schema(huma.Registry) *huma.Schema {
	least, most := 1, 2
	return &huma.Schema{
		Type: huma.TypeArray, MinItems: &least, MaxItems: &most, UniqueItems: true,
		Items: &huma.Schema{Type: huma.TypeString, Enum: []any{string(contract.SignatureV1), string(contract.SignatureV1a)}},
	}
}

// applyTo makes keys where there are none and v1a signs, and forgets them where it does not.
func (s signatures) applyTo(sub *contract.Subscription) {
	sub.Signatures = slices.Sorted(slices.Values(s))
	if slices.Equal(sub.Signatures, []contract.Signature{contract.SignatureV1}) {
		sub.Signatures = nil // as if it were not set
	}
	switch signs := sub.Signs(contract.SignatureV1a); {
	case !signs:
		sub.SigningKeys = nil
	case len(sub.SigningKeys) == 0:
		sub.SigningKeys = []contract.Secret{{Value: contract.NewSigningKey()}}
	}
}

func signaturesOf(sub contract.Subscription) signatures {
	if len(sub.Signatures) == 0 {
		return signatures{contract.SignatureV1}
	}
	return sub.Signatures
}

// publicKeys are those of the keys that sign now, newest first.
func publicKeys(sub contract.Subscription, now time.Time) []string {
	var texts []string
	for _, key := range livePublicKeys(sub, now) {
		texts = append(texts, contract.PublicKeyText(key))
	}
	return texts
}

func livePublicKeys(sub contract.Subscription, now time.Time) []ed25519.PublicKey {
	private, err := sub.LiveKeys(now)
	if err != nil {
		return nil // nothing is signed with a key that can't be read either
	}
	public := make([]ed25519.PublicKey, len(private))
	for i, key := range private {
		public[i], _ = key.Public().(ed25519.PublicKey) // always is
	}
	return public
}

// newSecret is 32 random bytes in the form of Standard Webhooks 1.0.
func newSecret() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(raw[:])
}

// How a rotated secret lives on: the old one signs for an overlap, and no more than two sign at a time.
const (
	secretOverlap = 24 * time.Hour
	mostSecrets   = 2
)

// rotate puts a new secret before the ones that are live, and bounds them.
func rotate(secrets []contract.Secret, secret string, now time.Time) []contract.Secret {
	rotated := []contract.Secret{{Value: secret}}
	for _, old := range secrets {
		if len(rotated) == mostSecrets {
			break
		}
		if old.Until.IsZero() {
			old.Until = now.Add(secretOverlap)
		}
		if now.Before(old.Until) {
			rotated = append(rotated, old)
		}
	}
	return rotated
}
