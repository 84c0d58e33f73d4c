package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func delivery(id string, age time.Duration, status contract.DeliveryStatus, attempts ...contract.Attempt) contract.Delivery {
	at := start.Add(age)
	d := contract.Delivery{ID: id, Subscription: "sub_1", EventID: "e", EventSource: "/s", EventType: "a", Status: status,
		CreatedAt: at, UpdatedAt: at, Attempts: attempts}
	if n := len(attempts); n > 0 {
		d.AttemptCount = attempts[n-1].Number
	}
	return d
}

func attempt(n int) contract.Attempt {
	return contract.Attempt{Number: n, At: start, DurationMS: 5, Status: 500, Outcome: contract.OutcomeResponse, Error: "answered 500"}
}

func TestDeliveriesNewestFirst(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	var all, failed []string
	var batch []Record
	for i := range 450 { // more than one step of the walk
		status := contract.DeliverySucceeded
		if i%100 == 7 {
			status = contract.DeliveryFailed
		}
		d := delivery(fmt.Sprintf("dlv_%03d", i), time.Duration(i/5)*time.Millisecond, status, attempt(1))
		batch = append(batch, Record{Delivery: d})
		all = append([]string{d.ID}, all...)
		if status == contract.DeliveryFailed {
			failed = append([]string{d.ID}, failed...)
		}
	}
	require.NoError(t, s.Record(ctx, batch))
	walk := func(status contract.DeliveryStatus, limit int) (got []string) {
		for cursor, more := "", true; more; more = cursor != "" {
			page, next, err := s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_1", Status: status, Cursor: cursor, Limit: limit})
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

	_, cursor, err := s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_1", Limit: 10})
	require.NoError(t, err)
	require.NoError(t, s.Record(ctx, []Record{{Delivery: delivery("dlv_new", time.Hour, contract.DeliveryPending)}}))
	require.NoError(t, s.rdb.Del(ctx, s.key.delivery(all[10])).Err()) // ended by its time
	page, _, err := s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_1", Cursor: cursor, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, all[11], page[0].ID, "neither what came nor what went moves the next page")
}

func TestDeliveriesAreFoundByTypeEventAndTime(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	var batch []Record
	for i := range 10 {
		d := delivery(fmt.Sprint("dlv_", i), time.Duration(i)*time.Second, contract.DeliverySucceeded)
		d.EventID, d.EventType = fmt.Sprint("event ", i), []string{"even", "odd"}[i%2]
		batch = append(batch, Record{Delivery: d})
	}
	keep(t, s, batch...)
	find := func(q DeliveryQuery) (found []string) {
		q.Subscription, q.Limit = "sub_1", 2
		for more := true; more; more = q.Cursor != "" {
			page, next, err := s.Deliveries(ctx, q)
			require.NoError(t, err)
			for _, d := range page {
				found = append(found, d.ID)
			}
			q.Cursor = next
		}
		return found
	}
	at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Second) }
	require.Equal(t, []string{"dlv_9", "dlv_7", "dlv_5", "dlv_3", "dlv_1"}, find(DeliveryQuery{EventType: "odd"}))
	require.Equal(t, []string{"dlv_4"}, find(DeliveryQuery{EventID: "event 4"}))
	require.Empty(t, find(DeliveryQuery{EventID: "event 4", EventType: "odd"}))
	require.Equal(t, []string{"dlv_6", "dlv_5", "dlv_4", "dlv_3"}, find(DeliveryQuery{Since: at(3), Until: at(6)}))
	require.Equal(t, []string{"dlv_9", "dlv_8"}, find(DeliveryQuery{Since: at(8)}))
	require.Equal(t, []string{"dlv_0"}, find(DeliveryQuery{Until: at(1), EventType: "even"}))
	require.Empty(t, find(DeliveryQuery{Until: at(-1)}))
}

// A search for what is not there must end, and go on where it ended.
func TestAPageLooksAtABoundedNumberOfDeliveries(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	var batch []Record
	for i := range deliveriesScanned + 10 {
		batch = append(batch, Record{Delivery: delivery(fmt.Sprintf("dlv_%05d", i), time.Duration(i)*time.Millisecond, contract.DeliverySucceeded)})
	}
	batch[3].EventID = "sought"
	keep(t, s, batch...)
	page, cursor, err := s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_1", EventID: "sought", Limit: 10})
	require.NoError(t, err)
	require.Empty(t, page)
	require.NotEmpty(t, cursor)
	page, cursor, err = s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_1", EventID: "sought", Limit: 10, Cursor: cursor})
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Empty(t, cursor)
}

func TestStatuses(t *testing.T) {
	s := withResource(t, open(t), "orders")
	first := delivery("dlv_1", 0, contract.DeliveryPending, attempt(1))
	keep(t, s, Record{Delivery: first})
	require.NoError(t, s.rdb.Set(ctx, s.key.delivery("dlv_3"), "nonsense", 0).Err())
	got, err := s.Statuses(ctx, []string{"dlv_1", "dlv_2", "dlv_3", "dlv_1"})
	require.NoError(t, err)
	first.Attempts = nil
	require.Equal(t, []*contract.Delivery{&first, nil, nil, &first}, got)
	got, err = s.Statuses(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, got)
}
