package store

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func stand(t *testing.T, s *Store, p Pending) Standing {
	t.Helper()
	got, err := s.Standings(ctx, []Pending{p})
	require.NoError(t, err)
	require.Len(t, got, 1)
	return got[0]
}

func withPolicy(t *testing.T, s *Store, resource, policy string) {
	t.Helper()
	_, err := s.PutResource(ctx, contract.Resource{Name: resource, Policy: json.RawMessage(policy)})
	require.NoError(t, err)
}

func TestStandings(t *testing.T) {
	s := open(t)
	withPolicy(t, s, "orders", `{"retry_schedule":["5s","1m"],"timeouts":{"total":"3s"},"other":1}`)
	sub := create(t, s, subscription("sub_1"))
	recorded := delivery("dlv_1", 0, contract.DeliveryPending, attempt(1))
	keep(t, s, Record{Delivery: recorded})
	recorded.Attempts = nil
	join(t, s, Place{"line_1", "dlv_1"}, Place{"line_1", "dlv_2"}, Place{"line_2", "dlv_3"}, Place{"line_2", "dlv_4"})
	policy := contract.DeliveryPolicy{
		RetrySchedule: []contract.Duration{contract.Duration(5 * time.Second), contract.Duration(time.Minute)},
		Timeouts:      contract.Timeouts{Total: contract.Duration(3 * time.Second)},
	}
	got, err := s.Standings(ctx, []Pending{
		{"dlv_1", "sub_1", "orders", "line_1"},
		{"dlv_2", "sub_1", "orders", "line_1"},
		{"dlv_3", "sub_1", "none", "line_2"},
		{"dlv_4", "sub_gone", "", "line_2"},
		{"dlv_5", "sub_1", "orders", "line_empty"},
		{"dlv_6", "sub_1", "orders", ""},
	})
	require.NoError(t, err)
	require.Equal(t, []Standing{
		{Subscription: &sub, Policy: policy, Recorded: &recorded},
		{Subscription: &sub, Policy: policy, Ahead: &recorded},
		{Subscription: &sub},
		{Ahead: &contract.Delivery{ID: "dlv_3"}},
		{Subscription: &sub, Policy: policy},
		{Subscription: &sub, Policy: policy},
	}, got)
	got, err = s.Standings(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestStandingsFollowChanges(t *testing.T) {
	s, api := pair(t)
	withPolicy(t, api, "orders", `{"retry_schedule":["5s"]}`)
	create(t, api, subscription("sub_1"))
	p := Pending{Delivery: "dlv_1", Subscription: "sub_1", Resource: "orders"}
	first := stand(t, s, p)
	require.Same(t, first.Subscription, stand(t, s, p).Subscription, "it is parsed once")
	_, err := api.ChangeSubscription(ctx, "sub_1", func(sub *contract.Subscription) error { sub.Status = contract.StatusPaused; return nil })
	require.NoError(t, err)
	withPolicy(t, api, "orders", `{"retry_schedule":[]}`)
	next := stand(t, s, p)
	require.Equal(t, []contract.Duration{}, next.Policy.RetrySchedule)
	_, err = api.ChangeResource(ctx, "orders", func(r *contract.Resource) { r.Policy = nil })
	require.NoError(t, err)
	require.Zero(t, stand(t, s, p).Policy)
	_, err = api.ChangeResource(ctx, "orders", func(r *contract.Resource) { r.Policy = json.RawMessage(`{"retry_schedule":["7s"]}`) })
	require.NoError(t, err)
	require.Equal(t, []contract.Duration{contract.Duration(7 * time.Second)}, stand(t, s, p).Policy.RetrySchedule)
	withPolicy(t, api, "orders", ``)
	require.Zero(t, stand(t, s, p).Policy)
	withPolicy(t, api, "orders", `{"retry_schedule":["5s"]}`)
	require.Equal(t, contract.StatusPaused, next.Subscription.Status)
	require.Equal(t, contract.StatusActive, first.Subscription.Status, "what was given out stays as it was")
	require.NoError(t, api.DeleteSubscription(ctx, "sub_1"))
	require.NoError(t, api.DeleteResource(ctx, "orders"))
	require.Equal(t, Standing{}, stand(t, s, p))
}

func TestAPolicyThatCannotBeUsedIsNone(t *testing.T) {
	s := open(t)
	for _, policy := range []string{`{"retry_schedule":["soon"]}`, `{"retry_schedule":["-5s"]}`, `{"timeouts":{"total":"1h"}}`, `[]`, `{"retry_schedule":5}`} {
		withPolicy(t, s, "orders", policy)
		require.Equal(t, Standing{}, stand(t, s, Pending{Delivery: "d", Subscription: "s", Resource: "orders"}), policy)
	}
	require.NoError(t, s.rdb.HSet(ctx, s.key.policies(), "orders", `{`).Err())
	require.Equal(t, Standing{}, stand(t, s, Pending{Delivery: "d", Subscription: "s", Resource: "orders"}))
}

func TestADamagedRecordIsTheMatterOfItsOwnDelivery(t *testing.T) {
	s := withResource(t, open(t), "orders")
	good := create(t, s, subscription("sub_1"))
	require.NoError(t, s.rdb.Set(ctx, s.key.subscription("sub_2"), `{"id":`, 0).Err())
	require.NoError(t, s.rdb.Set(ctx, s.key.delivery("dlv_3"), `nonsense`, 0).Err())
	join(t, s, Place{"line", "dlv_3"}, Place{"line", "dlv_4"})
	got, err := s.Standings(ctx, []Pending{
		{"dlv_1", "sub_1", "orders", ""}, {"dlv_2", "sub_2", "orders", ""}, {"dlv_3", "sub_1", "orders", "line"}, {"dlv_4", "sub_1", "orders", "line"},
	})
	require.NoError(t, err)
	require.Equal(t, Standing{Subscription: &good}, got[0])
	require.ErrorIs(t, got[1].Err, ErrDamaged)
	require.ErrorIs(t, got[2].Err, ErrDamaged)
	require.Equal(t, Standing{Subscription: &good, Ahead: &contract.Delivery{ID: "dlv_3"}}, got[3])
}

func TestManyStandings(t *testing.T) {
	s := withResource(t, open(t), "orders")
	sub := create(t, s, subscription("sub_1"))
	asked, places := make([]Pending, 2000), make([]Place, 2000)
	for i := range asked {
		asked[i] = Pending{fmt.Sprint("dlv_", i), "sub_1", "orders", fmt.Sprint("line_", i/2)}
		places[i] = Place{asked[i].Line, asked[i].Delivery}
	}
	join(t, s, places...)
	got, err := s.Standings(ctx, asked)
	require.NoError(t, err)
	for i, standing := range got {
		require.Equal(t, &sub, standing.Subscription)
		require.Equal(t, i%2 == 1, standing.Ahead != nil, i)
	}
}

func TestParsedTextsAreBounded(t *testing.T) {
	var p parsed[int]
	calls := 0
	parse := func(string) (int, error) { calls++; return calls, nil }
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2 * mostCached {
				_, _ = p.of(fmt.Sprint(i%(mostCached+10)), "text", parse)
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, len(p.entries), mostCached)
}
