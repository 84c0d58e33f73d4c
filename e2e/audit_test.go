package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// audited is an entry of the audit log, as an admin reads it.
type audited struct {
	Actor          struct{ Kind, ID string }
	Action, Object string
	From, At       string
	Request        string `json:"request_id"`
	Status         int
	Fields         []string
}

func (a audited) String() string {
	return fmt.Sprint(a.Actor.Kind, " ", a.Actor.ID, " ", a.Action, " ", a.Object, " ", a.From, " ", a.Status, " ", a.Fields)
}

// audit reads all entries that a query finds, newest first, and their text.
func (s *scene) audit(t *testing.T, query string) (entries []audited, text string) {
	t.Helper()
	for cursor := ""; ; {
		page, err := s.Admin().Want(ctx(t), http.StatusOK, "GET", "/admin/v1/audit?limit=100&"+query+"&cursor="+cursor, nil)
		require.NoError(t, err)
		var list struct {
			Items []audited
			Next  string `json:"next_cursor"`
		}
		require.NoError(t, page.Decode(&list))
		entries, text = append(entries, list.Items...), text+string(page.Body)
		if cursor = list.Next; cursor == "" {
			return entries, text
		}
	}
}

func TestTheAuditLogTellsWhoDidWhatWhenAndFromWhere(t *testing.T) {
	s := setScene(t)
	r := receiver(t, func(int, world.Callback) int { return 410 })
	made, err := s.Admin().Want(ctx(t), 201, "POST", "/admin/v1/consumers",
		map[string]any{"name": "told", "grants": []world.Grant{{Resource: s.resource, Actions: []string{"subscribe"}}}})
	require.NoError(t, err)
	told := made.Field("id")
	key, err := s.Admin().Want(ctx(t), 201, "POST", "/admin/v1/consumers/"+told+"/keys", nil)
	require.NoError(t, err)
	// A peer on this machine is believed about whom it speaks for.
	consumer := s.Consumer(key.Field("key")).With("X-Real-IP", "203.0.113.9").With("X-Request-Id", "req-"+s.resource)
	token := "bearer-" + s.resource
	sub, err := consumer.Want(ctx(t), 201, "POST", s.path(), map[string]any{"callback_url": r.URL, "auth": map[string]string{"type": "bearer", "token": token}})
	require.NoError(t, err)
	path := s.path() + "/" + sub.Field("id")
	want := func(status int, c world.Client, method, path string, body any) world.Answer {
		answer, err := c.Want(ctx(t), status, method, path, body)
		require.NoError(t, err)
		return answer
	}
	want(200, consumer, "PATCH", path, `{"description":"told"}`)
	rotated := want(200, consumer, "POST", path+"/rotate-secret", nil)
	s.publish(t, "one") // the endpoint's 410 ends the subscription
	eventually(t, "the subscription is disabled", func() bool {
		answer, err := consumer.Do(ctx(t), "GET", path, nil)
		return err == nil && answer.Field("status") == "disabled"
	})
	want(204, consumer, "DELETE", path, nil)
	want(404, consumer, "DELETE", path, nil)
	want(204, s.Admin(), "DELETE", "/admin/v1/consumers/"+told+"/keys/"+key.Field("id"), nil)
	wrong := world.Client{Base: s.AdminURL}.With("Authorization", "Bearer wrong-"+s.resource)
	want(401, wrong, "DELETE", "/admin/v1/consumers/"+told, nil)
	want(204, s.Admin(), "DELETE", "/admin/v1/consumers/"+told, nil)

	var got []string
	ofConsumer, textOne := s.audit(t, "object="+told)
	ofSubscription, textTwo := s.audit(t, "object="+sub.Field("id"))
	for _, entries := range [][]audited{ofConsumer, ofSubscription} {
		for _, e := range entries {
			require.NotEmpty(t, e.At)
			if e.Actor.Kind != "service" {
				require.NotEmpty(t, e.Request)
			}
			if e.Actor.Kind == "consumer" {
				require.Equal(t, "req-"+s.resource, e.Request)
			}
			got = append(got, e.String())
		}
	}
	by := "consumer " + told + " "
	at := "/admin/v1/consumers/" + told
	require.ElementsMatch(t, []string{
		"admin admin create-consumer " + at + " 127.0.0.1 201 [name grants]",
		"admin admin create-key " + at + "/keys/" + key.Field("id") + " 127.0.0.1 201 []",
		"admin admin revoke-key " + at + "/keys/" + key.Field("id") + " 127.0.0.1 204 []",
		"unknown  delete-consumer " + at + " 127.0.0.1 401 []",
		"admin admin delete-consumer " + at + " 127.0.0.1 204 []",
		by + "subscribe " + path + " 203.0.113.9 201 [callback_url format auth]",
		by + "change-subscription " + path + " 203.0.113.9 200 [description]",
		by + "rotate-secret " + path + "/rotate-secret 203.0.113.9 200 []",
		"service callback-service change-subscription " + path + "  200 [status status_reason]",
		by + "unsubscribe " + path + " 203.0.113.9 204 []",
		by + "unsubscribe " + path + " 203.0.113.9 404 []",
	}, got)
	for what, secret := range map[string]string{
		"the API key": key.Field("key"), "a credential": token, "a signing secret": strings.TrimPrefix(sub.Field("secret"), "whsec_"),
		"another one": strings.TrimPrefix(rotated.Field("secret"), "whsec_"), "a wrong token": "wrong-" + s.resource, "the admin token": s.AdminToken,
	} {
		require.NotContains(t, textOne+textTwo, secret, what)
	}
	_, err = s.consumer.Want(ctx(t), http.StatusNotFound, "GET", "/admin/v1/audit", nil)
	require.NoError(t, err, "the gateway has no way to it")
	_, err = wrong.Want(ctx(t), http.StatusUnauthorized, "GET", "/admin/v1/audit", nil)
	require.NoError(t, err)
}

func TestAConsumersLimitsHoldAtTheGateway(t *testing.T) {
	s := setScene(t)
	made, err := s.Admin().Want(ctx(t), 201, "POST", "/admin/v1/consumers", map[string]any{
		"name": "limited", "grants": []world.Grant{{Resource: s.resource, Actions: []string{"subscribe", "publish"}}},
		"limits": map[string]int{"requests_per_second": 5, "events_per_second": 1, "max_subscriptions": 1},
	})
	require.NoError(t, err)
	key, err := s.Admin().Want(ctx(t), 201, "POST", "/admin/v1/consumers/"+made.Field("id")+"/keys", nil)
	require.NoError(t, err)
	limited := s.Consumer(key.Field("key"))

	_, err = limited.Want(ctx(t), 201, "POST", s.path(), `{"callback_url":"https://example.com/one"}`)
	require.NoError(t, err)
	full, err := limited.Want(ctx(t), 409, "POST", s.path(), `{"callback_url":"https://example.com/two"}`)
	require.NoError(t, err)
	require.Contains(t, string(full.Body), "you may have 1 subscriptions")

	until := func(limit string, call func() (world.Answer, error)) {
		eventually(t, limit, func() bool {
			answer, err := call()
			require.NoError(t, err)
			if answer.Status != http.StatusTooManyRequests {
				return false
			}
			require.Equal(t, mediaProblem, answer.Header.Get("Content-Type"))
			require.Contains(t, string(answer.Body), limit)
			require.NotEmpty(t, answer.Header.Get("Retry-After"))
			require.Contains(t, answer.Header.Get("RateLimit-Policy"), limit)
			return true
		})
	}
	until("requests_per_second", func() (world.Answer, error) {
		for range 20 {
			if answer, err := limited.Do(ctx(t), "GET", s.path(), nil); err != nil || answer.Status != 200 {
				return answer, err
			}
		}
		return world.Answer{}, nil
	})
	batch := "[" + strings.TrimSuffix(strings.Repeat(`{"specversion":"1.0","id":"`+s.resource+`","source":"/e2e","type":"order.created"},`, 1000), ",") + "]"
	until("events_per_second", func() (world.Answer, error) {
		return limited.With("Content-Type", "application/cloudevents-batch+json").Do(ctx(t), "POST", "/"+s.resource+"/events", batch)
	})
	_, err = s.consumer.Want(ctx(t), 200, "GET", s.path(), nil)
	require.NoError(t, err, "nobody else is limited")
}
