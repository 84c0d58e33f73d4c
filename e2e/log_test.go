package e2e

import (
	"bytes"
	"compress/flate"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// timeline waits until the newest delivery of a subscription has so many attempts with all their details.
func (s *scene) timeline(t *testing.T, id string, attempts int) (d contract.Delivery) {
	t.Helper()
	eventually(t, "the attempts are in the log", func() bool {
		var list struct{ Items []contract.Delivery }
		answer, err := s.consumer.Do(ctx(t), "GET", s.path()+"/"+id+"/deliveries?limit=1", nil)
		if err != nil || answer.Decode(&list) != nil || len(list.Items) == 0 {
			return false
		}
		answer, err = s.consumer.Do(ctx(t), "GET", s.path()+"/"+id+"/deliveries/"+list.Items[0].ID, nil)
		d = contract.Delivery{}
		return err == nil && answer.Decode(&d) == nil && len(d.Attempts) >= attempts && d.Attempts[attempts-1].Timings != nil
	})
	return d
}

func valueOf(headers []contract.Header, name string) string {
	for _, h := range headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// An endpoint that fails once, and like many that are made for tests answers with what it got.
func TestTheTimelineOfADeliveryTellsAllButItsSecrets(t *testing.T) {
	s := setScene(t)
	secrets := map[string]string{"a header": "s3cr3t header/" + s.resource, "a credential": "s3cr3t credential/" + s.resource, "a cookie": "s3cr3t-cookie-" + s.resource}
	var calls atomic.Int32
	got := make(chan http.Header, 10)
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		http.SetCookie(w, &http.Cookie{Name: "session", Value: secrets["a cookie"]})
		w.Header().Set("X-Echo", r.Header.Get("X-Key"))
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "you sent "+r.Header.Get("X-Key")+" and "+r.Header.Get("Authorization"))
	}))
	t.Cleanup(echo.Close)
	id, _ := s.subscribe(t, echo.URL+"/hooks?a=b", map[string]any{
		"format": "data", "retry_schedule": []string{"100ms"}, "headers": map[string]string{"X-Key": secrets["a header"]},
		"auth": map[string]string{"type": "bearer", "token": secrets["a credential"]},
	})
	s.publish(t, "logged-"+s.resource)
	d := s.timeline(t, id, 2)
	for i, a := range d.Attempts {
		received := <-got // they came before they were logged
		require.Equal(t, "POST", a.Request.Method)
		require.Equal(t, echo.URL+"/hooks?a=b", a.Request.URL)
		require.Equal(t, `{"id": "logged-`+s.resource+`"}`, a.Request.Body)
		require.Equal(t, len(a.Request.Body), a.Request.BodyBytes)
		for name := range received {
			switch name {
			case "X-Key", "Authorization":
				require.Equal(t, contract.Hidden, valueOf(a.Request.Headers, name))
			case "Content-Length": // body_bytes says it
			default:
				require.Equal(t, received.Get(name), valueOf(a.Request.Headers, name), name)
			}
		}
		require.Equal(t, []int{500, 200}[i], a.Response.Status)
		require.Equal(t, "you sent (hidden) and Bearer (hidden)", a.Response.Body)
		require.Equal(t, contract.Hidden, valueOf(a.Response.Headers, "Set-Cookie"))
		require.Equal(t, contract.Hidden, valueOf(a.Response.Headers, "X-Echo"))
		require.Positive(t, a.Timings.FirstByteMS)
		require.Positive(t, a.Timings.QueuedMS)
		require.GreaterOrEqual(t, a.Timings.TotalMS, a.Timings.FirstByteMS)
	}
	require.Positive(t, d.Attempts[0].Timings.ConnectMS)
	require.Zero(t, d.Attempts[0].Timings.TLSMS)
	require.WithinDuration(t, d.Attempts[0].At.Add(100*time.Millisecond), d.Attempts[0].NextAttempt, 5*time.Second)
	require.Zero(t, d.Attempts[1].NextAttempt)

	search, err := world.NewFinder(secrets)
	require.NoError(t, err)
	for key, value := range redisHolds(t, s.RedisURL) {
		require.Empty(t, search.In(value), key)
	}
}

func TestTheTimelineTellsWhatWentWrongAndWhere(t *testing.T) {
	s := setScene(t)
	plain, closed := receiver(t, nil), receiver(t, nil)
	require.NoError(t, closed.Close())
	done := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	t.Cleanup(func() { close(done); hangs.Close() })
	for _, c := range []struct {
		name, url string
		outcome   contract.Outcome
		took      func(*contract.Timings) float64
	}{
		{"refused", closed.URL, contract.OutcomeConnect, func(t *contract.Timings) float64 { return t.ConnectMS }},
		{"no TLS there", "https" + strings.TrimPrefix(plain.URL, "http"), contract.OutcomeTLS, func(t *contract.Timings) float64 { return t.TLSMS }},
		{"no answer", hangs.URL, contract.OutcomeTimeout, func(t *contract.Timings) float64 { return t.FirstByteMS - 150 }},
		{"no such host", "http://no-such-host.invalid/", contract.OutcomeDNS, func(t *contract.Timings) float64 { return t.DNSMS }},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, _ := s.subscribe(t, c.url, map[string]any{"retry_schedule": []string{"1h"}, "timeouts": map[string]string{"total": "300ms"}})
			_, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/test", nil)
			require.NoError(t, err)
			a := s.timeline(t, id, 1).Attempts[0]
			require.Equal(t, c.outcome, a.Outcome)
			require.Positive(t, c.took(a.Timings), "%+v", a.Timings)
			require.NotEmpty(t, a.Request.Headers)
			require.Nil(t, a.Response)
			require.WithinDuration(t, a.At.Add(time.Hour), a.NextAttempt, 10*time.Minute)
		})
	}
}

func TestHowThingsWentIsCountedPerResource(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, _ := s.subscribe(t, r.URL, nil)
	s.publish(t, ids("counted", 3)...)
	sum := func(client world.Client, path string) (sum contract.StatPoint) {
		var series struct{ Points []contract.StatPoint }
		answer, err := client.Want(ctx(t), http.StatusOK, "GET", path, nil)
		require.NoError(t, err)
		require.NoError(t, answer.Decode(&series))
		for _, p := range series.Points {
			sum.Events, sum.Succeeded, sum.Failed = sum.Events+p.Events, sum.Succeeded+p.Succeeded, sum.Failed+p.Failed
		}
		return sum
	}
	eventually(t, "all are counted", func() bool {
		return sum(s.consumer, s.path()+"/"+id+"/stats") == contract.StatPoint{Succeeded: 3} &&
			sum(s.Admin(), "/admin/v1/stats?resource="+s.resource) == contract.StatPoint{Events: 3, Succeeded: 3}
	})
}

// unfolded adds to what a key of Redis holds what is compressed in it.
func unfolded(members []string) []string {
	for _, m := range members {
		if text, err := io.ReadAll(flate.NewReader(bytes.NewReader([]byte(m)))); err == nil {
			members = append(members, string(text))
		}
	}
	return members
}
