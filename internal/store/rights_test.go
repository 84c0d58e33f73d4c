package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestARightHoldsUntilItsKeyGrantOrConsumerIsGone(t *testing.T) {
	s := open(t)
	grant := []contract.Grant{{Resource: "orders", Actions: []string{"subscribe"}}}
	for _, id := range []string{"con_key", "con_grant", "con_gone"} {
		require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: id, Name: id, Grants: grant}))
	}
	key, _, err := s.CreateKey(ctx, "con_key", start)
	require.NoError(t, err)
	other, _, err := s.CreateKey(ctx, "con_key", start)
	require.NoError(t, err)
	rights := []Right{
		{Consumer: "con_key", Resource: "orders", Action: "subscribe", Key: key.ID}, {Consumer: "con_key", Resource: "orders", Action: "subscribe", Key: other.ID},
		{Consumer: "con_grant", Resource: "orders", Action: "subscribe"}, {Consumer: "con_gone", Resource: "orders", Action: "subscribe"},
		{Consumer: "con_grant", Resource: "orders", Action: "publish"}, {Consumer: "con_grant", Resource: "payments", Action: "subscribe"},
		{Consumer: "con_grant", Resource: "orders", Action: "subscribe", Key: key.ID}, {Consumer: "con_nobody", Resource: "orders", Action: "subscribe"},
	}
	before := s.exchanged.roundTrips.Load()
	held, err := s.Hold(ctx, rights)
	require.NoError(t, err)
	require.Equal(t, []bool{true, true, true, true, false, false, false, false}, held)
	require.Equal(t, before+1, s.exchanged.roundTrips.Load(), "all in one round trip")

	require.NoError(t, s.DeleteKey(ctx, "con_key", key.ID))
	_, err = s.ChangeConsumer(ctx, "con_grant", func(c *contract.Consumer) { c.Grants = nil })
	require.NoError(t, err)
	require.NoError(t, s.DeleteConsumer(ctx, "con_gone"))
	held, err = s.Hold(ctx, rights[:4])
	require.NoError(t, err)
	require.Equal(t, []bool{false, true, false, false}, held)
	held, err = s.Hold(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, held)
}
