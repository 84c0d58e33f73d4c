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
	require.NoError(t, s.Record(ctx, []Record{{Delivery: delivery("dlv_new", time.Hour, contract.DeliveryPending)}}))
	require.NoError(t, s.rdb.Del(ctx, s.key.delivery(all[10])).Err()) // ended by its time
	page, _, err := s.Deliveries(ctx, "sub_1", "", cursor, 1)
	require.NoError(t, err)
	require.Equal(t, all[11], page[0].ID, "neither what came nor what went moves the next page")
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
