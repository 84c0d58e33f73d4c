package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestBreakersOfAllReplicasAreListedAsLongAsTheirReportHolds(t *testing.T) {
	s, other := pair(t)
	withResource(t, s, "orders")
	for _, id := range []string{"sub_1", "sub_2"} {
		_, _, err := s.CreateSubscription(ctx, subscription(id))
		require.NoError(t, err)
	}
	open := func(id string, since time.Time) contract.Breaker {
		return contract.Breaker{Subscription: id, Resource: "orders", Consumer: "con_1", Since: since, Reason: "the endpoint answered 500"}
	}
	breakers := func() (found []string) {
		all, err := other.Breakers(ctx)
		require.NoError(t, err)
		for _, b := range all {
			found = append(found, b.Replica+" "+b.Subscription+" "+b.Reason)
		}
		return found
	}
	require.Empty(t, breakers())
	require.NoError(t, s.ReportBreakers(ctx, "one", []contract.Breaker{open("sub_1", start.Add(time.Minute)), open("sub_gone", start)}))
	require.NoError(t, other.ReportBreakers(ctx, "two", []contract.Breaker{open("sub_2", start)}))
	require.Equal(t, []string{"two sub_2 the endpoint answered 500", "one sub_1 the endpoint answered 500"}, breakers())

	ttl, err := s.rdb.PTTL(ctx, s.key.breakersOf("one")).Result()
	require.NoError(t, err)
	require.Positive(t, ttl)
	require.LessOrEqual(t, ttl, BreakersLife)
	require.NoError(t, s.rdb.Del(ctx, s.key.breakersOf("one")).Err(), "as when its time is over")
	require.Equal(t, []string{"two sub_2 the endpoint answered 500"}, breakers())

	require.NoError(t, other.ReportBreakers(ctx, "two", nil))
	require.Empty(t, breakers())
	exists, err := s.rdb.Exists(ctx, s.key.breakersOf("two")).Result()
	require.NoError(t, err)
	require.Zero(t, exists)
}
