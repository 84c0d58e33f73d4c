package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// catalogue gives the scene's resource one type with a schema, and a policy.
func (s *scene) catalogue(t *testing.T, policy map[string]any) {
	t.Helper()
	schema := map[string]any{"type": "object", "required": []string{"total"}, "properties": map[string]any{"total": map[string]any{"minimum": 0, "type": "number"}}}
	_, err := s.Admin().Want(ctx(t), 200, "PUT", "/admin/v1/resources/"+s.resource, map[string]any{
		"types":  []map[string]any{{"name": "order.created", "description": "Somebody ordered.", "schema": schema}},
		"policy": policy,
	})
	require.NoError(t, err)
}

func (s *scene) order(id, total string) world.Event {
	return world.Event{Resource: s.resource, ID: id, Type: "order.created", Data: []byte(`{"total":` + total + `}`)}
}

// postOrder publishes over HTTP, with the status that is wanted.
func (s *scene) postOrder(t *testing.T, status int, id, data string) string {
	t.Helper()
	body := fmt.Sprintf(`{"specversion":"1.0","id":"%s","source":"/e2e","type":"order.created","data":%s}`, id, data)
	return string(s.post(t, status, mediaStructured, body).Body)
}

func TestAnEventThatBreaksItsSchemaIsRefusedOnEveryWay(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"format": "data"})
	s.catalogue(t, map[string]any{"schema_mode": "reject"})
	body := s.postOrder(t, http.StatusUnprocessableEntity, "bad", `{"total":-5}`)
	require.Contains(t, body, `"location":"body.data/total"`)
	require.Contains(t, body, "must be at least 0")
	require.NotContains(t, body, "-5")

	m := s.producer.Message(s.order("bad", `"free"`))
	m.ID = s.resource
	s.publishUntilRefused(t, m)
	s.postOrder(t, http.StatusAccepted, "good", `{"total":5}`)
	require.NoError(t, s.producer.PublishEvents(ctx(t), s.order("good over AMQP", "6")))
	eventually(t, "the good ones arrive", func() bool {
		var all string
		for _, c := range r.Callbacks() {
			all += string(c.Body)
		}
		return strings.Contains(all, `{"total":5}`) && strings.Contains(all, `{"total":6}`)
	})
}

// publishUntilRefused publishes a message until it is a dead letter: a change of the catalogue holds everywhere within a
// second, and what came before it is delivered.
func (s *scene) publishUntilRefused(t *testing.T, m rabbit.Message) {
	t.Helper()
	before := s.violations(t)
	eventually(t, "it is refused", func() bool {
		require.NoError(t, s.producer.Publish(ctx(t), m))
		return s.violations(t) > before
	})
	letter, err := s.producer.DeadLetter(ctx(t), func(l rabbit.Message) bool { return l.ID == m.ID })
	require.NoError(t, err)
	require.Equal(t, "data/total is of type string: make it number", letter.Headers["x-webhook-reason"])
	require.Equal(t, m.Body, letter.Body)
}

func (s *scene) violations(t *testing.T) float64 {
	t.Helper()
	n, err := world.Metric(ctx(t), s.ListenerMetricsURL, "webhook_schema_violations_total")
	if errors.Is(err, world.ErrNoMetric) {
		return 0
	}
	require.NoError(t, err)
	return n
}

func TestAnEventThatBreaksItsSchemaIsDeliveredAndCountedInWarnMode(t *testing.T) {
	s := setScene(t)
	s.catalogue(t, map[string]any{"schema_mode": "warn"})
	r := receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"format": "data"})
	before, n := s.violations(t), 0
	eventually(t, "it is counted", func() bool {
		n++
		s.postOrder(t, http.StatusAccepted, fmt.Sprint("bad-", n), `{}`)
		return s.violations(t) > before
	})
	_, err := r.WaitFor(ctx(t), n)
	require.NoError(t, err)
}

func TestConsumersReadTheCatalogueThroughTheGateway(t *testing.T) {
	s := setScene(t)
	s.catalogue(t, map[string]any{})
	subscriber, err := s.NewConsumer(ctx(t), "subscriber", world.Grant{Resource: s.resource, Actions: []string{"subscribe"}})
	require.NoError(t, err)
	producer, err := s.NewConsumer(ctx(t), "producer", world.Grant{Resource: s.resource, Actions: []string{"publish"}})
	require.NoError(t, err)
	stranger, err := s.NewConsumer(ctx(t), "stranger", world.Grant{Resource: s.resource + "-else", Actions: []string{"subscribe", "publish"}})
	require.NoError(t, err)
	for path, part := range map[string]string{"types": `"description":"Somebody ordered."`, "asyncapi.json": `"asyncapi":"3.0.0"`, "openapi.json": `"openapi":"3.1.0"`} {
		path = "/" + s.resource + "/events/" + path
		for _, client := range []world.Client{subscriber, producer} {
			answer, err := client.Want(ctx(t), http.StatusOK, "GET", path, nil)
			require.NoError(t, err)
			require.Contains(t, string(answer.Body), part)
			require.Contains(t, string(answer.Body), `"minimum":0`)
		}
		_, err := stranger.Want(ctx(t), http.StatusForbidden, "GET", path, nil)
		require.NoError(t, err)
		_, err = s.Consumer("").Want(ctx(t), http.StatusUnauthorized, "GET", path, nil)
		require.NoError(t, err)
	}
}

func TestAPolicyBoundsTheSubscriptionsOfAConsumer(t *testing.T) {
	s := setScene(t)
	s.catalogue(t, map[string]any{"callback_hosts": []string{"127.0.0.1"}, "max_subscriptions": 1})
	refused, err := s.consumer.Want(ctx(t), http.StatusUnprocessableEntity, "POST", s.path(), map[string]any{"callback_url": "https://hooks.example.com/"})
	require.NoError(t, err)
	require.Contains(t, string(refused.Body), "body.callback_url")
	r := receiver(t, nil)
	s.subscribe(t, r.URL, nil)
	full, err := s.consumer.Want(ctx(t), http.StatusConflict, "POST", s.path(), map[string]any{"callback_url": r.URL + "/another"})
	require.NoError(t, err)
	require.Contains(t, full.Field("detail"), "max_subscriptions")
}
