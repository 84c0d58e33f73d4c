package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// candidates are the active subscriptions to a resource.
func candidates(t *testing.T, s *Store, resource string) []Candidate {
	t.Helper()
	var all []Candidate
	require.NoError(t, s.EachCandidate(ctx, resource, func(c Candidate) { all = append(all, c) }))
	return all
}

func TestEachCandidate(t *testing.T) {
	s := withResource(t, open(t), "orders", "empty")
	sub := subscription("sub_1")
	sub.Types = []string{"a.*", "b"}
	create(t, s, sub)
	ordered := subscription("sub_2")
	ordered.Ordering = contract.OrderingSubject
	create(t, s, ordered)
	paused := subscription("sub_3")
	paused.Status = contract.StatusPaused
	create(t, s, paused)
	require.ElementsMatch(t, []Candidate{
		{Subscription: "sub_1", Types: []string{"a.*", "b"}}, {Subscription: "sub_2", Types: []string{}, Ordered: true},
	}, candidates(t, s, "orders"))
	require.Empty(t, candidates(t, s, "empty"))
	names, err := s.ResourceNames(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"orders", "empty"}, names)
}

// follow looks from an anchor and returns the changes in short.
func follow(t *testing.T, s *Store, from Anchor) (changes []string, next Anchor) {
	t.Helper()
	look, err := s.Look(ctx, from, nil, nil)
	require.NoError(t, err)
	require.False(t, look.Lost)
	for _, c := range look.Changes {
		sign := "-"
		if c.Candidate != nil {
			sign = "+"
		}
		changes = append(changes, sign+c.Resource+"/"+c.Subscription)
	}
	return changes, look.Next
}

func TestEveryChangeOfWhoIsActiveIsTold(t *testing.T) {
	api, listener := pair(t)
	withResource(t, api, "orders")
	at, err := listener.Anchor(ctx)
	require.NoError(t, err)
	again, err := listener.Anchor(ctx)
	require.NoError(t, err)
	require.Equal(t, at, again)
	create(t, api, subscription("sub_1"))
	change := func(f func(*contract.Subscription)) {
		_, err := api.ChangeSubscription(ctx, "sub_1", func(sub *contract.Subscription) error { f(sub); return nil })
		require.NoError(t, err)
	}
	change(func(sub *contract.Subscription) { sub.Description = "nothing that matters" })
	change(func(sub *contract.Subscription) { sub.Status = contract.StatusPaused })
	change(func(sub *contract.Subscription) { sub.Types = []string{"a"} })
	changes, at := follow(t, listener, at)
	require.Equal(t, []string{"+orders/sub_1", "-orders/sub_1"}, changes)
	change(func(sub *contract.Subscription) { sub.Status = contract.StatusActive })
	require.NoError(t, api.DeleteSubscription(ctx, "sub_1"))
	changes, at = follow(t, listener, at)
	require.Equal(t, []string{"+orders/sub_1", "-orders/sub_1"}, changes)
	changes, next := follow(t, listener, at)
	require.Empty(t, changes)
	require.Equal(t, at, next)
}

func TestManyChangesComeInParts(t *testing.T) {
	s := withResource(t, open(t), "orders")
	at, err := s.Anchor(ctx)
	require.NoError(t, err)
	const n = changesAtOnce + 10
	for i := range n {
		create(t, s, subscription(fmt.Sprint("sub_", i)))
	}
	look, err := s.Look(ctx, at, nil, nil)
	require.NoError(t, err)
	require.True(t, look.More)
	first := len(look.Changes)
	look, err = s.Look(ctx, look.Next, nil, nil)
	require.NoError(t, err)
	require.False(t, look.More)
	require.Equal(t, n, first+len(look.Changes))
}

// Who stands at a place that is gone, or at another one of the same name, has to begin anew.
func TestAPlaceThatIsGoneIsLost(t *testing.T) {
	s := withResource(t, open(t), "orders")
	lost := func(at Anchor) bool {
		look, err := s.Look(ctx, at, nil, nil)
		require.NoError(t, err)
		return look.Lost
	}
	at, err := s.Anchor(ctx)
	require.NoError(t, err)
	require.False(t, lost(at))
	require.True(t, lost(Anchor{at.ID, "another"}))
	create(t, s, subscription("sub_1"))
	require.False(t, lost(at))
	require.NoError(t, s.rdb.XTrimMaxLen(ctx, s.key.changes(), 1).Err())
	require.True(t, lost(at))
	require.NoError(t, s.rdb.Del(ctx, s.key.changes()).Err())
	require.True(t, lost(at))
}

// An error must not look like a resource that does not exist: its events would become dead letters.
func TestALookHidesNoError(t *testing.T) {
	s := open(t)
	require.NoError(t, s.rdb.Set(ctx, s.key.resources(), "no hash", 0).Err())
	_, err := s.Look(ctx, Anchor{}, []string{"orders"}, nil)
	require.Error(t, err)
}

func TestHowFarAFanOutIsIsKept(t *testing.T) {
	s := open(t)
	event := EventKey{"orders", "/a", "1"}
	last, err := s.FanOut(ctx, event)
	require.NoError(t, err)
	require.Empty(t, last)
	require.NoError(t, s.KeepFanOut(ctx, event, "sub_7"))
	last, err = s.FanOut(ctx, event)
	require.NoError(t, err)
	require.Equal(t, "sub_7", last)
}
