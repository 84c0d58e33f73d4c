package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

func TestAnEventSeenAgainMakesNoSecondDelivery(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"format": "data"})
	s.publish(t, "one", "one")
	s.publish(t, "one")
	s.publish(t, "one", "two")
	got, err := r.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	require.Equal(t, 2, distinct(got))
	s.publish(t, "three") // a second delivery of an earlier one would have come before it
	got, err = r.WaitFor(ctx(t), 3)
	require.NoError(t, err)
	require.Equal(t, 3, distinct(got))
}

// numbered are events of one subject.
func (s *scene) numbered(subject string, n int) []world.Event {
	events := make([]world.Event, n)
	for i := range events {
		events[i] = world.Event{Resource: s.resource, ID: fmt.Sprint(subject, i), Type: "order.created", Subject: subject, Data: fmt.Appendf(nil, `%d`, i)}
	}
	return events
}

func TestDeliveriesOfASubjectArriveInTheOrderOfTheirEvents(t *testing.T) {
	s := setScene(t)
	r := receiver(t, func(n int, c world.Callback) int {
		if n%4 == 0 && c.Header.Get("Ce-Subject") != "calm" {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	s.subscribe(t, r.URL, map[string]any{"format": "cloudevents-binary", "ordering": "subject", "retry_schedule": []string{"100ms", "100ms", "100ms", "100ms", "100ms"}})
	const each = 12
	subjects := []string{"calm", "stormy", "wild"}
	for i := range each {
		for _, subject := range subjects {
			require.NoError(t, s.producer.PublishEvents(ctx(t), s.numbered(subject, each)[i]))
		}
	}
	got, err := r.Wait(ctx(t), func(got []world.Callback) bool { return len(succeeded(got)) == each*len(subjects) })
	require.NoError(t, err)
	next := map[string]int{}
	for _, c := range succeeded(got) {
		subject := c.Header.Get("Ce-Subject")
		require.Equal(t, fmt.Sprint(next[subject]), string(c.Body), "subject %s", subject)
		next[subject]++
	}
}

func TestAFailedDeliveryIsReplayedAloneAndAllThatFailedTogether(t *testing.T) {
	s := setScene(t)
	works := make(chan struct{})
	r := receiver(t, func(int, world.Callback) int {
		select {
		case <-works:
			return http.StatusOK
		default:
			return http.StatusInternalServerError
		}
	})
	id, secret := s.subscribe(t, r.URL, map[string]any{"format": "data", "retry_schedule": []string{}})
	since := time.Now().Add(-time.Second)
	s.publish(t, ids("lost", 5)...)
	failed := s.awaitDeliveries(t, id, "failed", 5)
	close(works)

	one := failed[2]
	asked, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/deliveries/"+one+"/replay", nil)
	require.NoError(t, err)
	got, err := r.Wait(ctx(t), func(got []world.Callback) bool { return len(succeeded(got)) == 1 })
	require.NoError(t, err)
	require.Equal(t, one, succeeded(got)[0].ID(), "the same webhook-id")
	require.NoError(t, succeeded(got)[0].Verify(secret))
	s.awaitReplay(t, asked, 1)
	s.awaitDeliveries(t, id, "failed", 4)

	asked, err = s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/replay", map[string]any{"since": since, "status": "failed"})
	require.NoError(t, err)
	s.awaitReplay(t, asked, 4)
	s.awaitDeliveries(t, id, "succeeded", 5)
	require.Len(t, succeeded(r.Callbacks()), 5)
}

// awaitDeliveries waits until so many deliveries have a status, and returns their ids.
func (s *scene) awaitDeliveries(t *testing.T, subscription, status string, n int) (found []string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d deliveries are %s", n, status), func() bool {
		answer, err := s.consumer.Want(ctx(t), 200, "GET", s.path()+"/"+subscription+"/deliveries?limit=100&status="+status, nil)
		require.NoError(t, err)
		var list struct{ Items []struct{ ID string } }
		require.NoError(t, answer.Decode(&list))
		found = nil
		for _, d := range list.Items {
			found = append(found, d.ID)
		}
		return len(found) == n
	})
	return found
}

// awaitReplay waits until a replay is done.
func (s *scene) awaitReplay(t *testing.T, asked world.Answer, sent int) {
	t.Helper()
	eventually(t, "the replay is done", func() bool {
		answer, err := s.consumer.Want(ctx(t), 200, "GET", asked.Header.Get("Location"), nil)
		require.NoError(t, err)
		var replay struct {
			State string
			Sent  int
		}
		require.NoError(t, answer.Decode(&replay))
		if replay.State == "done" {
			require.Equal(t, sent, replay.Sent)
		}
		return replay.State == "done"
	})
}

func TestEverythingSinceATimeIsReplayedAlsoWhatWasPublishedWhilePaused(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, _ := s.subscribe(t, r.URL, map[string]any{"format": "data"})
	since := time.Now().Add(-time.Second)
	s.publish(t, "before")
	_, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	_, err = s.consumer.Want(ctx(t), 200, "PATCH", s.path()+"/"+id, map[string]string{"status": "paused"})
	require.NoError(t, err)
	s.requireSilence(t, r, 1)
	_, err = s.consumer.Want(ctx(t), 200, "PATCH", s.path()+"/"+id, map[string]string{"status": "active"})
	require.NoError(t, err)
	asked, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/replay", map[string]any{"since": since})
	require.NoError(t, err)
	s.awaitReplay(t, asked, 3)
	got, err := r.WaitFor(ctx(t), 4)
	require.NoError(t, err)
	require.Equal(t, 3, distinct(got), "one came a second time, two the first time")
}

func TestTheServiceTellsOfASubscriptionThatItDisabledAndOfADeliveryThatItGaveUp(t *testing.T) {
	s := setScene(t)
	gone := receiver(t, func(int, world.Callback) int { return http.StatusGone })
	id, _ := s.subscribe(t, gone.URL, nil)
	s.publish(t, "one")
	told := map[string]string{}
	conn, err := rabbit.Open(ctx(t), s.AMQPURL, rabbit.Options{Name: t.Name()})
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	listening, done := context.WithCancel(ctx(t))
	defer done()
	require.NoError(t, conn.Consume(listening, conn.Names().Operations, rabbit.ConsumeOptions{}, func(_ context.Context, batch []*rabbit.Delivery) {
		for _, m := range batch {
			var event struct {
				Type, Subject string
				Data          struct{ Reason string }
			}
			if json.Unmarshal(m.Body, &event) == nil && event.Subject == id {
				told[event.Type] = event.Data.Reason
			}
		}
		rabbit.AckAll(batch)
		if len(told) == 2 {
			done()
		}
	}))
	require.Contains(t, told["subscription.disabled"], "410")
	require.Contains(t, told["delivery.exhausted"], "410")
	answer, err := s.consumer.Want(ctx(t), 200, "GET", s.path()+"/"+id, nil)
	require.NoError(t, err)
	require.Equal(t, "disabled", answer.Field("status"))
	require.Contains(t, answer.Field("status_reason"), "410")
}

// raw is an endpoint that speaks TCP: it gets a connection once the request's head is read.
func raw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				lines := bufio.NewReader(conn)
				for line, err := lines.ReadString('\n'); err == nil && line != "\r\n"; line, err = lines.ReadString('\n') {
					continue
				}
				serve(conn)
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/hooks"
}

// forever writes a text again and again until the other side has enough, at most every so often.
func forever(conn net.Conn, text string, every time.Duration) {
	tick := time.NewTicker(max(every, time.Nanosecond))
	defer tick.Stop()
	for {
		if _, err := conn.Write([]byte(text)); err != nil {
			return
		}
		if every > 0 {
			<-tick.C
		}
	}
}

func TestAnEndpointThatMisbehavesHasItsOwnOutcomeAndCostsTheOthersNothing(t *testing.T) {
	s := setScene(t)
	healthy := receiver(t, nil)
	s.subscribe(t, healthy.URL, map[string]any{"types": []string{"order.paid"}})
	const head = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		name            string
		serve           func(net.Conn)
		outcome, detail string
	}{
		{"a body of a gibibyte", func(c net.Conn) {
			_, _ = c.Write([]byte(head + "Content-Length: 1073741824\r\n\r\n"))
			forever(c, strings.Repeat("x", 1<<16), 0)
		}, "response", "answer_cut"},
		{"a byte a second", func(c net.Conn) {
			_, _ = c.Write([]byte(head + "Content-Length: 1000\r\n\r\n"))
			forever(c, "x", time.Second)
		}, "response", "answer_incomplete"},
		{"headers without end", func(c net.Conn) {
			_, _ = c.Write([]byte(head))
			forever(c, "X-More: "+strings.Repeat("x", 1000)+"\r\n", 0)
		}, "reset", "headers_too_large"},
		{"no answer at all", func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<20)); forever(c, "", 100*time.Millisecond) }, "timeout", "header_timeout"},
		{"Retry-After of a year", func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 503 Later\r\nRetry-After: 31536000\r\nContent-Length: 0\r\n\r\n"))
		}, "response", "retry_after_bounded"},
		{"Retry-After of last century", func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 503 Later\r\nRetry-After: Wed, 21 Oct 1915 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n"))
		}, "response", "retry_after_unusable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, _ := s.subscribe(t, raw(t, c.serve), map[string]any{
				"types": []string{"none"}, "timeouts": map[string]string{"total": "2s", "header": "1500ms"}, "retry_schedule": []string{},
			})
			sent, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/test", nil)
			require.NoError(t, err)
			published := time.Now()
			require.NoError(t, s.producer.PublishEvents(ctx(t), world.Event{Resource: s.resource, ID: c.name, Type: "order.paid", Data: []byte(`1`)}))
			got, err := healthy.Wait(ctx(t), func(got []world.Callback) bool {
				return len(got) > 0 && strings.Contains(string(got[len(got)-1].Body), c.name)
			})
			require.NoError(t, err)
			require.Less(t, got[len(got)-1].At.Sub(published), time.Second)
			first := s.firstAttempt(t, id, sent.Field("delivery_id"))
			require.Equal(t, c.outcome, first.Outcome)
			require.Equal(t, c.detail, first.Detail)
		})
	}
}

type attempt struct{ Outcome, Detail string }

func (s *scene) firstAttempt(t *testing.T, subscription, delivery string) attempt {
	t.Helper()
	var d struct{ Attempts []attempt }
	eventually(t, "an attempt is recorded", func() bool {
		answer, err := s.consumer.Do(ctx(t), "GET", s.path()+"/"+subscription+"/deliveries/"+delivery, nil)
		require.NoError(t, err)
		return answer.Status == 200 && answer.Decode(&d) == nil && len(d.Attempts) > 0
	})
	return d.Attempts[0]
}

func TestARateLimitHolds(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"rate_limit": 10, "format": "data"})
	s.publish(t, ids("many", 25)...)
	got, err := r.WaitFor(ctx(t), 25)
	require.NoError(t, err)
	require.GreaterOrEqual(t, got[24].At.Sub(got[0].At), 1400*time.Millisecond, "ten at once, then ten a second")
}
