package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// ids are the subscriptions that are candidates for a resource; nil if it does not exist.
func ids(t *testing.T, s *Store, resource string) []string {
	t.Helper()
	found, _, err := s.Candidates(ctx, []string{resource}, nil)
	require.NoError(t, err)
	candidates, known := found[resource]
	if !known {
		return nil
	}
	names := make([]string, 0, len(candidates))
	for _, c := range candidates {
		names = append(names, c.Subscription)
	}
	slices.Sort(names)
	return names
}

func TestCandidates(t *testing.T) {
	s := withResource(t, open(t), "orders", "empty")
	sub := subscription("sub_1")
	sub.Types = []string{"a.*", "b"}
	create(t, s, sub)
	ordered := subscription("sub_2")
	ordered.Ordering = contract.OrderingSubject
	ordered.Filter = `data.a || data.b == "|"`
	create(t, s, ordered)
	paused := subscription("sub_3")
	paused.Status = contract.StatusPaused
	create(t, s, paused)

	found, _, err := s.Candidates(ctx, []string{"orders", "empty", "none"}, nil)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Empty(t, found["empty"])
	require.ElementsMatch(t, []Candidate{{"sub_1", []string{"a.*", "b"}, false, ""}, {"sub_2", []string{}, true, `data.a || data.b == "|"`}}, found["orders"])
	require.True(t, contract.MatchesType(found["orders"][0].Types, "b"))
	none, _, err := s.Candidates(ctx, nil, nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

// What one process wrote before, another sees: a subscription that was acknowledged gets every event from then on.
func TestCandidatesAreNeverOld(t *testing.T) {
	api, listener := pair(t)
	require.Nil(t, ids(t, listener, "orders"))
	withResource(t, api, "orders")
	require.Equal(t, []string{}, ids(t, listener, "orders"))
	for i := range 20 {
		id := fmt.Sprintf("sub_%02d", i)
		create(t, api, subscription(id))
		require.Contains(t, ids(t, listener, "orders"), id)
	}
	change := func(id string, f func(*contract.Subscription)) {
		_, err := api.ChangeSubscription(ctx, id, func(sub *contract.Subscription) error { f(sub); return nil })
		require.NoError(t, err)
	}
	change("sub_03", func(sub *contract.Subscription) { sub.Status = contract.StatusPaused })
	require.NotContains(t, ids(t, listener, "orders"), "sub_03")
	change("sub_03", func(sub *contract.Subscription) { sub.Status = contract.StatusActive })
	require.Contains(t, ids(t, listener, "orders"), "sub_03")
	change("sub_04", func(sub *contract.Subscription) { sub.Types = []string{"only.this"} })
	found, _, err := listener.Candidates(ctx, []string{"orders"}, nil)
	require.NoError(t, err)
	require.Contains(t, found["orders"], Candidate{"sub_04", []string{"only.this"}, false, ""})
	require.NoError(t, api.DeleteSubscription(ctx, "sub_05"))
	require.NotContains(t, ids(t, listener, "orders"), "sub_05")
	for _, id := range ids(t, listener, "orders") {
		require.NoError(t, api.DeleteSubscription(ctx, id))
	}
	require.NoError(t, api.DeleteResource(ctx, "orders"))
	require.Nil(t, ids(t, listener, "orders"))
	withResource(t, api, "orders")
	require.Equal(t, []string{}, ids(t, listener, "orders"), "another resource of the same name has none of the old subscriptions")
}

func TestCandidatesAreReadOnceWhileNothingChanges(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	require.Equal(t, []string{"sub_1"}, ids(t, s, "orders"))
	require.NoError(t, s.rdb.HSet(ctx, s.key.match("orders"), "sub_2", "|").Err()) // behind the version's back
	require.Equal(t, []string{"sub_1"}, ids(t, s, "orders"))
	require.NoError(t, s.rdb.Set(ctx, s.key.matchVersion("orders"), "another", 0).Err())
	require.Equal(t, []string{"sub_1", "sub_2"}, ids(t, s, "orders"))
}

// A Redis that lost everything must not be served from memory.
func TestCandidatesAfterALossOfAllData(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	require.Equal(t, []string{"sub_1"}, ids(t, s, "orders"))
	require.NoError(t, s.rdb.Del(ctx, keysLeft(t, s)...).Err())
	require.Nil(t, ids(t, s, "orders"))
	withResource(t, s, "orders")
	require.Equal(t, []string{}, ids(t, s, "orders"))
}

// An error behind a version that is merely not there must not look like a resource that does not exist: its events would
// become dead letters.
func TestCandidatesHideNoError(t *testing.T) {
	s := withResource(t, open(t), "orders")
	require.NoError(t, s.rdb.LPush(ctx, s.key.matchVersion("payments"), "no string").Err())
	_, _, err := s.Candidates(ctx, []string{"orders", "payments"}, nil)
	require.Error(t, err)
}
