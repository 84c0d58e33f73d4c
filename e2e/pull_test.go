package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// mailbox is a subscription that pulls.
type mailbox struct {
	*scene
	id, secret, stream string
}

func (s *scene) pulls(t *testing.T, more map[string]any) mailbox {
	t.Helper()
	wish := map[string]any{"mode": "pull"}
	for k, v := range more {
		wish[k] = v
	}
	made, err := s.consumer.Want(ctx(t), http.StatusCreated, "POST", s.path(), wish)
	require.NoError(t, err)
	return mailbox{s, made.Field("id"), made.Field("secret"), s.path() + "/" + made.Field("id") + "/stream"}
}

func (m mailbox) open(t *testing.T, lastID string) *world.Stream {
	t.Helper()
	stream, err := m.consumer.Collect(ctx(t), m.stream, lastID)
	require.NoError(t, err)
	t.Cleanup(func() { _ = stream.Close() })
	return stream
}

// collect reads n deliveries, whose signatures must hold.
func (m mailbox) collect(t *testing.T, from *world.Stream, n int) []world.Collected {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(m.secret)
	require.NoError(t, err)
	all := make([]world.Collected, n)
	for i := range all {
		all[i], err = from.Next()
		require.NoError(t, err, "after %d deliveries", i)
		header := http.Header{}
		for name, value := range all[i].Headers {
			header.Set(name, value)
		}
		require.NoError(t, verifier.Verify(all[i].Body, header))
	}
	return all
}

func (m mailbox) ack(t *testing.T, body any) (acknowledged int) {
	t.Helper()
	answer, err := m.consumer.Want(ctx(t), http.StatusOK, "POST", m.stream+"/ack", body)
	require.NoError(t, err)
	var counts struct{ Acknowledged int }
	require.NoError(t, answer.Decode(&counts))
	return counts.Acknowledged
}

func TestEveryFormatCanBePulledWithFilterAndTransform(t *testing.T) {
	s := setScene(t)
	structured := s.pulls(t, map[string]any{"filter": largeOrders, "types": []string{"order.created"}})
	binary := s.pulls(t, map[string]any{"filter": largeOrders, "format": "cloudevents-binary"})
	data := s.pulls(t, map[string]any{"filter": largeOrders, "format": "data", "transform": `{"of": id}`})
	require.NoError(t, s.producer.PublishEvents(ctx(t),
		world.Event{Resource: s.resource, ID: "small", Type: "order.created", Data: []byte(`{"total":1.0}`)},
		world.Event{Resource: s.resource, ID: "large", Type: "order.created", Data: []byte(`{"total":250.0}`)}))

	got := structured.collect(t, structured.open(t, ""), 1)[0]
	var event struct{ ID string }
	require.NoError(t, json.Unmarshal(got.Body, &event))
	require.Equal(t, "large", event.ID)
	require.Equal(t, "application/cloudevents+json", got.Headers["content-type"])
	got = binary.collect(t, binary.open(t, ""), 1)[0]
	require.Equal(t, "large", got.Headers["ce-id"])
	require.JSONEq(t, `{"total":250.0}`, string(got.Body))
	got = data.collect(t, data.open(t, ""), 1)[0]
	require.JSONEq(t, `{"of":"large"}`, string(got.Body))
	require.NotEmpty(t, got.Headers["traceparent"])

	waits := s.waiting(t, data.id, "large")
	require.Contains(t, waits.Detail, "waits to be collected since ")
	require.Equal(t, 1, data.ack(t, map[string]any{"id": got.ID}))
	require.Equal(t, "succeeded", s.explained(t, data.id, "large", "matched").Delivery.Status)

	_, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+data.id+"/test", nil)
	require.NoError(t, err)
	require.Contains(t, string(data.collect(t, data.open(t, ""), 1)[0].Body), "test event")
}

// waiting is the explanation of a delivery that waits.
func (s *scene) waiting(t *testing.T, id, event string) (e explanation) {
	t.Helper()
	eventually(t, event+" waits", func() bool {
		e = explanation{}
		answer, err := s.consumer.Do(ctx(t), http.MethodGet, s.path()+"/"+id+"/explain?event="+event, nil)
		require.NoError(t, err)
		return answer.Status == http.StatusOK && answer.Decode(&e) == nil && e.Delivery != nil && e.Detail != ""
	})
	return e
}

func TestWhatIsPulledComesInTheOrderOfItsSubjectAndGoesOnAfterACut(t *testing.T) {
	s := setScene(t)
	m := s.pulls(t, map[string]any{"ordering": "subject", "format": "cloudevents-binary"})
	const n = 30
	events := make([]world.Event, n)
	for i := range events {
		events[i] = world.Event{Resource: s.resource, ID: fmt.Sprint(i), Type: "order.created", Subject: fmt.Sprint("s-", i%3), Data: []byte(`{}`)}
	}
	require.NoError(t, s.producer.PublishEvents(ctx(t), events...))
	stream := m.open(t, "")
	got := m.collect(t, stream, 10)
	require.NoError(t, stream.Close())
	got = append(got, m.collect(t, m.open(t, got[9].ID), n-10)...)
	last := map[string]int{}
	for _, c := range got {
		var i int
		_, err := fmt.Sscan(c.Headers["ce-id"], &i)
		require.NoError(t, err)
		before, seen := last[c.Headers["ce-subject"]]
		require.True(t, !seen || i == before+3, "%d after %d", i, before)
		last[c.Headers["ce-subject"]] = i
	}
	again := m.collect(t, m.open(t, ""), n)
	require.Equal(t, got[0].ID, again[0].ID, "what was not acknowledged comes again")
	require.Equal(t, n, m.ack(t, map[string]any{"id": again[n-1].ID}))
	require.Zero(t, m.ack(t, map[string]any{"id": again[n-1].ID}))
}

// gather collects until it has all, and comes back whenever its stream ends. It acknowledges as it goes.
func (m mailbox) gather(t *testing.T, want int) map[string]bool {
	t.Helper()
	got, lastID := map[string]bool{}, ""
	deadline := time.Now().Add(80 * time.Second)
	for len(got) < want {
		require.True(t, time.Now().Before(deadline), "%d of %d came", len(got), want)
		var stream *world.Stream
		eventually(t, "the stream opens", func() (open bool) { // the service may be away
			var err error
			stream, err = m.consumer.Collect(ctx(t), m.stream+"?ack=auto", lastID)
			return err == nil
		})
		for len(got) < want {
			c, err := stream.Next()
			if err != nil {
				break
			}
			got[c.Headers["ce-id"]], lastID = true, c.ID
		}
		_ = stream.Close()
	}
	return got
}

func TestNothingThatIsPulledIsLostOverAKillAndARestart(t *testing.T) {
	run := control(t)
	s := setScene(t)
	m := s.pulls(t, map[string]any{"format": "cloudevents-binary"})
	const batches, each = 6, 50
	done, during := make(chan error, 1), ctx(t)
	after := map[int][]string{1: {"kill", "callback-service"}, 2: {"start", "callback-service"}, 4: {"restart", "subscription-service"}}
	go func() {
		var errs []error
		for i := range batches {
			errs = append(errs, s.producer.PublishEvents(during, s.events(ids(fmt.Sprint("b", i), each)...)...))
			if after[i] != nil {
				errs = append(errs, run(after[i]...))
			}
		}
		done <- errors.Join(errs...)
	}()
	require.Len(t, m.gather(t, batches*each), batches*each)
	require.NoError(t, <-done)
}

func TestAFullMailboxWaitsAtTheBrokerAndDrainsByLongPolls(t *testing.T) {
	s := setScene(t)
	_, err := s.Admin().Want(ctx(t), http.StatusOK, "PUT", "/admin/v1/resources/"+s.resource, map[string]any{"policy": map[string]any{"mailbox": map[string]any{"max_bytes": 65536}}})
	require.NoError(t, err)
	m := s.pulls(t, map[string]any{"format": "data"})
	const n = 80
	events := make([]world.Event, n)
	for i := range events {
		events[i] = world.Event{Resource: s.resource, ID: fmt.Sprint(i), Type: "order.created", Data: fmt.Appendf(nil, `{"n":%d,"rest":%q}`, i, strings.Repeat("x", 2000))}
	}
	require.NoError(t, s.producer.PublishEvents(ctx(t), events...))
	eventually(t, "some wait for room", func() bool {
		answer, err := s.consumer.Want(ctx(t), http.StatusOK, "GET", s.path()+"/"+m.id+"/deliveries?status=pending&limit=100", nil)
		require.NoError(t, err)
		return strings.Contains(string(answer.Body), "waits for room in the mailbox")
	})
	seen, ack, poller := map[string]bool{}, "", s.consumer.With("Accept", "application/json")
	for len(seen) < n {
		answer, err := poller.Want(ctx(t), http.StatusOK, "GET", m.stream+"?wait=20s&limit=10&ack="+ack, nil)
		require.NoError(t, err)
		var page struct {
			Items []struct {
				DeliveryID string `json:"delivery_id"`
			}
			LastID string `json:"last_id"`
		}
		require.NoError(t, answer.Decode(&page))
		require.NotEmpty(t, page.Items, "%d of %d came", len(seen), n)
		for _, item := range page.Items {
			seen[item.DeliveryID] = true
		}
		ack = page.LastID
	}
}

func TestARevokedKeyEndsItsStream(t *testing.T) {
	s := setScene(t)
	m := s.pulls(t, nil)
	own, err := s.consumer.Want(ctx(t), http.StatusOK, "GET", s.path()+"/"+m.id, nil)
	require.NoError(t, err)
	require.Equal(t, "pull", own.Field("mode"))
	consumer, key := s.keyOf(t)
	stream := m.open(t, "")
	revoked := time.Now()
	_, err = s.Admin().Want(ctx(t), http.StatusNoContent, "DELETE", "/admin/v1/consumers/"+consumer+"/keys/"+key, nil)
	require.NoError(t, err)
	_, err = stream.Next()
	require.True(t, errors.Is(err, io.EOF), "in good order: %v", err)
	require.Less(t, time.Since(revoked), 5*time.Second)
}

// keyOf finds the scene's consumer and its only key.
func (s *scene) keyOf(t *testing.T) (consumer, key string) {
	t.Helper()
	var list struct {
		Items []struct {
			ID     string
			Grants []struct{ Resource string }
		}
	}
	answer, err := s.Admin().Want(ctx(t), http.StatusOK, "GET", "/admin/v1/consumers", nil)
	require.NoError(t, err)
	require.NoError(t, answer.Decode(&list))
	for _, c := range list.Items {
		if len(c.Grants) > 0 && c.Grants[0].Resource == s.resource {
			consumer = c.ID
		}
	}
	answer, err = s.Admin().Want(ctx(t), http.StatusOK, "GET", "/admin/v1/consumers/"+consumer+"/keys", nil)
	require.NoError(t, err)
	require.NoError(t, answer.Decode(&list))
	return consumer, list.Items[0].ID
}
