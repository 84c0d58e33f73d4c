package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func delivery(id string, age time.Duration, status contract.DeliveryStatus, attempts ...contract.Attempt) contract.Delivery {
	at := start.Add(age)
	return contract.Delivery{ID: id, Subscription: "sub_1", EventID: "e", EventSource: "/s", EventType: "a", Status: status,
		CreatedAt: at, UpdatedAt: at, Attempts: attempts}
}

func attempt(n int) contract.Attempt {
	return contract.Attempt{Number: n, At: start, DurationMS: 5, Status: 500, Outcome: contract.OutcomeResponse, Error: "answered 500"}
}

func TestRecordDeliveries(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	require.NoError(t, s.RecordDeliveries(ctx, nil))
	require.NoError(t, s.RecordDeliveries(ctx, []contract.Delivery{delivery("dlv_1", 0, contract.DeliveryPending, attempt(1))}))
	for range 2 { // the same again changes nothing
		require.NoError(t, s.RecordDeliveries(ctx, []contract.Delivery{delivery("dlv_1", 0, contract.DeliverySucceeded, attempt(2))}))
	}
	require.NoError(t, s.RecordDeliveries(ctx, []contract.Delivery{delivery("dlv_1", 0, contract.DeliveryFailed, attempt(3))}))
	got, err := s.Delivery(ctx, "sub_1", "dlv_1")
	require.NoError(t, err)
	require.Equal(t, delivery("dlv_1", 0, contract.DeliverySucceeded, attempt(1), attempt(2)), got, "what succeeded stays so")
	_, err = s.Delivery(ctx, "sub_2", "dlv_1")
	require.ErrorIs(t, err, ErrNotFound, "it is another subscription's")
	_, err = s.Delivery(ctx, "sub_1", "dlv_2")
	require.ErrorIs(t, err, ErrNotFound)
	life, err := s.rdb.TTL(ctx, s.key.delivery("dlv_1")).Result()
	require.NoError(t, err)
	require.InDelta(t, deliveryLife.Seconds(), life.Seconds(), 60)
}

func TestDeliveriesNewestFirst(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	var all, failed []string
	var batch []contract.Delivery
	for i := range 450 { // more than one step of the walk
		status := contract.DeliverySucceeded
		if i%100 == 7 {
			status = contract.DeliveryFailed
		}
		d := delivery(fmt.Sprintf("dlv_%03d", i), time.Duration(i/5)*time.Millisecond, status, attempt(1))
		batch = append(batch, d)
		all = append([]string{d.ID}, all...)
		if status == contract.DeliveryFailed {
			failed = append([]string{d.ID}, failed...)
		}
	}
	require.NoError(t, s.RecordDeliveries(ctx, batch))
	walk := func(status contract.DeliveryStatus, limit int) (got []string) {
		for cursor, more := "", true; more; more = cursor != "" {
			page, next, err := s.Deliveries(ctx, "sub_1", status, cursor, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page), limit)
			for _, d := range page {
				require.Empty(t, d.Attempts)
				got = append(got, d.ID)
			}
			cursor = next
		}
		return got
	}
	for _, limit := range []int{1, 3, 100, 450, 1000} {
		require.Equal(t, failed, walk(contract.DeliveryFailed, limit), "limit %d", limit)
	}
	for _, limit := range []int{7, 100, 450, 1000} {
		require.Equal(t, all, walk("", limit), "limit %d", limit)
	}
	require.Empty(t, walk(contract.DeliveryCanceled, 10))

	_, cursor, err := s.Deliveries(ctx, "sub_1", "", "", 10)
	require.NoError(t, err)
	require.NoError(t, s.RecordDeliveries(ctx, []contract.Delivery{delivery("dlv_new", time.Hour, contract.DeliveryPending)}))
	require.NoError(t, s.rdb.Del(ctx, s.key.delivery(all[10])).Err()) // ended by its time
	page, _, err := s.Deliveries(ctx, "sub_1", "", cursor, 1)
	require.NoError(t, err)
	require.Equal(t, all[11], page[0].ID, "neither what came nor what went moves the next page")
}

func TestOnlyTheNewestAreListed(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	var batch []contract.Delivery
	for i := range mostKept + 50 {
		batch = append(batch, delivery(fmt.Sprintf("dlv_%04d", i), time.Duration(i)*time.Millisecond, contract.DeliverySucceeded))
	}
	require.NoError(t, s.RecordDeliveries(ctx, batch))
	n, err := s.rdb.ZCard(ctx, s.key.deliveries("sub_1")).Result()
	require.NoError(t, err)
	require.Less(t, n, int64(mostKept+tendEachNth))
	require.GreaterOrEqual(t, n, int64(mostKept))
	page, _, err := s.Deliveries(ctx, "sub_1", "", "", 1)
	require.NoError(t, err)
	require.Equal(t, batch[len(batch)-1].ID, page[0].ID)
}

func TestADeletedSubscriptionGetsNoList(t *testing.T) {
	s := withResource(t, open(t), "orders")
	require.NoError(t, s.RecordDeliveries(ctx, []contract.Delivery{delivery("dlv_1", 0, contract.DeliverySucceeded)}))
	page, _, err := s.Deliveries(ctx, "sub_1", "", "", 10)
	require.NoError(t, err)
	require.Empty(t, page)
}

func TestStandings(t *testing.T) {
	s := withResource(t, open(t), "orders")
	sub := create(t, s, subscription("sub_1"))
	require.NoError(t, s.RecordDeliveries(ctx, []contract.Delivery{delivery("dlv_1", 0, contract.DeliveryPending, attempt(1))}))
	got, err := s.Standings(ctx, []Pending{{Delivery: "dlv_1", Subscription: "sub_1"}, {Delivery: "dlv_2", Subscription: "sub_1"}, {Delivery: "dlv_3", Subscription: "sub_gone"}})
	require.NoError(t, err)
	recorded := delivery("dlv_1", 0, contract.DeliveryPending)
	require.Equal(t, []Standing{{Subscription: &sub, Recorded: &recorded}, {Subscription: &sub}, {}}, got)
	got, err = s.Standings(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestConcurrentRecords(t *testing.T) {
	s, other := pair(t)
	withResource(t, s, "orders")
	create(t, s, subscription("sub_1"))
	var wg sync.WaitGroup
	for i := range 10 {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			if err := from.RecordDeliveries(ctx, []contract.Delivery{delivery("dlv_1", 0, contract.DeliveryPending, attempt(i+1))}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := s.Delivery(ctx, "sub_1", "dlv_1")
	require.NoError(t, err)
	require.Len(t, got.Attempts, 10)
}
