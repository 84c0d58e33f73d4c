package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

const mediaProblem = "application/problem+json"

func TestCallersAreRefusedAtTheGateway(t *testing.T) {
	s := setScene(t)
	stranger := s.Consumer("")
	other, err := s.NewConsumer(ctx(t), "other", world.Grant{Resource: s.resource + "-else", Actions: []string{"subscribe"}})
	require.NoError(t, err)
	producerOnly, err := s.NewConsumer(ctx(t), "producer", world.Grant{Resource: s.resource, Actions: []string{"publish"}})
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		client world.Client
		path   string
		status int
	}{
		{"no key", stranger, s.path(), 401},
		{"a wrong key", s.Consumer("whk_wrong"), s.path(), 401},
		{"forged identity headers", stranger.With("X-Consumer-Username", "acme").With("X_Consumer_Id", "acme"), s.path(), 401},
		{"a forged statement", stranger.With("X-Webhook-Statement", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhY21lIn0."), s.path(), 401},
		{"a grant for another resource", other, s.path(), 403},
		{"a grant for another action", producerOnly, s.path(), 403},
		{"an unknown resource", s.consumer, "/no-such-resource/subscribe", 404},
		{"no resource name", s.consumer, "/No_Resource/subscribe", 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, err := c.client.Want(ctx(t), c.status, "GET", c.path, nil)
			require.NoError(t, err)
			require.Equal(t, mediaProblem, answer.Header.Get("Content-Type"))
			require.NotEmpty(t, answer.Field("detail"))
			if c.status == 401 {
				require.NotEmpty(t, answer.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestAForgedIdentityBesideAValidKeyChangesNothing(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, _ := s.subscribe(t, r.URL, nil)
	other, err := s.NewConsumer(ctx(t), "other", world.Grant{Resource: s.resource, Actions: []string{"subscribe"}})
	require.NoError(t, err)
	forged := other.With("X-Webhook-Consumer", "acme").With("X-Consumer-Username", "acme").With("X-Webhook-Statement", "a.b.c")
	_, err = forged.Want(ctx(t), 404, "GET", s.path()+"/"+id, nil)
	require.NoError(t, err)
	_, err = forged.Want(ctx(t), 404, "DELETE", s.path()+"/"+id, nil)
	require.NoError(t, err)
}

func TestARevokedKeyIsRefusedWithinFiveSeconds(t *testing.T) {
	s := setScene(t)
	made, err := s.Admin().Want(ctx(t), 201, "POST", "/admin/v1/consumers",
		map[string]any{"name": "short", "grants": []world.Grant{{Resource: s.resource, Actions: []string{"subscribe"}}}})
	require.NoError(t, err)
	keys := "/admin/v1/consumers/" + made.Field("id") + "/keys"
	key, err := s.Admin().Want(ctx(t), 201, "POST", keys, nil)
	require.NoError(t, err)
	client := s.Consumer(key.Field("key"))
	_, err = client.Want(ctx(t), 200, "GET", s.path(), nil)
	require.NoError(t, err)
	_, err = s.Admin().Want(ctx(t), 204, "DELETE", keys+"/"+key.Field("id"), nil)
	require.NoError(t, err)
	revoked := time.Now()
	eventually(t, "the key is refused", func() bool {
		answer, err := client.Do(ctx(t), "GET", s.path(), nil)
		require.NoError(t, err)
		return answer.Status == 401
	})
	require.Less(t, time.Since(revoked), 5*time.Second)
}

func TestTheCallbackRouteTakesNobodyElse(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	for name, client := range map[string]world.Client{
		"nobody": s.Consumer(""), "a consumer": s.consumer, "a forged pass": s.Consumer("").With("X-Webhook-Pass", "abc"),
		"a forged statement": s.Consumer("").With("X-Webhook-Statement", "eyJhbGciOiJub25lIn0.e30."),
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := client.Do(ctx(t), "POST", "/-/callback?target="+r.URL, `{}`)
			require.NoError(t, err)
			require.Contains(t, []int{401, 403}, answer.Status)
			require.Equal(t, mediaProblem, answer.Header.Get("Content-Type"))
		})
	}
	require.Empty(t, r.Callbacks())
}

func TestBadSubscriptionsAreRefusedByField(t *testing.T) {
	s := setScene(t)
	for _, c := range []struct{ name, body, location string }{
		{"malformed JSON", `{"callback_url":`, ""},
		{"unknown field", `{"callback_url":"https://example.com/","color":"red"}`, "body"},
		{"no callback URL", `{}`, "body"},
		{"relative", `{"callback_url":"/hooks"}`, "body.callback_url"},
		{"credentials", `{"callback_url":"https://me:secret-word@example.com/"}`, "body.callback_url"},
		{"fragment", `{"callback_url":"https://example.com/#top"}`, "body.callback_url"},
		{"strange port", `{"callback_url":"https://example.com:22/"}`, "body.callback_url"},
		{"strange scheme", `{"callback_url":"ftp://example.com/"}`, "body.callback_url"},
		{"private address", `{"callback_url":"https://10.0.0.1/"}`, "body.callback_url"},
		{"metadata address", `{"callback_url":"http://169.254.169.254/latest"}`, "body.callback_url"},
		{"bad type", `{"callback_url":"https://example.com/","types":["order created"]}`, "body.types[0]"},
		{"reserved header", `{"callback_url":"https://example.com/","headers":{"Webhook-Id":"1"}}`, "body.headers"},
		{"wrong type", `{"callback_url":7}`, "body.callback_url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, err := s.consumer.Do(ctx(t), "POST", s.path(), c.body)
			require.NoError(t, err)
			require.Contains(t, []int{400, 422}, answer.Status, string(answer.Body))
			require.Equal(t, mediaProblem, answer.Header.Get("Content-Type"))
			require.Contains(t, string(answer.Body), c.location)
			require.NotContains(t, string(answer.Body), "secret-word")
		})
	}
	big := `{"callback_url":"https://example.com/","description":"` + strings.Repeat("x", 1<<20) + `"}`
	_, err := s.consumer.Want(ctx(t), http.StatusRequestEntityTooLarge, "POST", s.path(), big)
	require.NoError(t, err)
	list, err := s.consumer.Want(ctx(t), 200, "GET", s.path(), nil)
	require.NoError(t, err)
	require.Contains(t, string(list.Body), `"items":[]`)
}

func TestTheServiceTakesNobodyPastTheGateway(t *testing.T) {
	s := setScene(t)
	answer, err := world.Client{Base: s.AdminURL}.Do(ctx(t), "GET", "/admin/v1/consumers", nil)
	require.NoError(t, err)
	require.Equal(t, 401, answer.Status)
	answer, err = s.consumer.Do(ctx(t), "GET", "/admin/v1/consumers", nil)
	require.NoError(t, err)
	require.Equal(t, 404, answer.Status, "the gateway has no route to the admin API")
	doc, err := world.Client{Base: s.AdminURL}.Want(ctx(t), 200, "GET", "/openapi.json", nil)
	require.NoError(t, err)
	require.Contains(t, doc.Field("openapi"), "3.1")
}

func TestACallWithTooManyOrDoubledHeadersIsRefused(t *testing.T) {
	s := setScene(t)
	many := s.consumer
	for i := range 100 {
		many = many.With(fmt.Sprint("X-Header-", i), "1")
	}
	doubled := s.consumer
	doubled.Header = doubled.Header.Clone()
	doubled.Header["Apikey"] = append([]string{"whk_other"}, doubled.Header.Get("apikey"))
	for name, client := range map[string]world.Client{"a hundred headers": many, "two keys": doubled} {
		t.Run(name, func(t *testing.T) {
			answer, err := client.Want(ctx(t), 400, "GET", s.path(), nil)
			require.NoError(t, err)
			require.Equal(t, mediaProblem, answer.Header.Get("Content-Type"))
		})
	}
}

func TestHiddenAndEncodedPathsLeadNowhere(t *testing.T) {
	s := setScene(t)
	for _, path := range []string{
		"/" + s.resource + "%2Fsubscribe", "/x/../" + s.resource + "/subscribe", "//" + s.resource + "/subscribe",
		"/" + s.resource + "%252F/subscribe", "/" + s.resource + "/subscribe%2F..%2F..%2Fadmin", "/%2e%2e/" + s.resource + "/subscribe",
		"/" + s.resource + "/subscribe/..%2f..%2f..%2fadmin%2fv1%2fconsumers", "/gateway/" + s.resource + "/subscribe", "/-/callback/",
	} {
		t.Run(path, func(t *testing.T) {
			answer, err := s.consumer.Do(ctx(t), "GET", path, nil)
			require.NoError(t, err)
			require.Contains(t, []int{400, 404}, answer.Status, string(answer.Body))
		})
	}
}
