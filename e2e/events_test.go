package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

const (
	mediaStructured = "application/cloudevents+json"
	mediaBatch      = "application/cloudevents-batch+json"
	dataEvent       = "order.created"
)

// ways are how a producer can send an event.
var ways = map[string]func(t *testing.T, s *scene, c testkit.DataCase, id string){
	"amqp-structured": func(t *testing.T, s *scene, c testkit.DataCase, id string) {
		s.publishMessage(t, rabbit.Message{ContentType: mediaStructured, Body: []byte(c.Event(id, dataEvent))})
	},
	"amqp-binary": func(t *testing.T, s *scene, c testkit.DataCase, id string) {
		s.publishMessage(t, rabbit.Message{ContentType: c.ContentType, Headers: c.Headers(id, dataEvent), Body: []byte(c.Data)})
	},
	"http-structured": func(t *testing.T, s *scene, c testkit.DataCase, id string) {
		s.post(t, http.StatusAccepted, mediaStructured, c.Event(id, dataEvent))
	},
	"http-batch": func(t *testing.T, s *scene, c testkit.DataCase, id string) {
		s.post(t, http.StatusAccepted, mediaBatch, "["+c.Event(id, dataEvent)+"]")
	},
	"http-binary": func(t *testing.T, s *scene, c testkit.DataCase, id string) {
		producer := s.consumer.With("Content-Type", c.ContentType).
			With("ce-specversion", "1.0").With("ce-id", id).With("ce-source", "/data").With("ce-type", dataEvent)
		_, err := producer.Want(ctx(t), http.StatusAccepted, "POST", "/"+s.resource+"/events", c.Data)
		require.NoError(t, err, c.Name)
	},
}

func (s *scene) publishMessage(t *testing.T, m rabbit.Message) {
	t.Helper()
	require.NoError(t, s.producer.Publish(ctx(t), rabbit.NamesFor("").ToEvents(s.resource, m)))
}

func (s *scene) post(t *testing.T, status int, contentType, body string) world.Answer {
	t.Helper()
	answer, err := s.consumer.With("Content-Type", contentType).Want(ctx(t), status, "POST", "/"+s.resource+"/events", body)
	require.NoError(t, err)
	return answer
}

func TestEveryKindOfDataArrivesByteForByteFromEveryWayInEveryFormat(t *testing.T) {
	s := setScene(t)
	receivers, subscriptions, secrets := map[contract.Format]*world.Receiver{}, map[contract.Format]string{}, map[contract.Format]string{}
	for _, format := range []contract.Format{contract.FormatStructured, contract.FormatBinary, contract.FormatData} {
		receivers[format] = receiver(t, nil)
		subscriptions[format], secrets[format] = s.subscribe(t, receivers[format].URL, map[string]any{"format": format})
	}
	sent := map[string]testkit.DataCase{}
	for i, c := range testkit.DataCases() {
		for way, publish := range ways {
			id := fmt.Sprint(way, "-", i)
			publish(t, s, c, id)
			sent[id] = c
		}
	}
	for format, r := range receivers {
		got, err := r.WaitFor(ctx(t), len(sent))
		require.NoError(t, err, format)
		for id, c := range sent {
			callback := byID(t, got, contract.DeliveryID("/data", id, subscriptions[format]))
			require.NoError(t, callback.Verify(secrets[format]))
			require.NoError(t, c.Arrived(format, callback.Header, callback.Body), "%s %s: %s", id, format, callback.Body)
		}
	}
}

func byID(t *testing.T, got []world.Callback, id string) world.Callback {
	t.Helper()
	for _, c := range got {
		if c.ID() == id {
			return c
		}
	}
	require.Fail(t, "no callback", id)
	return world.Callback{}
}

func TestABatchArrivesEventByEventAndARepeatedOneOnce(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"format": "data", "types": []string{"order.paid"}})
	one := func(id string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/e2e","type":"order.paid","data":{"id": "` + id + `"}}`
	}
	s.post(t, http.StatusAccepted, mediaBatch, "["+one("a")+","+one("b")+","+one("a")+"]")
	s.post(t, http.StatusAccepted, mediaBatch, "[]")
	got, err := r.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	s.requireSilence(t, r, 2)
	require.ElementsMatch(t, []string{`{"id": "a"}`, `{"id": "b"}`}, []string{string(got[0].Body), string(got[1].Body)})
}

func TestNothingOfABatchWithABadEventIsPublished(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"types": []string{"order.paid"}})
	const good = `{"specversion":"1.0","id":"a","source":"/e2e","type":"order.paid"}`
	answer := s.post(t, http.StatusUnprocessableEntity, mediaBatch, `[`+good+`,{"specversion":"1.0","id":"b","type":"order.paid"}]`)
	require.Contains(t, string(answer.Body), `"location":"[1].source"`)
	s.requireSilence(t, r, 0)
}
