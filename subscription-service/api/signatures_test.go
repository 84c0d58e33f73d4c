package api_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// asAnybody calls like the gateway does for somebody whom it does not know.
func (w *world) asAnybody(method, target string) answer {
	w.t.Helper()
	path, _, _ := strings.Cut(target, "?")
	return w.call(method, w.gateway+"/gateway"+target, nil, contract.HeaderStatement, w.statement("", path, contract.ActionPublic))
}

// webhookKeys returns the x of the JSON Web Keys of a subscription, each as it is in public_keys.
func (w *world) webhookKeys(id string) []string {
	w.t.Helper()
	a := w.asAnybody("GET", contract.PathWebhookKeys+"?subscription="+id)
	require.Equal(w.t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(w.t, "public, max-age=300", a.header.Get("Cache-Control"))
	texts := []string{}
	for _, v := range a.json(w.t)["keys"].([]any) {
		key := v.(map[string]any)
		require.Equal(w.t, []any{"OKP", "Ed25519", "sig", "EdDSA"}, []any{key["kty"], key["crv"], key["use"], key["alg"]})
		require.Len(w.t, key, 6)
		x, err := base64.RawURLEncoding.DecodeString(key["x"].(string))
		require.NoError(w.t, err)
		texts = append(texts, contract.PublicKeyText(x))
	}
	return texts
}

func texts(v any) []string {
	out := []string{}
	list, _ := v.([]any)
	for _, one := range list {
		out = append(out, one.(string))
	}
	return out
}

func TestASubscriptionSignsWithTheSecretAloneUnlessItAsksForMore(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	made := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).json(t)
	require.Equal(t, []any{"v1"}, made["signatures"])
	require.NotContains(t, made, "public_keys")
	require.Empty(t, w.webhookKeys(made["id"].(string)))
	same := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook, "signatures": []string{"v1"}})
	require.Equal(t, http.StatusOK, same.status, "v1 is what it has anyway")
}

func TestEachSubscriptionHasAKeyPairOfItsOwn(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	seen := map[string]bool{}
	for _, asked := range [][]string{{"v1a"}, {"v1a", "v1"}} {
		made := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook, "signatures": asked})
		require.Equal(t, http.StatusCreated, made.status, "%s", made.body)
		keys := texts(made.json(t)["public_keys"])
		require.Len(t, keys, 1)
		require.True(t, strings.HasPrefix(keys[0], "whpk_"), keys[0])
		require.False(t, seen[keys[0]])
		seen[keys[0]] = true
		require.Equal(t, keys, w.webhookKeys(made.text(t, "id")))
		kept, err := w.store.Subscription(t.Context(), made.text(t, "id"))
		require.NoError(t, err)
		require.NotContains(t, string(made.body), strings.TrimPrefix(kept.SigningKeys[0].Value, "whsk_"))
	}
}

func TestRotationKeepsTheOldKeyForTheOverlap(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	made := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook, "signatures": []string{"v1", "v1a"}})
	id, first := made.text(t, "id"), texts(made.json(t)["public_keys"])[0]
	path := "/orders/subscribe/" + id
	rotated := texts(w.as(acme, "POST", path+"/rotate-secret", nil).json(t)["public_keys"])
	require.Len(t, rotated, 2)
	require.Equal(t, first, rotated[1], "newest first")
	require.Equal(t, rotated, w.webhookKeys(id))
	w.clock.Advance(24 * time.Hour)
	require.Equal(t, rotated[:1], w.webhookKeys(id))
	require.Equal(t, rotated[:1], texts(w.as(acme, "GET", path, nil).json(t)["public_keys"]))
}

func TestAPatchTakesUpAndLeavesV1a(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	patch := func(body string) map[string]any {
		a := w.as(acme, "PATCH", "/orders/subscribe/"+id, body)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		return a.json(t)
	}
	taken := patch(`{"signatures":["v1a"]}`)
	require.Equal(t, []any{"v1a"}, taken["signatures"])
	require.Equal(t, taken["public_keys"], patch(`{"signatures":["v1","v1a"]}`)["public_keys"], "the key stays")
	left := patch(`{"signatures":null}`)
	require.Equal(t, []any{"v1"}, left["signatures"])
	require.Empty(t, w.webhookKeys(id))
	kept, err := w.store.Subscription(t.Context(), id)
	require.NoError(t, err)
	require.Empty(t, kept.SigningKeys, "a key that signs nothing is not kept")
	for _, bad := range []string{`[]`, `["v2"]`, `["v1","v1"]`, `"v1"`, `["v1",1]`} {
		found := w.as(acme, "PATCH", "/orders/subscribe/"+id, `{"signatures":`+bad+`}`).problem(t, 422)
		require.Len(t, found, 1, bad)
		for where := range found {
			require.Contains(t, where, "body.signatures", bad)
		}
	}
}

func TestWebhookKeysNameWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	require.Contains(t, w.asAnybody("GET", contract.PathWebhookKeys).problem(t, 422)["query.subscription"], "required")
	require.Contains(t, w.asAnybody("GET", contract.PathWebhookKeys+"?subscription=").problem(t, 422), "query.subscription")
	w.asAnybody("GET", contract.PathWebhookKeys+"?subscription=sub_none").problem(t, 404)
	w.asAnybody("POST", contract.PathWebhookKeys+"?subscription=sub_none").problem(t, 405)
}

// The key is the first of RFC 8032, section 7.1, and its thumbprint that of RFC 8037, appendix A.3.
func TestAWebKeyHasTheThumbprintOfTheStandard(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook, "signatures": []string{"v1a"}}).text(t, "id")
	seed, err := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	require.NoError(t, err)
	_, err = w.store.ChangeSubscription(t.Context(), id, func(sub *contract.Subscription) error {
		sub.SigningKeys = []contract.Secret{{Value: "whsk_" + base64.StdEncoding.EncodeToString(seed)}}
		return nil
	})
	require.NoError(t, err)
	a := w.asAnybody("GET", contract.PathWebhookKeys+"?subscription="+id)
	require.JSONEq(t, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"sig","alg":"EdDSA",
		"kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}]}`, string(a.body))
}
