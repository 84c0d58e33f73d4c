package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestCreateSubscription(t *testing.T) {
	s := withResource(t, open(t), "orders")
	sub := subscription("sub_1")
	sub.Auth = &contract.Auth{Type: "bearer", Token: "t"}
	sub.Headers = map[string]string{"X-Team": "billing"}
	sub.Types = []string{"a.*", "b"}
	kept := create(t, s, sub)
	require.EqualValues(t, 1, kept.Revision)
	got, err := s.Subscription(ctx, "sub_1")
	require.NoError(t, err)
	require.Equal(t, kept, got)

	again := sub
	again.ID, again.Types = "sub_2", []string{"b", "a.*"}
	existing, created, err := s.CreateSubscription(ctx, again)
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, kept, existing, "the first one, whatever order the types have")

	for name, change := range map[string]func(*contract.Subscription){
		"consumer": func(sub *contract.Subscription) { sub.Consumer = "con_2" },
		"url":      func(sub *contract.Subscription) { sub.CallbackURL += "x" },
		"types":    func(sub *contract.Subscription) { sub.Types = nil },
		"format":   func(sub *contract.Subscription) { sub.Format = contract.FormatData },
		"headers":  func(sub *contract.Subscription) { sub.Headers = nil },
		"auth":     func(sub *contract.Subscription) { sub.Auth = &contract.Auth{Type: "bearer", Token: "u"} },
	} {
		other := sub
		other.ID = "sub_" + name
		change(&other)
		create(t, s, other)
	}

	sub.Resource = "payments"
	_, _, err = s.CreateSubscription(ctx, sub)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.Subscription(ctx, "sub_none")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestConcurrentEqualCreatesAreOne(t *testing.T) {
	s, other := pair(t)
	withResource(t, s, "orders")
	const n = 20
	var created atomic.Int32
	ids := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			sub := subscription(fmt.Sprint("sub_", i))
			sub.CallbackURL = "https://consumer.example/"
			kept, isNew, err := from.CreateSubscription(ctx, sub)
			if err != nil {
				t.Error(err)
			}
			if isNew {
				created.Add(1)
			}
			ids[i] = kept.ID
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, created.Load())
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
}

// Creating and deleting the same subscription at a time ends with a whole one or with none, and never with an error.
func TestCreateAndDeleteRace(t *testing.T) {
	s, other := pair(t)
	withResource(t, s, "orders")
	var wg sync.WaitGroup
	for i := range 50 {
		sub := subscription(fmt.Sprint("sub_", i))
		sub.CallbackURL = "https://consumer.example/"
		wg.Go(func() {
			kept, _, err := s.CreateSubscription(ctx, sub)
			if err != nil {
				t.Error(err)
				return
			}
			if err := other.DeleteSubscription(ctx, kept.ID); err != nil && !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	subs, _, err := s.Subscriptions(ctx, "con_1", "orders", "", 100)
	require.NoError(t, err)
	require.Len(t, candidates(t, s, "orders"), len(subs))
}

func TestUpdateSubscription(t *testing.T) {
	s := withResource(t, open(t), "orders")
	after := create(t, s, subscription("sub_1"))
	after.Description = "new"
	before, err := s.readToChange(ctx, "sub_1")
	require.NoError(t, err)
	updated, err := s.replace(ctx, before, after)
	require.NoError(t, err)
	require.EqualValues(t, 2, updated.Revision)

	_, err = s.replace(ctx, before, after)
	require.ErrorIs(t, err, ErrStale)
	create(t, s, subscription("sub_2"))
	same := func(sub *contract.Subscription) error {
		sub.CallbackURL, sub.Description = after.CallbackURL, after.Description
		return nil
	}
	_, err = s.ChangeSubscription(ctx, "sub_2", same)
	require.ErrorIs(t, err, ErrConflict)
	before, err = s.readToChange(ctx, "sub_1")
	require.NoError(t, err)
	require.NoError(t, s.DeleteSubscription(ctx, "sub_1"))
	_, err = s.replace(ctx, before, updated)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.ChangeSubscription(ctx, "sub_2", same)
	require.NoError(t, err, "what was in the way is gone")
}

func TestTheFingerprintFollows(t *testing.T) {
	s := withResource(t, open(t), "orders")
	first := create(t, s, subscription("sub_1"))
	moved, err := s.ChangeSubscription(ctx, "sub_1", func(sub *contract.Subscription) error { sub.Description = "moved"; return nil })
	require.NoError(t, err)

	asBefore := first
	asBefore.ID = "sub_2"
	create(t, s, asBefore) // what the first one asked for before is free again
	asMoved := moved
	asMoved.ID = "sub_3"
	existing, created, err := s.CreateSubscription(ctx, asMoved)
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, "sub_1", existing.ID)

	require.NoError(t, s.DeleteSubscription(ctx, "sub_1"))
	create(t, s, asMoved)
}

func TestChangeSubscription(t *testing.T) {
	s, other := pair(t)
	withResource(t, s, "orders")
	create(t, s, subscription("sub_1"))
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			_, err := from.ChangeSubscription(ctx, "sub_1", func(sub *contract.Subscription) error {
				sub.Secrets = append(sub.Secrets, contract.Secret{Value: fmt.Sprint(i)})
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := s.Subscription(ctx, "sub_1")
	require.NoError(t, err)
	require.Len(t, got.Secrets, n+1, "no change got lost")
	require.EqualValues(t, n+1, got.Revision)

	refused := errors.New("refused")
	_, err = s.ChangeSubscription(ctx, "sub_1", func(*contract.Subscription) error { return refused })
	require.ErrorIs(t, err, refused)
	_, err = s.ChangeSubscription(ctx, "sub_none", func(*contract.Subscription) error { return nil })
	require.ErrorIs(t, err, ErrNotFound)
}

func TestDeletingASubscriptionLeavesNothing(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	require.NoError(t, s.Record(ctx, []Record{{Delivery: contract.Delivery{ID: "dlv_1", Subscription: "sub_1", CreatedAt: start}}}))
	_, err := s.FailingSince(ctx, []string{"sub_1"}, start)
	require.NoError(t, err)
	_, err = s.ChangeSubscription(ctx, "sub_1", func(sub *contract.Subscription) error { sub.Description = "x"; return nil })
	require.NoError(t, err)
	require.NoError(t, s.DeleteSubscription(ctx, "sub_1"))
	require.ErrorIs(t, s.DeleteSubscription(ctx, "sub_1"), ErrNotFound)
	// The delivery itself ends by its time.
	require.ElementsMatch(t, []string{
		s.key.resources(), s.key.catalogueVersion(), s.key.changes(), s.key.fingerprints(), s.key.delivery("dlv_1"), s.key.audit("service"),
	}, keysLeft(t, s))
}

// A change and a deletion at a time: nothing of the subscription stays, its fingerprint included.
func TestChangeAndDeleteRace(t *testing.T) {
	s, other := pair(t)
	withResource(t, s, "orders")
	for i := range 20 {
		id := fmt.Sprint("sub_", i)
		create(t, s, subscription(id))
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := s.ChangeSubscription(ctx, id, func(sub *contract.Subscription) error { sub.Description = "x"; return nil })
			if err != nil && !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := other.DeleteSubscription(ctx, id); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	}
	require.ElementsMatch(t, []string{s.key.resources(), s.key.catalogueVersion(), s.key.changes(), s.key.fingerprints()},
		slices.DeleteFunc(keysLeft(t, s), func(key string) bool { return key == s.key.audit("service") }))
}
