package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func join(t *testing.T, s *Store, places ...Place) {
	t.Helper()
	require.NoError(t, s.JoinLines(ctx, places))
}

// order is the line, first to last.
func order(t *testing.T, s *Store, line string) []string {
	t.Helper()
	ids, err := s.rdb.ZRange(ctx, s.key.line(line), 0, -1).Result()
	require.NoError(t, err)
	return ids
}

func TestLines(t *testing.T) {
	s := open(t)
	join(t, s)
	join(t, s, Place{"a", "z1"}, Place{"b", "z2"}, Place{"a", "m3"}, Place{"a", "a4"})
	join(t, s, Place{"a", "m3"}, Place{"a", "b5"}, Place{"b", "a6"}, Place{"a", "z1"}) // who stands there keeps the place
	require.Equal(t, []string{"z1", "m3", "a4", "b5"}, order(t, s, "a"))
	require.Equal(t, []string{"z2", "a6"}, order(t, s, "b"))
	require.NoError(t, s.LeaveLine(ctx, "a", "m3"))
	require.NoError(t, s.LeaveLine(ctx, "a", "m3"))
	require.NoError(t, s.LeaveLine(ctx, "none", "m3"))
	require.Equal(t, []string{"z1", "a4", "b5"}, order(t, s, "a"))
	join(t, s, Place{"a", "m3"})
	require.Equal(t, []string{"z1", "a4", "b5", "m3"}, order(t, s, "a"), "who left begins at the end")
	life, err := s.rdb.TTL(ctx, s.key.line("a")).Result()
	require.NoError(t, err)
	require.InDelta(t, lineLife.Hours(), life.Hours(), 1)
}

func TestManyJoinInOrder(t *testing.T) {
	s := open(t)
	var places []Place
	var want []string
	for i := range 700 { // several calls of the script
		places = append(places, Place{"a", fmt.Sprintf("%x", 7919*i%700)})
		want = append(want, places[i].Delivery)
	}
	join(t, s, places...)
	require.Equal(t, want, order(t, s, "a"))
}

func TestConcurrentJoinsKeepEachOnesOrder(t *testing.T) {
	s, other := pair(t)
	var wg sync.WaitGroup
	for i := range 4 {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			for n := range 50 {
				err := from.JoinLines(ctx, []Place{{"a", fmt.Sprintf("%d %d", i, 2*n)}, {"a", fmt.Sprintf("%d %d", i, 2*n+1)}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	next := [4]int{}
	for _, id := range order(t, s, "a") {
		var i, n int
		_, err := fmt.Sscan(id, &i, &n)
		require.NoError(t, err)
		require.Equal(t, next[i], n)
		next[i]++
	}
	require.Equal(t, [4]int{100, 100, 100, 100}, next)
}

func TestWhatIsDoneLeavesItsLine(t *testing.T) {
	s := withResource(t, open(t), "orders")
	pending, succeeded, failed, canceled := contract.DeliveryPending, contract.DeliverySucceeded, contract.DeliveryFailed, contract.DeliveryCanceled
	join(t, s, Place{"a", "dlv_1"}, Place{"a", "dlv_2"}, Place{"a", "dlv_3"}, Place{"a", "dlv_4"})
	record := func(id string, status contract.DeliveryStatus, n int) {
		keep(t, s, Record{Delivery: delivery(id, 0, status, attempt(n)), Line: "a"})
	}
	record("dlv_1", pending, 1)
	require.Equal(t, []string{"dlv_1", "dlv_2", "dlv_3", "dlv_4"}, order(t, s, "a"))
	record("dlv_1", succeeded, 2)
	record("dlv_2", failed, 1)
	record("dlv_3", canceled, 1)
	require.Equal(t, []string{"dlv_4"}, order(t, s, "a"))

	join(t, s, Place{"a", "dlv_1"}) // it is replayed
	record("dlv_1", pending, 3)
	record("dlv_1", succeeded, 2)
	require.Equal(t, []string{"dlv_4", "dlv_1"}, order(t, s, "a"), "an outcome from before the replay does not end it")
	record("dlv_1", failed, 3)
	require.Equal(t, []string{"dlv_4"}, order(t, s, "a"))
	join(t, s, Place{"a", "dlv_2"}) // an event that came again after its delivery was done
	record("dlv_2", failed, 1)
	require.Equal(t, []string{"dlv_4"}, order(t, s, "a"), "recording the outcome again leaves again")
}

func TestLineChangesAreToldToAll(t *testing.T) {
	url := testkit.StartRedis(t).URL // a server of its own, since connections are ended
	s, other := openAs(t, url, "test"), openAs(t, url, "test")
	listen, stop := context.WithCancel(ctx)
	told := make(chan string, 100)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, from := range []*Store{s, other} {
		wg.Go(func() {
			if err := from.LineChanges(listen, func(line string) { told <- line }); err != nil {
				t.Error(err)
			}
		})
	}
	subscribed := func(n int64) func() bool {
		return func() bool {
			subs, err := s.rdb.PubSubNumSub(ctx, s.key.lineChanges()).Result()
			return err == nil && subs[s.key.lineChanges()] == n
		}
	}
	require.Eventually(t, subscribed(2), 5*time.Second, time.Millisecond)
	join(t, s, Place{"a", "dlv_1"}, Place{"b", "dlv_2"}, Place{"c", "dlv_3"})
	keep(t, s, Record{Delivery: delivery("dlv_1", 0, contract.DeliverySucceeded, attempt(1)), Line: "a"}, Record{Delivery: delivery("dlv_2", 0, contract.DeliveryFailed, attempt(1)), Line: "b"},
		Record{Delivery: delivery("dlv_9", 0, contract.DeliveryFailed, attempt(1)), Line: "c"}) // this one was not in the line
	require.NoError(t, other.LeaveLine(ctx, "c", "dlv_3"))
	require.NoError(t, other.LeaveLine(ctx, "c", "dlv_3"))
	require.ElementsMatch(t, []string{"a", "a", "b", "b", "c", "c"}, receive(t, told, 6))

	require.NoError(t, s.rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err())
	require.Eventually(t, subscribed(2), 5*time.Second, time.Millisecond)
	join(t, s, Place{"d", "dlv_4"})
	require.NoError(t, s.LeaveLine(ctx, "d", "dlv_4"))
	require.Equal(t, []string{"d", "d"}, receive(t, told, 2), "they listen again after a loss")
	stop()
	require.Eventually(t, subscribed(0), 5*time.Second, time.Millisecond)
}

func TestLineChangesEndWithoutRedis(t *testing.T) {
	s, err := Open(Options{URL: "redis://127.0.0.1:1", Timeout: 50 * time.Millisecond})
	require.NoError(t, err)
	defer s.Close()
	listen, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	require.NoError(t, s.LineChanges(listen, func(string) {}))
}

func receive(t *testing.T, from <-chan string, n int) (got []string) {
	t.Helper()
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	for len(got) < n {
		select {
		case v := <-from:
			got = append(got, v)
		case <-deadline.C:
			t.Fatalf("only %q came", got)
		}
	}
	return got
}
