package delivery

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// logStore is a store whose log is in a test's hand.
type logStore struct {
	*store.Store
	log func(ctx context.Context, attempts []store.AttemptLog) error
}

func (s *logStore) LogAttempts(ctx context.Context, attempts []store.AttemptLog) error {
	return s.log(ctx, attempts)
}

// withLog starts an engine that logs with a function.
func withLog(t *testing.T, log func(context.Context, []store.AttemptLog) error) *bench {
	t.Helper()
	b := start(t, status(200))
	b.restart(t, func(o *Options) { o.Store = &logStore{b.store, log} })
	return b
}

func TestEachAttemptIsInTheLog(t *testing.T) {
	b := start(t, func(_ context.Context, n int) (gateway.Answer, error) {
		if n == 1 {
			return gateway.Answer{Outcome: contract.OutcomeConnect, Status: 502, Header: http.Header{contract.HeaderTimings: {"connect;dur=3, total;dur=4"}}}, nil
		}
		return gateway.Answer{
			Outcome: contract.OutcomeResponse, Status: 200, Body: []byte("thanks"),
			Header: http.Header{contract.HeaderAnswered: {"Server=nginx"}, contract.HeaderTimings: {"total;dur=9, reused"}},
		}, nil
	})
	b.change(t, func(s *contract.Subscription) { s.Headers = map[string]string{"X-Key": "s3cr3t"} })
	b.send(t, b.message("a", 1))
	first := b.call(t)
	d := b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	require.Eventually(t, func() bool {
		var err error
		if d, err = b.store.Delivery(t.Context(), b.sub.ID, d.ID); err == nil {
			err = b.store.AttemptDetails(t.Context(), &d)
		}
		require.NoError(t, err)
		return d.Attempts[0].Request != nil && d.Attempts[1].Request != nil
	}, 20*time.Second, 5*time.Millisecond)
	failed, worked := d.Attempts[0], d.Attempts[1]
	require.Nil(t, failed.Response)
	require.Equal(t, []float64{3, 4}, []float64{failed.Timings.ConnectMS, failed.Timings.TotalMS})
	require.Equal(t, failed.NextAttempt, failed.NextAttempt.UTC())
	require.WithinDuration(t, failed.At.Add(10*time.Millisecond), failed.NextAttempt, time.Second)
	require.Zero(t, worked.NextAttempt)
	require.Equal(t, &contract.AttemptResponse{Status: 200, Headers: []contract.Header{{Name: "Server", Value: "nginx"}}, Body: "thanks"}, worked.Response)
	require.True(t, worked.Timings.Reused)
	require.Equal(t, `{"id":"a"}`, worked.Request.Body)
	for _, h := range failed.Request.Headers {
		if want := first.Header.Get(h.Name); h.Name == "X-Key" {
			require.Equal(t, contract.Hidden, h.Value)
		} else {
			require.Equal(t, want, h.Value, h.Name)
		}
	}
	require.Len(t, failed.Request.Headers, len(first.Header))
}

// The log is beside the deliveries: with a Redis that takes nothing of it they go on as ever, and what is missing is counted.
func TestALogThatHangsDelaysNoDelivery(t *testing.T) {
	hangs := make(chan struct{}, 100)
	b := withLog(t, func(ctx context.Context, _ []store.AttemptLog) error {
		hangs <- struct{}{}
		<-ctx.Done() // until the engine gives it up
		return ctx.Err()
	})
	b.send(t, b.message("first", 1))
	b.settledAs(t, b.id("first"), contract.DeliverySucceeded)
	<-hangs // from here on nothing is logged
	const n = 50
	var batch []rabbit.Message
	for i := range n {
		batch = append(batch, b.message(string(rune('a'+i)), 1))
	}
	b.send(t, batch...)
	for i := range n {
		b.settledAs(t, b.id(string(rune('a'+i))), contract.DeliverySucceeded)
	}
	require.Zero(t, testutil.ToFloat64(b.Metrics.unlogged), "it is still being tried")
	from := time.Now()
	b.halt(t)
	require.Less(t, time.Since(from), lastLog+b.Drain)
	require.EqualValues(t, n+1, testutil.ToFloat64(b.Metrics.unlogged))
}

func TestWhatIsLoggedAtTheEndOfTheServiceIsNotLost(t *testing.T) {
	var mu sync.Mutex
	ids := map[string]bool{}
	b := withLog(t, func(_ context.Context, attempts []store.AttemptLog) error {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range attempts {
			ids[a.Delivery.ID] = true
		}
		return nil
	})
	b.send(t, b.message("a", 1), b.message("b", 1), b.message("c", 1))
	for range 3 {
		b.call(t)
	}
	b.halt(t)
	require.Len(t, ids, 3)
}

func TestABatchIsTriedAgainAndThenGivenUp(t *testing.T) {
	var tries int
	gone := make(chan struct{})
	b := withLog(t, func(context.Context, []store.AttemptLog) error {
		if tries++; tries == logTries {
			close(gone)
		}
		return errors.New("no Redis")
	})
	b.send(t, b.message("a", 1))
	<-gone
	require.Eventually(t, func() bool { return testutil.ToFloat64(b.Metrics.unlogged) == 1 }, 10*time.Second, time.Millisecond)
	require.Zero(t, b.logBytes(t))
}

// logBytes is what the attempts take that wait to be logged, which must come back to nothing.
func (b *bench) logBytes(t *testing.T) int64 {
	t.Helper()
	return b.engine.logged.bytes.Load()
}

// Nobody takes from this queue.
func TestAQueueThatIsFullDropsAndNeverWaits(t *testing.T) {
	b := start(t, status(200))
	for name, size := range map[string]int{"too many": 0, "too large": 1 << 20} {
		w := newLogWriter(b.engine)
		before := testutil.ToFloat64(b.Metrics.unlogged)
		for range mostUnlogged + 10 {
			w.add(&logEntry{answer: gateway.Answer{Body: make([]byte, size)}})
			if len(w.queue) < mostUnlogged && testutil.ToFloat64(b.Metrics.unlogged) > before {
				break // by bytes
			}
		}
		require.Greater(t, testutil.ToFloat64(b.Metrics.unlogged), before, name)
		require.LessOrEqual(t, w.bytes.Load(), int64(mostUnloggedBytes), name)
	}
}
