package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func keep(t *testing.T, s *Store, records ...Record) {
	t.Helper()
	require.NoError(t, s.Record(ctx, records))
}

func kept(t *testing.T, s *Store, id string) contract.Delivery {
	t.Helper()
	d, err := s.Delivery(ctx, "sub_1", id)
	require.NoError(t, err)
	return d
}

func TestRecordGoesForwardOnly(t *testing.T) {
	type state struct {
		status contract.DeliveryStatus
		count  int
	}
	pending, succeeded, failed := contract.DeliveryPending, contract.DeliverySucceeded, contract.DeliveryFailed
	cases := []struct {
		name            string
		stored, next    state
		stays           bool
		attemptsOfFirst int
	}{
		{"the first attempt fails", state{pending, 0}, state{pending, 1}, false, 0},
		{"the next attempt", state{pending, 1}, state{pending, 2}, false, 1},
		{"the same again", state{pending, 1}, state{pending, 1}, false, 1},
		{"given up without an attempt", state{pending, 1}, state{contract.DeliveryCanceled, 1}, false, 1},
		{"success", state{pending, 1}, state{succeeded, 2}, false, 1},
		{"an older attempt", state{pending, 2}, state{pending, 1}, true, 2},
		{"an older attempt that succeeded", state{pending, 2}, state{succeeded, 1}, true, 2},
		{"what is done stays done", state{succeeded, 1}, state{pending, 1}, true, 1},
		{"and as it was done", state{failed, 3}, state{succeeded, 3}, true, 3},
		{"a replay reopens", state{failed, 3}, state{pending, 4}, false, 3},
		{"a replay reopens even a success", state{succeeded, 1}, state{failed, 2}, false, 1},
	}
	s := withResource(t, open(t), "orders")
	for i, c := range cases {
		id := fmt.Sprint("dlv_", i)
		record := func(st state) {
			d := delivery(id, 0, st.status)
			d.AttemptCount = st.count
			if st.count > 0 {
				d.Attempts = []contract.Attempt{attempt(st.count)}
			}
			keep(t, s, Record{Delivery: d})
		}
		record(c.stored)
		before := kept(t, s, id)
		record(c.next)
		got := kept(t, s, id)
		if c.stays {
			require.Equal(t, before, got, c.name)
			continue
		}
		require.Equal(t, c.next, state{got.Status, got.AttemptCount}, c.name)
	}
}

func TestRecordKeepsAttempts(t *testing.T) {
	s := withResource(t, open(t), "orders")
	keep(t, s)
	pending := contract.DeliveryPending
	keep(t, s, Record{Delivery: delivery("dlv_1", 0, pending, attempt(2))})
	for range 2 { // the same again changes nothing
		keep(t, s, Record{Delivery: delivery("dlv_1", 0, pending, attempt(10), attempt(11))})
	}
	keep(t, s, Record{Delivery: delivery("dlv_1", 0, contract.DeliverySucceeded, attempt(3), attempt(12))})
	require.Equal(t, delivery("dlv_1", 0, contract.DeliverySucceeded, attempt(2), attempt(3), attempt(10), attempt(11), attempt(12)), kept(t, s, "dlv_1"))
	_, err := s.Delivery(ctx, "sub_2", "dlv_1")
	require.ErrorIs(t, err, ErrNotFound, "it is another subscription's")
	_, err = s.Delivery(ctx, "sub_1", "dlv_2")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestRecordKeepsTheNewestAttempts(t *testing.T) {
	s := withResource(t, open(t), "orders")
	var batch []Record
	for n := range mostAttempts + 20 { // all of one delivery in one batch
		batch = append(batch, Record{Delivery: delivery("dlv_1", 0, contract.DeliveryPending, attempt(n+1))})
	}
	keep(t, s, batch...)
	got := kept(t, s, "dlv_1")
	require.Len(t, got.Attempts, mostAttempts)
	require.Equal(t, attempt(21), got.Attempts[0])
	require.Equal(t, mostAttempts+20, got.AttemptCount)
}

func TestARecordOutlivesTheWaitForTheNextAttempt(t *testing.T) {
	s := withResource(t, open(t), "orders")
	d := delivery("dlv_1", 0, contract.DeliveryPending, attempt(1))
	life := func() time.Duration {
		keep(t, s, Record{Delivery: d})
		left, err := s.rdb.TTL(ctx, s.key.delivery("dlv_1")).Result()
		require.NoError(t, err)
		return left.Round(time.Hour)
	}
	require.Equal(t, contract.DefaultLogAge, life())
	d.NextAttempt = d.UpdatedAt.Add(24 * time.Hour)
	require.Equal(t, contract.DefaultLogAge+24*time.Hour, life())
	d.NextAttempt = d.UpdatedAt.Add(1e6 * time.Hour)
	require.Equal(t, contract.DefaultLogAge+contract.MaxRetryWait, life())
}

func TestADamagedRecordIsWrittenOver(t *testing.T) {
	s := withResource(t, open(t), "orders")
	require.NoError(t, s.rdb.Set(ctx, s.key.delivery("dlv_1"), "nonsense", 0).Err())
	require.NoError(t, s.rdb.LPush(ctx, s.key.delivery("dlv_2"), "nonsense").Err())
	for _, id := range []string{"dlv_1", "dlv_2"} {
		d := delivery(id, 0, contract.DeliverySucceeded, attempt(1))
		keep(t, s, Record{Delivery: d})
		require.Equal(t, d, kept(t, s, id))
	}
}

// few keeps mostKept deliveries for a day.
var few = contract.LogPolicy{MaxAge: contract.Duration(24 * time.Hour), MaxBytes: mostKept << 10}

const mostKept = 1000

func TestOnlyTheNewestAreListed(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	var batch []Record
	for i := range mostKept + 100 {
		status := []contract.DeliveryStatus{contract.DeliverySucceeded, contract.DeliveryFailed, contract.DeliveryPending, contract.DeliveryCanceled}[i%4]
		batch = append(batch, Record{Delivery: delivery(fmt.Sprintf("dlv_%04d", i), time.Duration(i)*time.Millisecond, status), Log: few})
	}
	keep(t, s, batch...)
	n, err := s.rdb.ZCard(ctx, s.key.deliveries("sub_1")).Result()
	require.NoError(t, err)
	require.EqualValues(t, mostKept, n)
	page, _, err := s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_1", Limit: 1})
	require.NoError(t, err)
	require.Equal(t, batch[len(batch)-1].ID, page[0].ID)

	gone, err := s.Statuses(ctx, []string{"dlv_0000", "dlv_0001", "dlv_0002", "dlv_0003", "dlv_0100"})
	require.NoError(t, err)
	require.Nil(t, gone[0], "it succeeded")
	require.Nil(t, gone[3], "it was canceled")
	for _, i := range []int{1, 2, 4} {
		require.NotNil(t, gone[i])
	}
}

// Tending is rare; the list must not grow in between, nor end.
func TestAListIsTendedTo(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	most := int64(0)
	for i := range mostKept + 300 {
		keep(t, s, Record{Delivery: delivery(fmt.Sprintf("dlv_%04d", i), time.Duration(i)*time.Millisecond, contract.DeliverySucceeded), Log: few})
		n, err := s.rdb.ZCard(ctx, s.key.deliveries("sub_1")).Result()
		require.NoError(t, err)
		most = max(most, n)
	}
	require.Less(t, most, int64(mostKept+tendEachNth))
	life, err := s.rdb.TTL(ctx, s.key.deliveries("sub_1")).Result()
	require.NoError(t, err)
	require.InDelta(t, (24*time.Hour + contract.MaxRetryWait).Hours(), life.Hours(), 1.1)
}

func TestWhenAListIsTendedTo(t *testing.T) {
	var l tended
	require.True(t, l.due("sub_1", 1, start), "never before")
	l.got("sub_1", 1, start, true)
	require.False(t, l.due("sub_1", 1, start))
	require.True(t, l.due("sub_1", tendEachNth, start), "many at once")
	for range tendEachNth - 1 {
		require.False(t, l.due("sub_1", 1, start))
		l.got("sub_1", 1, start, false)
	}
	require.True(t, l.due("sub_1", 1, start), "many in the end")
	l.got("sub_1", 1, start, true)
	require.False(t, l.due("sub_1", 1, start.Add(tendAfter-1)))
	require.True(t, l.due("sub_1", 1, start.Add(tendAfter)))
	require.True(t, l.due("sub_2", 1, start))
	for i := range mostCached {
		l.got(fmt.Sprint(i), 1, start, true)
	}
	require.LessOrEqual(t, len(l.entries), mostCached)
}

func TestADeletedSubscriptionGetsNoList(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_2"))
	gone, there := delivery("dlv_1", 0, contract.DeliverySucceeded), delivery("dlv_2", 0, contract.DeliverySucceeded)
	there.Subscription = "sub_2"
	keep(t, s, Record{Delivery: gone}, Record{Delivery: there})
	page, _, err := s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_1", Limit: 10})
	require.NoError(t, err)
	require.Empty(t, page)
	page, _, err = s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_2", Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []contract.Delivery{there}, page)
}

func TestConcurrentRecords(t *testing.T) {
	s, other := pair(t)
	withResource(t, s, "orders")
	create(t, s, subscription("sub_1"))
	var wg sync.WaitGroup
	for i := range 10 {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			d := delivery("dlv_1", 0, contract.DeliveryPending, attempt(i+1))
			d.AttemptCount = 1
			if err := from.Record(ctx, []Record{{Delivery: d}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(t, kept(t, s, "dlv_1").Attempts, 10)
}

// Whoever is first with an outcome of an attempt wins, in both processes and in each batch.
func TestConcurrentOutcomes(t *testing.T) {
	s, other := pair(t)
	withResource(t, s, "orders")
	create(t, s, subscription("sub_1"))
	var wg sync.WaitGroup
	for i, status := range []contract.DeliveryStatus{contract.DeliverySucceeded, contract.DeliveryFailed, contract.DeliveryPending, contract.DeliveryCanceled} {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			var batch []Record
			for n := range 300 {
				batch = append(batch, Record{Delivery: delivery(fmt.Sprint("dlv_", n), 0, status, attempt(1))})
			}
			if err := from.Record(ctx, batch); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for n := range 300 {
		d := kept(t, s, fmt.Sprint("dlv_", n))
		require.NotEqual(t, contract.DeliveryPending, d.Status)
		require.Len(t, d.Attempts, 1)
	}
}
