package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestCredentialsArriveInTheirHeaders(t *testing.T) {
	s := setScene(t)
	for name, c := range map[string]struct {
		auth map[string]any
		want map[string]string
	}{
		"bearer":  {map[string]any{"type": "bearer", "token": "t0ken"}, map[string]string{"Authorization": "Bearer t0ken"}},
		"basic":   {map[string]any{"type": "basic", "username": "me", "password": "pw"}, map[string]string{"Authorization": "Basic bWU6cHc="}},
		"headers": {map[string]any{"type": "headers", "headers": map[string]string{"X-Api-Key": "k3y", "Authorization": "Custom c"}}, map[string]string{"X-Api-Key": "k3y", "Authorization": "Custom c"}},
	} {
		r := receiver(t, nil)
		id, secret := s.subscribe(t, r.URL, map[string]any{"auth": c.auth})
		_, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/test", nil)
		require.NoError(t, err)
		got, err := r.WaitFor(ctx(t), 1)
		require.NoError(t, err)
		require.NoError(t, got[0].Verify(secret))
		for header, value := range c.want {
			require.Equal(t, value, got[0].Header.Get(header), name)
		}
	}
}

// grantor is a token endpoint of OAuth 2.0 on loopback.
type grantor struct {
	*httptest.Server
	asked atomic.Int64
	last  atomic.Pointer[http.Request]
}

// newGrantor grants granted to who sends client and secret, and refuses all others as RFC 6749 says.
func newGrantor(t *testing.T, client, secret, granted string) *grantor {
	t.Helper()
	g := &grantor{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.asked.Add(1)
		_ = r.ParseForm()
		g.last.Store(r)
		w.Header().Set("Content-Type", "application/json")
		if id, password, ok := r.BasicAuth(); !ok || id != client || password != url.QueryEscape(secret) || r.Form.Get("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"%s is wrong"}`, password)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"%s","token_type":"Bearer","expires_in":3600}`, granted)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *grantor) auth(client, secret string) map[string]any {
	return map[string]any{"type": "oauth2", "token_url": g.URL + "/token?tenant=acme", "client_id": client, "client_secret": secret, "scope": "hooks"}
}

func TestOneAccessTokenServesManyCallbacks(t *testing.T) {
	s := setScene(t)
	g, r := newGrantor(t, "acme", "s3cr3t+/", "gr4nted"), receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"auth": g.auth("acme", "s3cr3t+/"), "max_in_flight": 100})
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprint("event-", i)
	}
	s.publish(t, ids...)
	got, err := r.WaitFor(ctx(t), len(ids))
	require.NoError(t, err)
	for _, c := range got {
		require.Equal(t, "Bearer gr4nted", c.Header.Get("Authorization"))
	}
	require.EqualValues(t, 1, g.asked.Load(), "requests for tokens")
	asked := g.last.Load()
	require.Equal(t, []string{"hooks", "acme", "/token"}, []string{asked.Form.Get("scope"), asked.URL.Query().Get("tenant"), asked.URL.Path})
	for name := range asked.Header {
		require.False(t, strings.HasPrefix(name, "X-"), "%s came along", name)
	}
}

func TestWhyThereIsNoAccessTokenIsTold(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	g := newGrantor(t, "acme", "s3cr3t", "gr4nted")
	gone := newGrantor(t, "", "", "")
	gone.Close()
	nonsense := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>hello")) }))
	t.Cleanup(nonsense.Close)
	strange := g.auth("acme", "s3cr3t")
	strange["token_url"] = nonsense.URL
	for want, auth := range map[string]map[string]any{
		"token_refused": g.auth("acme", "another"), "token_unreachable": gone.auth("acme", "s3cr3t"), "token_answer": strange,
	} {
		id, _ := s.subscribe(t, r.URL, map[string]any{"auth": auth, "retry_schedule": []string{}})
		sent, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/test", nil)
		require.NoError(t, err)
		var d struct {
			Status, Reason string
			Attempts       []struct{ Outcome, Detail string }
		}
		eventually(t, "the delivery is given up", func() bool {
			answer, err := s.consumer.Do(ctx(t), "GET", s.path()+"/"+id+"/deliveries/"+sent.Field("delivery_id"), nil)
			require.NoError(t, err)
			return answer.Status == 200 && answer.Decode(&d) == nil && d.Status == "failed"
		})
		require.Equal(t, "token", d.Attempts[0].Outcome)
		require.Equal(t, want, d.Attempts[0].Detail)
		require.Contains(t, d.Reason, "no access token")
	}
	require.Empty(t, r.Callbacks())
}

// trusted makes the running gateway trust an authority of the test.
func trusted(t *testing.T) *testkit.Authority {
	t.Helper()
	run, authority := control(t), testkit.NewAuthority(t)
	file := filepath.Join(runDir(), "trust", t.Name()+".pem")
	require.NoError(t, os.WriteFile(file, []byte(authority.PEM()), 0o600))
	t.Cleanup(func() { _ = os.Remove(file) })
	require.NoError(t, run("restart", "gateway"))
	return authority
}

func TestAClientCertificateIsShownToWhoeverAsks(t *testing.T) {
	s := setScene(t)
	authority := trusted(t)
	r := receiver(t, nil)
	var names sync.Map
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		names.Store(req.TLS.PeerCertificates[0].Subject.CommonName+" "+req.Header.Get("Authorization"), true)
		r.ServeHTTP(w, req)
	}))
	secure.TLS, secure.Config.ErrorLog = authority.Server(), log.New(io.Discard, "", 0) // one certificate is refused on purpose
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for _, who := range []string{"one", "two"} {
		certificate, key := authority.Issue(who, nil, nil)
		auth := map[string]any{"type": "mtls", "certificate": certificate, "key": key}
		if who == "two" {
			auth["type"], auth["token"] = "bearer", "t0ken"
		}
		s.subscribe(t, secure.URL, map[string]any{"auth": auth, "description": who})
	}
	foreign, foreignKey := testkit.NewAuthority(t).Issue("three", nil, nil)
	id, _ := s.subscribe(t, secure.URL, map[string]any{"auth": map[string]any{"type": "mtls", "certificate": foreign, "key": foreignKey}, "retry_schedule": []string{}})
	s.publish(t, "a", "b", "c")
	_, err := r.WaitFor(ctx(t), 6)
	require.NoError(t, err)
	for _, want := range []string{"one ", "two Bearer t0ken"} {
		_, seen := names.Load(want)
		require.True(t, seen, want)
	}
	var list struct{ Items []struct{ Status string } }
	eventually(t, "a certificate of another authority is refused by the endpoint", func() bool {
		answer, err := s.consumer.Want(ctx(t), 200, "GET", s.path()+"/"+id+"/deliveries?status=failed", nil)
		require.NoError(t, err)
		return answer.Decode(&list) == nil && len(list.Items) == 3
	})
	require.Len(t, r.Callbacks(), 6)
}

// webhookKeys fetches a subscription's public keys as anybody would.
func webhookKeys(t *testing.T, s *scene, id string) []ed25519.PublicKey {
	t.Helper()
	answer, err := s.Consumer("").Want(ctx(t), 200, "GET", "/.well-known/webhook-keys?subscription="+id, nil)
	require.NoError(t, err)
	require.Contains(t, answer.Header.Get("Cache-Control"), "max-age")
	var set struct {
		Keys []struct{ Kty, Crv, X string }
	}
	require.NoError(t, answer.Decode(&set))
	keys := make([]ed25519.PublicKey, len(set.Keys))
	for i, k := range set.Keys {
		require.Equal(t, "OKP Ed25519", k.Kty+" "+k.Crv)
		keys[i], err = base64.RawURLEncoding.DecodeString(k.X)
		require.NoError(t, err)
	}
	return keys
}

// checks reports whether a signature of the callback is of the key, as RFC 8032 and Standard Webhooks say.
func checks(key ed25519.PublicKey, c world.Callback) bool {
	content := c.ID() + "." + c.Header.Get("webhook-timestamp") + "." + string(c.Body)
	for one := range strings.FieldsSeq(c.Header.Get("webhook-signature")) {
		text, v1a := strings.CutPrefix(one, "v1a,")
		raw, err := base64.StdEncoding.DecodeString(text)
		if v1a && err == nil && ed25519.Verify(key, []byte(content), raw) {
			return true
		}
	}
	return false
}

func TestThePublicKeysCheckTheCallbacksThroughARotation(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, secret := s.subscribe(t, r.URL, map[string]any{"signatures": []string{"v1", "v1a"}})
	before := webhookKeys(t, s, id)
	require.Len(t, before, 1)
	rotated, err := s.consumer.Want(ctx(t), 200, "POST", s.path()+"/"+id+"/rotate-secret", nil)
	require.NoError(t, err)
	after := webhookKeys(t, s, id)
	require.Len(t, after, 2)
	require.Equal(t, before[0], after[1])
	s.publish(t, "one")
	got, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	for _, key := range after {
		require.True(t, checks(key, got[0]))
	}
	for _, secret := range []string{secret, rotated.Field("secret")} {
		require.NoError(t, got[0].Verify(secret), "v1 stands beside it")
	}
	other, _ := s.subscribe(t, r.URL, map[string]any{"signatures": []string{"v1a"}})
	require.False(t, checks(webhookKeys(t, s, other)[0], got[0]), "keys are not shared")
}

func TestPublicKeysAreAllThatAnybodyGets(t *testing.T) {
	s := setScene(t)
	anybody := s.Consumer("")
	for path, want := range map[string]int{
		"/.well-known/webhook-keys": 422, "/.well-known/webhook-keys?subscription=sub_none": 404, "/.well-known/webhook-keys/?subscription=x": 404,
		"/.well-known/other": 404, s.path(): 401, "/.well-known/subscribe": 404,
	} {
		_, err := anybody.Want(ctx(t), want, "GET", path, nil)
		require.NoError(t, err)
	}
}
