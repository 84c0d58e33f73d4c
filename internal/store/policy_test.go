package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestConcurrentSubscribersStayWithinMaxSubscriptions(t *testing.T) {
	s, other := pair(t)
	withPolicy(t, s, "orders", `{"max_subscriptions":3,"callback_hosts":[]}`)
	var created, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 30 {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			switch _, isNew, err := from.CreateSubscription(ctx, subscription(fmt.Sprint("sub_", i))); {
			case err == nil && isNew:
				created.Add(1)
			case errors.Is(err, ErrConflict):
				refused.Add(1)
			default:
				t.Errorf("%d: %t, %v", i, isNew, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, []int32{3, 27}, []int32{created.Load(), refused.Load()})
	kept, _, err := s.Subscriptions(ctx, subscription("").Consumer, "orders", "", 10)
	require.NoError(t, err)
	require.Len(t, kept, 3)

	_, _, err = s.CreateSubscription(ctx, subscription("sub_more"))
	require.ErrorContains(t, err, "orders allows each consumer 3 subscriptions")
	again := kept[0]
	again.ID = "sub_again"
	_, isNew, err := s.CreateSubscription(ctx, again)
	require.NoError(t, err, "one that is there already is no further one")
	require.False(t, isNew)
	another := subscription("sub_another")
	another.Consumer = "con_another"
	create(t, s, another)
	require.NoError(t, s.DeleteSubscription(ctx, kept[0].ID))
	create(t, s, subscription("sub_more"))
	withPolicy(t, s, "orders", `{"max_subscriptions":null}`)
	create(t, s, subscription("sub_unbounded"))
}

func TestTheVersionOfTheResourcesChangesWithEachOfThem(t *testing.T) {
	s, api := pair(t)
	version, all, err := s.ResourcesSince(ctx, "none that was")
	require.NoError(t, err)
	require.Empty(t, version)
	require.Empty(t, all)
	names := func() (found []string) {
		for _, r := range all {
			found = append(found, r.Name+string(r.Policy))
		}
		return found
	}
	for _, change := range []struct {
		do   func() error
		want []string
	}{
		{func() error { _, err := api.PutResource(ctx, contract.Resource{Name: "a"}); return err }, []string{"a"}},
		{func() error { _, err := api.PutResource(ctx, contract.Resource{Name: "b"}); return err }, []string{"a", "b"}},
		{func() error {
			_, err := api.ChangeResource(ctx, "a", func(r *contract.Resource) { r.Policy = []byte(`{"a":1}`) })
			return err
		}, []string{`a{"a":1}`, "b"}},
		{func() error { return api.DeleteResource(ctx, "a") }, []string{"b"}},
		{func() error { return api.DeleteResource(ctx, "b") }, nil},
	} {
		require.NoError(t, change.do())
		before := version
		version, all, err = s.ResourcesSince(ctx, version)
		require.NoError(t, err)
		require.NotEqual(t, before, version)
		require.ElementsMatch(t, change.want, names())
		same, none, err := s.ResourcesSince(ctx, version)
		require.NoError(t, err)
		require.Equal(t, version, same)
		require.Nil(t, none)
	}
	require.Empty(t, keysLeft(t, s))
}
