package portal_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// watch opens the live deliveries of a subscription's page.
func (s *scene) watch(id, last string) *bufio.Scanner {
	t := s.browser.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.gateway.URL+"/portal/resources/orders/subscriptions/"+id+"/live", nil)
	require.NoError(t, err)
	req.Header.Set("Last-Event-ID", last)
	resp, err := s.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	require.Equal(t, "no", resp.Header.Get("X-Accel-Buffering"))
	return bufio.NewScanner(resp.Body)
}

// until reads lines until one begins so; empty if the stream ends before.
func until(lines *bufio.Scanner, prefix string) string {
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			return lines.Text()
		}
	}
	return ""
}

func (s *scene) attempt(id, name string) contract.Delivery {
	s.browser.t.Helper()
	d := s.deliver(id, name, contract.DeliveryFailed)
	require.NoError(s.browser.t, s.store.LogAttempts(s.browser.t.Context(), []store.AttemptLog{{Delivery: d}}))
	return d
}

func TestLiveDeliveriesAreRowsAndGoOnWhereABrowserLeftThem(t *testing.T) {
	s := setScene(t)
	id := s.subscribe(hook)
	lines := s.watch(id, "")
	require.NotEmpty(t, until(lines, ": beat"))
	first := s.attempt(id, "aaaa")
	last := strings.TrimPrefix(until(lines, "id: "), "id: ")
	require.Equal(t, "event: attempt", until(lines, "event: "))
	require.Contains(t, until(lines, "data: "), `<tr data-delivery="`+first.ID+`"><th scope="row"><a href="/portal/resources/orders/subscriptions/`+id+`/deliveries/`+first.ID+`">`)

	s.attempt(id, "bbbb")
	require.Contains(t, until(s.watch(id, last), "data: "), "dlv_bbbb", "the one after the last that came")
}

func TestLiveDeliveriesEndWithTheSessionTheGrantAndTheConsumer(t *testing.T) {
	s := setScene(t)
	id := s.subscribe(hook)
	lines := s.watch(id, "")
	require.NotEmpty(t, until(lines, ": beat"))
	s.post(s.open("/portal/resources/orders/"), "/portal/sign-out", nil)
	require.Empty(t, until(lines, "data: "), "signed out")

	s.browser = s.signedIn(s.consumer)
	lines = s.watch(id, "")
	require.NotEmpty(t, until(lines, ": beat"))
	begun := time.Now()
	require.Equal(t, http.StatusOK, s.asAdmin("PATCH", "/admin/v1/consumers/"+s.consumer, `{"grants":[]}`).status)
	require.Empty(t, until(lines, "data: "), "its grant is gone")
	require.Less(t, time.Since(begun), 5*time.Second)
}

func TestSuccessAndLatencyAreAPictureAndATable(t *testing.T) {
	s := setScene(t)
	id := s.subscribe(hook)
	path := "/portal/resources/orders/subscriptions/" + id
	require.Contains(t, s.open(path).body, "There was no attempt in this time.")
	for i := range 4 {
		var counts contract.Counts
		counts.Attempt(i > 0, 20*time.Millisecond)
		require.NoError(t, s.store.AddStats(t.Context(), []store.Stat{{Resource: "orders", Subscription: id, At: s.clock.Now(), Counts: counts}}))
	}
	for _, r := range []string{"", "?range=1+hour", "?range=7+days", "?range=nonsense"} {
		page := s.open(path + r).body
		require.Contains(t, page, `<td class="number">3</td><td class="number">1</td><td class="number">75</td>`, r)
		require.Contains(t, page, `data-charts="stats-table"`)
	}
}
