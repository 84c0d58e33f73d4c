package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestSpendIsSharedByAllProcessesAndGivesAllOrNothing(t *testing.T) {
	s, other := pair(t)
	ask := Spend{Of: "events_per_second", Consumer: "con_1", PerSecond: 1, Burst: 1000, N: 1000}
	spent, err := s.Spend(ctx, ask)
	require.NoError(t, err)
	require.True(t, spent.Allowed, "a full bucket gives all that it holds at once")
	ask.N = 10
	spent, err = other.Spend(ctx, ask)
	require.NoError(t, err)
	require.False(t, spent.Allowed)
	require.InDelta(t, 10, spent.Wait.Seconds(), 1)
	ask.Consumer = "con_2"
	spent, err = other.Spend(ctx, ask)
	require.NoError(t, err)
	require.Equal(t, Spent{Allowed: true, Left: 990}, spent, "each consumer has one of its own")
	ask.Of = "requests_per_second"
	spent, err = other.Spend(ctx, ask)
	require.NoError(t, err)
	require.Equal(t, 990, spent.Left, "and one for each limit")
	for _, key := range keysLeft(t, s) {
		require.Contains(t, key, s.key.namespace+":quota:")
	}
}

func TestConcurrentSubscribersStayWithinTheirQuotaOverAllResources(t *testing.T) {
	s, other := pair(t)
	withResource(t, s, "orders", "payments")
	require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: "con_1", Limits: contract.Limits{MaxSubscriptions: 5}}))
	s.maxSubscriptions, other.maxSubscriptions = 1, 1 // the service's own, which the consumer's comes before
	var created, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 30 {
		from, sub := []*Store{s, other}[i%2], subscription(fmt.Sprint("sub_", i))
		sub.Resource = []string{"orders", "payments"}[i%2]
		wg.Go(func() {
			switch _, isNew, err := from.CreateSubscription(ctx, sub); {
			case err == nil && isNew:
				created.Add(1)
			case errors.Is(err, ErrQuota):
				refused.Add(1)
			default:
				t.Errorf("%t, %v", isNew, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, []int32{5, 25}, []int32{created.Load(), refused.Load()})
	_, _, err := s.CreateSubscription(ctx, subscription("sub_more"))
	require.ErrorContains(t, err, "you may have 5 subscriptions in all")
	require.ErrorIs(t, err, ErrConflict)

	another := subscription("sub_another")
	another.Consumer = "con_another"
	create(t, s, another)
	another.ID, another.Description = "sub_second", "x"
	_, _, err = s.CreateSubscription(ctx, another)
	require.ErrorContains(t, err, "you may have 1 subscriptions", "the service's, where the consumer has none of its own")
	s.maxSubscriptions = 0
	create(t, s, another)
}

func TestAConsumerHasABoundedNumberOfKeys(t *testing.T) {
	s, other := pair(t)
	require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: "con_1"}))
	var created, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range MostKeys + 5 {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			switch _, _, err := from.CreateKey(ctx, "con_1", start); {
			case err == nil:
				created.Add(1)
			case errors.Is(err, ErrConflict):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, []int32{MostKeys, 5}, []int32{created.Load(), refused.Load()})
	keys, err := s.Keys(ctx, "con_1")
	require.NoError(t, err)
	require.NoError(t, s.DeleteKey(ctx, "con_1", keys[0].ID))
	_, _, err = s.CreateKey(ctx, "con_1", start)
	require.NoError(t, err)
}

func TestASubscriptionHasABoundedNumberOfRunningReplays(t *testing.T) {
	s := open(t)
	ask := func(i int) (contract.Replay, error) {
		r := replay(fmt.Sprint("rpl_", i))
		r.Since, r.CreatedAt = r.Since.Add(time.Duration(i)*time.Millisecond), time.Now()
		kept, _, err := s.CreateReplay(ctx, r)
		return kept, err
	}
	var last contract.Replay
	for i := range MostReplays {
		var err error
		last, err = ask(i)
		require.NoError(t, err)
	}
	_, err := ask(MostReplays)
	require.ErrorIs(t, err, ErrConflict)
	_, err = ask(MostReplays - 1)
	require.NoError(t, err, "the same again is no further one")
	last.State = contract.ReplayDone
	require.NoError(t, s.SaveReplay(ctx, last))
	_, err = ask(MostReplays)
	require.NoError(t, err)
}
