package api

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// webhookKeys shows public keys to anybody: they are no secret, and whoever checks a signature need not be the subscriber.
type webhookKeys struct {
	store *store.Store
	now   func() time.Time
}

func (k webhookKeys) register(api huma.API) {
	op := operation("webhook-keys", http.MethodGet, contract.PathWebhookKeys, "The public keys that check v1a signatures of a subscription's callbacks", http.StatusNotFound)
	op.Description = "A JSON Web Key Set (RFC 7517) of Ed25519 keys (RFC 8037), newest first. Needs no credential."
	op.Security, op.Tags = []map[string][]string{}, []string{tagAnybody}
	register(api, op, k.get)
}

type webhookKeysRequest struct {
	Subscription string `query:"subscription" required:"true" minLength:"1" maxLength:"100" doc:"the subscription's id"`
}

type webhookKeysAnswer struct {
	CacheControl string `header:"Cache-Control"`
	Body         keySet
}

type keySet struct {
	Keys []webKey `json:"keys" nullable:"false"`
}

// webKey is an Ed25519 public key as a JSON Web Key.
type webKey struct {
	Type      string `json:"kty" enum:"OKP"`
	Curve     string `json:"crv" enum:"Ed25519"`
	X         string `json:"x" doc:"the key, base64url"`
	ID        string `json:"kid" doc:"its thumbprint (RFC 7638)"`
	Use       string `json:"use" enum:"sig"`
	Algorithm string `json:"alg" enum:"EdDSA"`
}

// keysLife is far below the overlap of a rotation: whoever has kept the old keys still finds a signature that they check.
const keysLife = "public, max-age=300"

func (k webhookKeys) get(ctx context.Context, in *webhookKeysRequest) (*webhookKeysAnswer, error) {
	sub, err := k.store.Subscription(ctx, in.Subscription)
	if err != nil {
		return nil, err
	}
	answer := &webhookKeysAnswer{CacheControl: keysLife, Body: keySet{Keys: []webKey{}}}
	for _, key := range livePublicKeys(sub, k.now()) {
		answer.Body.Keys = append(answer.Body.Keys, webKeyOf(key))
	}
	return answer, nil
}

func webKeyOf(key ed25519.PublicKey) webKey {
	x := base64.RawURLEncoding.EncodeToString(key)
	thumb := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`)) // RFC 7638, section 3
	return webKey{Type: "OKP", Curve: "Ed25519", X: x, ID: base64.RawURLEncoding.EncodeToString(thumb[:]), Use: "sig", Algorithm: "EdDSA"}
}
