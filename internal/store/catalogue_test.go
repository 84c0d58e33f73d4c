package store

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestResources(t *testing.T) {
	s := open(t)
	orders := contract.Resource{Name: "orders", Policy: json.RawMessage(`{"a":1.50}`),
		Types: []contract.EventType{{Name: "order.created", Description: "d", Schema: json.RawMessage(`{"type":"object"}`)}}}
	created, err := s.PutResource(ctx, orders)
	require.NoError(t, err)
	require.True(t, created)
	created, err = s.PutResource(ctx, orders)
	require.NoError(t, err)
	require.False(t, created)
	withResource(t, s, "a")
	got, err := s.Resource(ctx, "orders")
	require.NoError(t, err)
	require.Equal(t, orders, got, "the admin's objects as they came")
	all, err := s.Resources(ctx)
	require.NoError(t, err)
	require.Equal(t, []contract.Resource{{Name: "a"}, orders}, all)

	changed, err := s.ChangeResource(ctx, "orders", func(r *contract.Resource) { r.Policy = nil })
	require.NoError(t, err)
	require.Nil(t, changed.Policy)
	require.NotEmpty(t, changed.Types)
	_, err = s.ChangeResource(ctx, "none", func(*contract.Resource) {})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.Resource(ctx, "none")
	require.ErrorIs(t, err, ErrNotFound)

	create(t, s, subscription("sub_1"))
	require.ErrorIs(t, s.DeleteResource(ctx, "orders"), ErrConflict)
	require.NoError(t, s.DeleteSubscription(ctx, "sub_1"))
	require.NoError(t, s.DeleteResource(ctx, "orders"))
	require.ErrorIs(t, s.DeleteResource(ctx, "orders"), ErrNotFound)
}

func TestChangesOfOneConsumerDoNotOverwriteEachOther(t *testing.T) {
	s, other := pair(t)
	require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: "con_1"}))
	const n = 10
	var wg sync.WaitGroup
	for i := range n {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			_, err := from.ChangeConsumer(ctx, "con_1", func(c *contract.Consumer) {
				c.Grants = append(c.Grants, contract.Grant{Resource: fmt.Sprint("r", i)})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c, err := s.Consumer(ctx, "con_1")
	require.NoError(t, err)
	require.Len(t, c.Grants, n)
}

func TestConsumersAndKeys(t *testing.T) {
	s := withResource(t, open(t), "orders", "payments")
	acme := contract.Consumer{ID: "con_1", Name: "acme", Grants: []contract.Grant{
		{Resource: "orders", Actions: []string{"subscribe"}}, {Resource: "orders", Actions: []string{"publish"}},
	}}
	require.NoError(t, s.PutConsumer(ctx, acme))
	require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: "con_2", Name: "aaa"}))
	all, err := s.Consumers(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"con_2", "con_1"}, []string{all[0].ID, all[1].ID}, "by name")
	_, err = s.Consumer(ctx, "con_3")
	require.ErrorIs(t, err, ErrNotFound)

	_, _, err = s.CreateKey(ctx, "con_3", start)
	require.ErrorIs(t, err, ErrNotFound)
	key, plain, err := s.CreateKey(ctx, "con_1", start)
	require.NoError(t, err)
	second, plain2, err := s.CreateKey(ctx, "con_1", start.Add(1))
	require.NoError(t, err)
	require.NotEqual(t, plain, plain2)
	require.GreaterOrEqual(t, len(plain), 40)
	keys, err := s.Keys(ctx, "con_1")
	require.NoError(t, err)
	require.Equal(t, []Key{key, second}, keys)
	_, err = s.Keys(ctx, "con_3")
	require.ErrorIs(t, err, ErrNotFound)

	access, err := s.Authenticate(ctx, contract.HashKey(plain), "orders")
	require.NoError(t, err)
	require.Equal(t, Access{"con_1", key.ID, true, []string{"subscribe", "publish"}}, access)
	access, err = s.Authenticate(ctx, contract.HashKey(plain), "payments")
	require.NoError(t, err)
	require.Equal(t, Access{Consumer: "con_1", Key: key.ID, Known: true}, access)
	access, err = s.Authenticate(ctx, contract.HashKey("guess"), "orders")
	require.NoError(t, err)
	require.Equal(t, Access{Known: true}, access)
	access, err = s.Authenticate(ctx, contract.HashKey(plain), "none")
	require.NoError(t, err)
	require.Equal(t, Access{Consumer: "con_1", Key: key.ID}, access)

	require.ErrorIs(t, s.DeleteKey(ctx, "con_2", key.ID), ErrNotFound, "somebody else's")
	require.NoError(t, s.DeleteKey(ctx, "con_1", key.ID))
	require.ErrorIs(t, s.DeleteKey(ctx, "con_1", key.ID), ErrNotFound)
	access, err = s.Authenticate(ctx, contract.HashKey(plain), "orders")
	require.NoError(t, err)
	require.Empty(t, access.Consumer)
	access, err = s.Authenticate(ctx, contract.HashKey(plain2), "orders")
	require.NoError(t, err)
	require.Equal(t, "con_1", access.Consumer)
}

func TestNoPlainKeyIsKept(t *testing.T) {
	s := open(t)
	require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: "con_1"}))
	_, plain, err := s.CreateKey(ctx, "con_1", start)
	require.NoError(t, err)
	for _, name := range keysLeft(t, s) {
		require.NotContains(t, name, plain)
		fields, err := s.rdb.HGetAll(ctx, name).Result()
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprint(fields), plain)
	}
}

func TestDeletingAConsumerLeavesNothing(t *testing.T) {
	s := withResource(t, open(t), "orders")
	require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: "con_1", Grants: []contract.Grant{{Resource: "orders", Actions: []string{"subscribe"}}}}))
	_, plain, err := s.CreateKey(ctx, "con_1", start)
	require.NoError(t, err)
	for i := range 3 {
		create(t, s, subscription(fmt.Sprint("sub_", i)))
	}
	require.NoError(t, s.DeleteConsumer(ctx, "con_1"))
	require.ErrorIs(t, s.DeleteConsumer(ctx, "con_1"), ErrNotFound)
	_, err = s.ChangeConsumer(ctx, "con_1", func(*contract.Consumer) {})
	require.ErrorIs(t, err, ErrNotFound, "a late change brings nobody back")
	access, err := s.Authenticate(ctx, contract.HashKey(plain), "orders")
	require.NoError(t, err)
	require.Empty(t, access.Consumer)
	require.Empty(t, candidates(t, s, "orders"))
	require.NoError(t, s.DeleteResource(ctx, "orders"))
	require.ElementsMatch(t, []string{s.key.changes(), s.key.fingerprints()}, keysLeft(t, s))
}

// A call that broke off half way can be made again.
func TestDeletingAConsumerCanBeFinishedLater(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1")) // the consumer's record is gone already
	require.ErrorIs(t, s.DeleteConsumer(ctx, "con_1"), ErrNotFound)
	_, err := s.Subscription(ctx, "sub_1")
	require.ErrorIs(t, err, ErrNotFound)
}
