package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// letter is the i-th dead event.
func letter(i int, resource string) contract.DeadLetter {
	return contract.DeadLetter{
		ID: fmt.Sprintf("dev_%03d", i), Kind: contract.DeadEvent, Resource: resource, Reason: fmt.Sprintf("Reason %d", i%2), At: start.Add(time.Duration(i) * time.Second),
	}
}

// dead reads all pages of a query and returns the ids.
func dead(t *testing.T, s *Store, q DeadQuery) (ids []string) {
	t.Helper()
	for {
		found, next, err := s.DeadLetters(ctx, q)
		require.NoError(t, err)
		for _, l := range found {
			ids = append(ids, l.ID)
		}
		if q.Cursor = next; next == "" {
			return ids
		}
	}
}

func TestDeadLettersAreListedNewestFirstAndFound(t *testing.T) {
	s := open(t)
	var letters []contract.DeadLetter
	for i := range 600 {
		letters = append(letters, letter(i, []string{"orders", "users"}[i/300]))
	}
	require.NoError(t, s.Bury(ctx, letters))
	require.NoError(t, s.Bury(ctx, letters[:1]), "again is the same")
	n, err := s.CountDead(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 600, n)

	all := dead(t, s, DeadQuery{Limit: 70})
	require.Len(t, all, 600)
	require.Equal(t, "dev_599", all[0])
	require.Equal(t, "dev_000", all[599])
	require.Len(t, dead(t, s, DeadQuery{Limit: 100, Resource: "orders"}), 300)
	require.Len(t, dead(t, s, DeadQuery{Limit: 7, Resource: "orders", Reason: "reason 1"}), 150)
	require.Empty(t, dead(t, s, DeadQuery{Limit: 7, Kind: contract.DeadDelivery}))
	require.Equal(t, []string{"dev_012", "dev_011", "dev_010"},
		dead(t, s, DeadQuery{Limit: 2, Since: start.Add(10 * time.Second), Until: start.Add(13 * time.Second)}))
	_, _, err = s.DeadLetters(ctx, DeadQuery{Limit: 1, Cursor: "nonsense"})
	require.ErrorIs(t, err, ErrConflict)

	require.NoError(t, s.Exhume(ctx, all[:599]))
	require.Equal(t, []string{"dev_000"}, dead(t, s, DeadQuery{Limit: 10}))
	of, err := s.DeadLettersOf(ctx, []string{"dev_000", "dev_001"})
	require.NoError(t, err)
	require.Equal(t, letters[:1], of)
}

func TestADeliveryIsADeadLetterForAsLongAsItIsFailed(t *testing.T) {
	s := withResource(t, open(t), "orders")
	var letters []contract.DeadLetter
	for i, status := range []contract.DeliveryStatus{contract.DeliveryFailed, contract.DeliverySucceeded, contract.DeliveryPending, ""} {
		l := letter(i, "orders")
		l.ID, l.Kind = fmt.Sprint("dlv_", i), contract.DeadDelivery
		letters = append(letters, l)
		if status != "" {
			keep(t, s, Record{Delivery: delivery(l.ID, 0, status)})
		}
	}
	require.NoError(t, s.Bury(ctx, letters))
	require.Equal(t, []string{"dlv_0"}, dead(t, s, DeadQuery{Limit: 10}))
	n, err := s.CountDead(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "the others are off the list")
	d := delivery("dlv_0", 0, contract.DeliverySucceeded)
	d.AttemptCount = 99
	keep(t, s, Record{Delivery: d})
	require.Empty(t, dead(t, s, DeadQuery{Limit: 10}))
}
