package api_test

import (
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func oauth2Auth(more map[string]any) map[string]any {
	auth := map[string]any{"type": "oauth2", "token_url": "https://login.example/token", "client_id": "acme", "client_secret": "cl1ent-s3cr3t"}
	maps.Copy(auth, more)
	return auth
}

func TestACredentialIsKeptAndOnlyWhatIsPublicOfItIsShown(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	certificate, key := testkit.NewAuthority(t).Issue("acme's client", nil, nil)
	withCertificate := func(auth map[string]any) map[string]any {
		auth = maps.Clone(auth)
		auth["certificate"], auth["key"] = certificate, key
		return auth
	}
	for name, auth := range map[string]map[string]any{
		"bearer":           {"type": "bearer", "token": "t0ken-s3cr3t"},
		"basic":            {"type": "basic", "username": "user-s3cr3t", "password": "pass-s3cr3t"},
		"headers":          {"type": "headers", "headers": map[string]string{"X-Api-Key": "k-s3cr3t", "Authorization": "Custom a-s3cr3t"}},
		"oauth2":           oauth2Auth(map[string]any{"scope": "a-s3cr3t b", "audience": "aud-s3cr3t", "auth_style": "body"}),
		"mtls":             withCertificate(map[string]any{"type": "mtls"}),
		"bearer over mtls": withCertificate(map[string]any{"type": "bearer", "token": "t0ken-s3cr3t"}),
		"oauth2 over mtls": withCertificate(oauth2Auth(nil)),
	} {
		t.Run(name, func(t *testing.T) {
			made := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook, "auth": auth})
			require.Equal(t, http.StatusCreated, made.status, "%s", made.body)
			view := made.json(t)["auth"].(map[string]any)
			want := map[string]any{"type": auth["type"]}
			if auth["type"] == "oauth2" {
				want["token_url"], want["client_id"] = "https://login.example/token", "acme"
			}
			if auth["certificate"] != nil {
				shown := view["certificate"].(map[string]any)
				require.Equal(t, "CN=acme's client,O=tests", shown["subject"])
				require.Len(t, shown["fingerprint"], 64)
				require.NotEmpty(t, shown["not_after"])
				want["certificate"] = shown
			}
			require.Equal(t, want, view)
			again := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook, "auth": auth})
			require.Equal(t, http.StatusOK, again.status, "the same is the same subscription")
			path := "/orders/subscribe/" + made.text(t, "id")
			for _, a := range []answer{made, again, w.as(acme, "GET", path, nil), w.as(acme, "GET", "/orders/subscribe", nil), w.as(acme, "PATCH", path, `{"description":"x"}`)} {
				require.NotContains(t, string(a.body), "s3cr3t")
				require.NotContains(t, string(a.body), "BEGIN")
			}
			kept, err := w.store.Subscription(t.Context(), made.text(t, "id"))
			require.NoError(t, err)
			text, err := json.Marshal(kept.Auth)
			require.NoError(t, err)
			for field, value := range auth {
				if secret, ok := value.(string); ok && strings.Contains(secret, "s3cr3t") {
					require.Contains(t, string(text), secret, "%s is kept", field)
				}
			}
		})
	}
	require.NotContains(t, w.transcript.String(), "s3cr3t")
	require.NotContains(t, w.transcript.String(), "BEGIN")
}

func TestACredentialThatCanNotBeUsedIsRefusedByItsField(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	authority := testkit.NewAuthority(t)
	certificate, key := authority.Issue("client", nil, nil)
	_, other := authority.Issue("client", nil, nil)
	expired, expiredKey := authority.Issue("client", nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	mtls := func(certificate, key any) map[string]any {
		return map[string]any{"type": "mtls", "certificate": certificate, "key": key}
	}
	headers := func(name, value string) map[string]any {
		return map[string]any{"type": "headers", "headers": map[string]string{name: value}}
	}
	for name, c := range map[string]struct {
		auth  map[string]any
		where string
		why   string
	}{
		"no headers":             {map[string]any{"type": "headers"}, "headers", "required"},
		"an empty header":        {headers("X-Api-Key", ""), "headers.X-Api-Key", "empty"},
		"a reserved header":      {headers("Webhook-Id", "s3cr3t"), "headers.Webhook-Id", "reserved"},
		"the gateway's header":   {headers("X-Webhook-Pass", "s3cr3t"), "headers.X-Webhook-Pass", "reserved"},
		"a header's second line": {headers("X-Api-Key", "s3cr3t\r\nX: y"), "headers.X-Api-Key", "control"},
		"a long header":          {headers("X-Api-Key", strings.Repeat("s3cr3t", 1000)), "headers.X-Api-Key", "4096"},
		"no token_url":           {oauth2Auth(map[string]any{"token_url": ""}), "token_url", "required"},
		"no client_secret":       {oauth2Auth(map[string]any{"client_secret": ""}), "client_secret", "required"},
		"a private token_url":    {oauth2Auth(map[string]any{"token_url": "https://169.254.169.254/token"}), "token_url", "private"},
		"a plain token_url":      {oauth2Auth(map[string]any{"token_url": "http://login.example/token"}), "token_url", "http"},
		"credentials in the URL": {oauth2Auth(map[string]any{"token_url": "https://me:s3cr3t@login.example/token"}), "token_url", "credentials"},
		"a scope with a quote":   {oauth2Auth(map[string]any{"scope": "s3cr3t\""}), "scope", "scope"},
		"an auth_style":          {oauth2Auth(map[string]any{"auth_style": "s3cr3t"}), "auth_style", "one of"},
		"a token for oauth2":     {oauth2Auth(map[string]any{"token": "s3cr3t"}), "type", "has no token"},
		"oauth2 for bearer":      {oauth2Auth(map[string]any{"type": "bearer", "token": "x"}), "type", "has no client_id"},
		"no key":                 {mtls(certificate, ""), "key", "required"},
		"no certificate":         {mtls("", key), "certificate", "required"},
		"another's key":          {mtls(certificate, other), "key", "does not belong"},
		"expired":                {mtls(expired, expiredKey), "certificate", "expired"},
		"no PEM":                 {mtls("s3cr3t", key), "certificate", "PEM"},
		"no PEM as key":          {mtls(certificate, "s3cr3t"), "key", "PEM"},
		"too long":               {mtls(certificate, strings.Repeat("s3cr3t", 3000)), "key", "16384"},
		"half of one, for basic": {map[string]any{"type": "basic", "username": "u", "key": key}, "certificate", "required"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook, "auth": c.auth})
			require.Contains(t, a.problem(t, http.StatusUnprocessableEntity)["body.auth."+c.where], c.why, "%s", a.body)
			require.NotContains(t, string(a.body), "s3cr3t")
			require.NotContains(t, string(a.body), "BEGIN C")
		})
	}
	require.Zero(t, w.stored(acme, "orders"))
	require.NotContains(t, w.transcript.String(), "s3cr3t")
}

func TestACertificateIsNotTakenWhereItCanNotBeShown(t *testing.T) {
	w := newWorldOn(t, testkit.Redis(t), plain)
	acme := w.consumer("acme", "orders")
	certificate, key := testkit.NewAuthority(t).Issue("client", nil, nil)
	auth := oauth2Auth(map[string]any{"certificate": certificate, "key": key})
	subscribe := func(callback string, auth map[string]any) answer {
		return w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": callback, "auth": auth})
	}
	require.Contains(t, subscribe("http://consumer.example/", auth).problem(t, 422)["body.auth.certificate"], "https")
	plain := maps.Clone(auth)
	plain["token_url"] = "http://login.example/token"
	require.Contains(t, subscribe(hook, plain).problem(t, 422)["body.auth.token_url"], "https")
	path := "/orders/subscribe/" + subscribe(hook, auth).text(t, "id")
	require.Contains(t, w.as(acme, "PATCH", path, `{"callback_url":"http://consumer.example/"}`).problem(t, 422)["body.auth.certificate"], "https")
	require.Contains(t, w.as(acme, "PATCH", path, map[string]any{"auth": plain}).problem(t, 422)["body.auth.token_url"], "https")
	require.Equal(t, hook, w.as(acme, "GET", path, nil).text(t, "callback_url"))
}

func TestATokenURLKeepsToTheResourcesPolicy(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	require.Less(t, w.asAdmin("PUT", "/admin/v1/resources/orders", map[string]any{"policy": map[string]any{"callback_hosts": []string{"consumer.example"}}}).status, 300)
	subscribe := map[string]any{"callback_url": hook, "auth": oauth2Auth(nil)}
	require.Contains(t, w.as(acme, "POST", "/orders/subscribe", subscribe).problem(t, 422)["body.auth.token_url"], "consumer.example")
	path := "/orders/subscribe/" + w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	require.Contains(t, w.as(acme, "PATCH", path, map[string]any{"auth": oauth2Auth(nil)}).problem(t, 422)["body.auth.token_url"], "consumer.example")
}

func TestAPreviewShowsNoSecretHeader(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	for name, auth := range map[string]map[string]any{
		"X-Api-Key":     {"type": "headers", "headers": map[string]string{"x-api-key": "s3cr3t"}},
		"Authorization": oauth2Auth(nil),
	} {
		a := w.as(acme, "POST", "/orders/subscribe/preview", map[string]any{
			"subscription": map[string]any{"callback_url": hook, "auth": auth},
			"event":        map[string]any{"specversion": "1.0", "id": "1", "source": "/shop", "type": "a.b"},
		})
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		require.NotContains(t, string(a.body), "s3cr3t")
		shown := a.json(t)["request"].(map[string]any)["headers"].(map[string]any)[name]
		require.Contains(t, shown, "***", name)
	}
}
