package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

func TestAnEventArrivesAsASignedCallbackInEachFormat(t *testing.T) {
	s := setScene(t)
	const data = `{"id": 1.50,  "name": "Zoë"}`
	formats := map[string]func(t *testing.T, c world.Callback){
		"cloudevents-structured": func(t *testing.T, c world.Callback) {
			require.Equal(t, "application/cloudevents+json", c.Header.Get("Content-Type"))
			require.Contains(t, string(c.Body), `"data":`+data)
			require.Contains(t, string(c.Body), `"type":"order.created"`)
		},
		"cloudevents-binary": func(t *testing.T, c world.Callback) {
			require.Equal(t, "order.created", c.Header.Get("Ce-Type"))
			require.Equal(t, "1.0", c.Header.Get("Ce-Specversion"))
			require.Equal(t, "application/json", c.Header.Get("Content-Type"))
			require.Equal(t, data, string(c.Body))
		},
		"data": func(t *testing.T, c world.Callback) {
			require.Empty(t, c.Header.Get("Ce-Type"))
			require.Equal(t, "application/json", c.Header.Get("Content-Type"))
			require.Equal(t, data, string(c.Body))
		},
	}
	for format, check := range formats {
		t.Run(format, func(t *testing.T) {
			r := receiver(t, nil)
			_, secret := s.subscribe(t, r.URL+"?tenant=a%2Fb", map[string]any{
				"format": format, "headers": map[string]string{"X-Team": "billing"}, "auth": map[string]string{"type": "bearer", "token": "for-the-endpoint"},
			})
			require.NoError(t, s.producer.PublishEvents(ctx(t), world.Event{Resource: s.resource, ID: format, Type: "order.created", Data: []byte(data)}))
			got, err := r.WaitFor(ctx(t), 1)
			require.NoError(t, err)
			require.NoError(t, got[0].Verify(secret))
			require.Equal(t, "/hooks?tenant=a%2Fb", got[0].Path)
			require.Equal(t, "billing", got[0].Header.Get("X-Team"))
			require.Equal(t, "Bearer for-the-endpoint", got[0].Header.Get("Authorization"))
			require.Regexp(t, `^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`, got[0].Header.Get("Traceparent"))
			requireNothingInternal(t, got[0])
			check(t, got[0])
		})
	}
}

func requireNothingInternal(t *testing.T, c world.Callback) {
	t.Helper()
	for name := range c.Header {
		lower := strings.ToLower(name)
		for _, prefix := range []string{"x-webhook-", "x-forwarded-", "x-real-ip", "x-request-id", "x-consumer-", "apikey", "via"} {
			require.False(t, strings.HasPrefix(lower, prefix), "%s reached the endpoint", name)
		}
	}
}

func TestAStructuredEventAndOneOverHTTPArriveToo(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	_, secret := s.subscribe(t, r.URL, map[string]any{"types": []string{"order.**"}})
	event := func(id string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/e2e","type":"order.paid.late","data":{"a": 1}}`
	}
	require.NoError(t, s.producer.Publish(ctx(t), rabbit.NamesFor("").ToEvents(s.resource, rabbit.Message{
		ContentType: "application/cloudevents+json", Body: []byte(event("amqp"))})))
	_, err := s.consumer.With("Content-Type", "application/cloudevents+json").Want(ctx(t), http.StatusAccepted, "POST", "/"+s.resource+"/events", event("http"))
	require.NoError(t, err)
	got, err := r.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	var all string
	for _, c := range got {
		require.NoError(t, c.Verify(secret))
		all += string(c.Body)
	}
	require.Contains(t, all, `"id":"amqp"`)
	require.Contains(t, all, `"id":"http"`)
}

func TestOnlyTheTypesAskedForArrive(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"types": []string{"order.paid", "refund.*"}, "format": "data"})
	publish := func(types ...string) {
		for _, typ := range types {
			require.NoError(t, s.producer.PublishEvents(ctx(t), world.Event{Resource: s.resource, ID: typ, Type: typ, Data: []byte(`"` + typ + `"`)}))
		}
	}
	publish("order.created", "order.paid", "refund", "refund.sent.late", "refund.sent")
	got, err := r.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{`"order.paid"`, `"refund.sent"`}, []string{string(got[0].Body), string(got[1].Body)})
}

func TestAnEndpointThatFailsTwiceIsCalledAThirdTime(t *testing.T) {
	s := setScene(t)
	r := receiver(t, func(n int, _ world.Callback) int {
		if n <= 2 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	id, secret := s.subscribe(t, r.URL, nil)
	s.publish(t, "one")
	got, err := r.WaitFor(ctx(t), 3)
	require.NoError(t, err)
	for _, c := range got {
		require.Equal(t, got[0].ID(), c.ID())
		require.Equal(t, got[0].Body, c.Body)
		require.NoError(t, c.Verify(secret))
	}
	var d delivery
	eventually(t, "the delivery shows its attempts", func() bool {
		answer, err := s.consumer.Do(ctx(t), "GET", s.path()+"/"+id+"/deliveries/"+got[0].ID(), nil)
		require.NoError(t, err)
		return answer.Status == 200 && answer.Decode(&d) == nil && d.Status == "succeeded"
	})
	require.Len(t, d.Attempts, 3)
	require.Equal(t, []int{500, 500, 200}, []int{d.Attempts[0].Status, d.Attempts[1].Status, d.Attempts[2].Status})
	list, err := s.consumer.Want(ctx(t), 200, "GET", s.path()+"/"+id+"/deliveries?status=succeeded", nil)
	require.NoError(t, err)
	require.Contains(t, string(list.Body), got[0].ID())
}

type delivery struct {
	Status   string `json:"status"`
	Reason   string `json:"reason"`
	Attempts []struct {
		Status  int    `json:"status"`
		Outcome string `json:"outcome"`
	} `json:"attempts"`
}

func TestRetryAfterIsObeyed(t *testing.T) {
	s := setScene(t)
	r := receiver(t, func(n int, _ world.Callback) int {
		if n == 1 {
			return http.StatusTooManyRequests
		}
		return http.StatusNoContent
	})
	r.Answers.Set("Retry-After", "3")
	s.subscribe(t, r.URL, nil)
	s.publish(t, "one")
	got, err := r.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	require.GreaterOrEqual(t, got[1].At.Sub(got[0].At), 2900*time.Millisecond)
}

func TestAnEndpointThatIsGoneEndsTheSubscription(t *testing.T) {
	s := setScene(t)
	r := receiver(t, func(int, world.Callback) int { return http.StatusGone })
	id, _ := s.subscribe(t, r.URL, nil)
	s.publish(t, "one")
	_, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	eventually(t, "the subscription is disabled", func() bool {
		answer, err := s.consumer.Do(ctx(t), "GET", s.path()+"/"+id, nil)
		require.NoError(t, err)
		return answer.Field("status") == "disabled"
	})
	s.requireSilence(t, r, 1)
}

// requireSilence publishes one more event, and waits until a witness got it: by then the receiver would have got it too.
func (s *scene) requireSilence(t *testing.T, r *world.Receiver, n int) {
	t.Helper()
	witness := receiver(t, nil)
	s.subscribe(t, witness.URL, nil)
	s.publish(t, "silence-1", "silence-2")
	_, err := witness.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	require.Len(t, r.Callbacks(), n)
}

func TestPausedMeansNoCallbackAndActiveMeansCallbacksAgain(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, _ := s.subscribe(t, r.URL, nil)
	paused, err := s.consumer.Want(ctx(t), 200, "PATCH", s.path()+"/"+id, map[string]string{"status": "paused"})
	require.NoError(t, err)
	require.Equal(t, "paused", paused.Field("status"))
	s.requireSilence(t, r, 0)
	_, err = s.consumer.Want(ctx(t), 200, "PATCH", s.path()+"/"+id, map[string]string{"status": "active"})
	require.NoError(t, err)
	s.publish(t, "again")
	_, err = r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
}

func TestUnsubscribedMeansNoCallback(t *testing.T) {
	s := setScene(t)
	r := receiver(t, func(int, world.Callback) int { return http.StatusInternalServerError })
	id, _ := s.subscribe(t, r.URL, nil)
	s.publish(t, "one")
	_, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	_, err = s.consumer.Want(ctx(t), 204, "DELETE", s.path()+"/"+id, nil)
	require.NoError(t, err)
	n := len(r.Callbacks())
	_, err = s.consumer.Want(ctx(t), 404, "GET", s.path()+"/"+id, nil)
	require.NoError(t, err)
	s.requireSilence(t, r, n)
}

func TestTheDataOfALargeEventArrivesByteForByte(t *testing.T) {
	s := setScene(t)
	raw := make([]byte, 5<<20)
	_, _ = rand.Read(raw)
	text, err := json.Marshal(base64.StdEncoding.EncodeToString(raw[:5<<20*3/4-64]))
	require.NoError(t, err)
	jsonData := append([]byte("[ \n\t"), append(text, []byte("  ]")...)...)
	for _, c := range []struct {
		name, format, contentType string
		data                      []byte
	}{
		{"bytes as data", "data", "application/octet-stream", raw},
		{"bytes in binary mode", "cloudevents-binary", "application/octet-stream", raw},
		{"JSON with its white space in structured mode", "cloudevents-structured", "application/json", jsonData},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receiver(t, nil)
			id, secret := s.subscribe(t, r.URL, map[string]any{"format": c.format})
			require.NoError(t, s.producer.PublishEvents(ctx(t), world.Event{
				Resource: s.resource, ID: c.name, Type: "order.created", ContentType: c.contentType, Data: c.data}))
			got, err := r.WaitFor(ctx(t), 1)
			require.NoError(t, err)
			require.NoError(t, got[0].Verify(secret))
			require.True(t, bytes.Contains(got[0].Body, c.data), "the data was changed")
			_, err = s.consumer.Want(ctx(t), 204, "DELETE", s.path()+"/"+id, nil)
			require.NoError(t, err)
		})
	}
}

func TestWhatCanNotBeProcessedIsADeadLetterWithTheReason(t *testing.T) {
	s := setScene(t)
	event := s.events("x")[0]
	for _, c := range []struct {
		name, reason string
		spoil        func(*rabbit.Message)
	}{
		{"no CloudEvent", "CloudEvent", func(m *rabbit.Message) { m.Headers = nil }},
		{"no source", "source", func(m *rabbit.Message) { delete(m.Headers, "cloudEvents_source") }},
		{"wrong specversion", "specversion", func(m *rabbit.Message) { m.Headers["cloudEvents_specversion"] = "0.1" }},
		{"broken JSON", "JSON", func(m *rabbit.Message) { m.Body = []byte(`{"a":`) }},
		{"broken structured event", "JSON", func(m *rabbit.Message) {
			m.ContentType, m.Body = "application/cloudevents+json", []byte(`{"specversion":`)
		}},
		{"unknown resource", "resource", func(m *rabbit.Message) { m.RoutingKey = "no-such-" + m.RoutingKey }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := s.producer.Message(event)
			c.spoil(&m)
			m.ID = s.resource + c.name
			require.NoError(t, s.producer.Publish(ctx(t), m))
			letter, err := s.producer.DeadLetter(ctx(t), func(l rabbit.Message) bool { return l.ID == m.ID })
			require.NoError(t, err)
			require.Contains(t, letter.Headers["x-webhook-reason"], c.reason)
			require.Equal(t, m.Body, letter.Body)
		})
	}
	r := receiver(t, nil)
	s.subscribe(t, r.URL, nil)
	s.publish(t, "the next one is served")
	_, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
}

func TestNothingIsLostWhenAPartIsRestartedInTheMiddle(t *testing.T) {
	for _, c := range []struct{ name, verb, part string }{
		{"the broker restarts", "restart", "rabbitmq"},
		{"the runner is killed", "kill", "runner"},
		{"the callback service is killed", "kill", "callback-service"},
		{"the event listener is killed", "kill", "event-listener"},
		{"Redis restarts", "restart", "redis"},
		{"the gateway restarts", "restart", "gateway"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := control(t)
			s := setScene(t)
			r := receiver(t, nil)
			s.subscribe(t, r.URL, map[string]any{"format": "data"})
			const events = 1000
			broken := make(chan error)
			go func() {
				_, err := r.WaitFor(ctx(t), 50)
				broken <- errors.Join(err, run(c.verb, c.part))
			}()
			for i := range events {
				s.publishUntilConfirmed(t, fmt.Sprint("event-", i))
			}
			require.NoError(t, <-broken)
			if c.verb == "kill" && c.part != "runner" { // the gateway starts the runner again by itself
				require.NoError(t, run("start", c.part))
			}
			_, err := r.Wait(ctx(t), func(got []world.Callback) bool { return distinct(got) == events })
			require.NoError(t, err)
		})
	}
}

// publishUntilConfirmed is what a careful producer does: the same event again until the broker has it.
func (s *scene) publishUntilConfirmed(t *testing.T, id string) {
	t.Helper()
	eventually(t, "the broker takes the event", func() bool {
		return s.producer.PublishEvents(ctx(t), s.events(id)...) == nil
	})
}

func distinct(got []world.Callback) int {
	ids := map[string]bool{}
	for _, c := range got {
		ids[string(c.Body)] = true
	}
	return len(ids)
}

func TestAConsumerSendsItselfATestEvent(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, secret := s.subscribe(t, r.URL, map[string]any{"types": []string{"order.paid"}})
	sent, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/test", nil)
	require.NoError(t, err)
	got, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	require.Equal(t, sent.Field("delivery_id"), got[0].ID())
	require.NoError(t, got[0].Verify(secret))
	require.Contains(t, string(got[0].Body), `"type":"webhook.test"`)
}

func TestDuringARotationBothSecretsVerify(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, old := s.subscribe(t, r.URL, nil)
	rotated, err := s.consumer.Want(ctx(t), http.StatusOK, "POST", s.path()+"/"+id+"/rotate-secret", nil)
	require.NoError(t, err)
	s.publish(t, "one")
	got, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	require.NoError(t, got[0].Verify(old))
	require.NoError(t, got[0].Verify(rotated.Field("secret")))
}

func TestWhatWentWrongIsToldApart(t *testing.T) {
	s := setScene(t)
	plain := receiver(t, nil)
	hangsUp := receiver(t, func(int, world.Callback) int { panic(http.ErrAbortHandler) })
	redirects := receiver(t, func(int, world.Callback) int { return http.StatusFound })
	redirects.Answers.Set("Location", plain.URL)
	closed := receiver(t, nil)
	require.NoError(t, closed.Close())
	for _, c := range []struct {
		name, url, outcome string
		status             int
	}{
		{"nobody listens", closed.URL, "connect", 0},
		{"the host does not resolve", "http://no-such-host.invalid/hooks", "dns", 0},
		{"no TLS there", "https" + strings.TrimPrefix(plain.URL, "http"), "tls", 0},
		{"the connection breaks", hangsUp.URL, "reset", 0},
		{"a redirect is not followed", redirects.URL, "response", 302},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, _ := s.subscribe(t, c.url, nil)
			sent, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/test", nil)
			require.NoError(t, err)
			var d delivery
			eventually(t, "an attempt is recorded", func() bool {
				answer, err := s.consumer.Do(ctx(t), "GET", s.path()+"/"+id+"/deliveries/"+sent.Field("delivery_id"), nil)
				require.NoError(t, err)
				return answer.Status == 200 && answer.Decode(&d) == nil && len(d.Attempts) > 0
			})
			require.Equal(t, c.outcome, d.Attempts[0].Outcome)
			require.Equal(t, c.status, d.Attempts[0].Status)
			require.NotEmpty(t, d.Reason)
			_, err = s.consumer.Want(ctx(t), http.StatusNoContent, "DELETE", s.path()+"/"+id, nil)
			require.NoError(t, err)
		})
	}
	require.Empty(t, plain.Callbacks())
}
