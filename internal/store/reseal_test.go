package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// rotation is one Redis seen with the old key ring, with both keys, and with the new key alone.
type rotation struct{ old, both, fresh *Store }

func rotate(t *testing.T) rotation {
	t.Helper()
	url, namespace := testkit.Redis(t), testkit.Namespace(t)
	return rotation{
		withResource(t, openWith(t, url, namespace, ringOf(t, keyOne)), "orders"),
		openWith(t, url, namespace, ringOf(t, keyTwo, keyOne)), openWith(t, url, namespace, ringOf(t, keyTwo)),
	}
}

func reseal(t *testing.T, s *Store, how Resealing) Resealed {
	t.Helper()
	count, err := s.Reseal(ctx, how)
	require.NoError(t, err)
	return count
}

const manySubs = 2*mostPerScript + 10

func createMany(t *testing.T, s *Store, n int) (all []contract.Subscription) {
	t.Helper()
	for i := range n {
		all = append(all, create(t, s, confidential(fmt.Sprintf("sub_%03d", i))))
	}
	return all
}

func TestAfterReKeyingTheNewKeyAloneOpensEverything(t *testing.T) {
	r := rotate(t)
	before := createMany(t, r.old, manySubs)
	require.Equal(t, Resealed{Others: map[string]int{"k1": manySubs + 1}}, reseal(t, r.both, Resealing{CheckOnly: true}))
	_, untouched := standing(t, r.old, "sub_000")
	require.Equal(t, "k1", untouched.Sealed.Key, "a check changes nothing")

	changes, err := r.old.Anchor(ctx)
	require.NoError(t, err)
	var told []int
	count := reseal(t, r.both, Resealing{Progress: func(c Resealed) { told = append(told, c.Done) }})
	require.Equal(t, Resealed{Done: manySubs + 1, Others: map[string]int{}}, count)
	require.True(t, count.Complete())
	require.Greater(t, len(told), 1)
	again := reseal(t, r.both, Resealing{})
	require.Equal(t, Resealed{Current: manySubs + 1, Others: map[string]int{}}, again)

	for _, want := range before {
		got, err := r.fresh.Subscription(ctx, want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got, "nothing else changed, its revision and times neither")
	}
	after, err := r.old.Anchor(ctx)
	require.NoError(t, err)
	require.Equal(t, changes, after, "no listener hears of it")
	require.NoError(t, r.fresh.Unlocks(ctx))
	require.ErrorIs(t, r.old.Unlocks(ctx), ErrSealed)
	same := before[7]
	same.ID = "sub_again"
	existing, created, err := r.fresh.CreateSubscription(ctx, same)
	require.NoError(t, err)
	require.False(t, created, "the same subscription again is still the same one")
	require.Equal(t, "sub_007", existing.ID)
}

func TestAReKeyedRecordHasAnotherDataKey(t *testing.T) {
	r := rotate(t)
	create(t, r.old, confidential("sub_1"))
	_, before := standing(t, r.old, "sub_1")
	reseal(t, r.both, Resealing{})
	_, after := standing(t, r.old, "sub_1")
	require.Equal(t, "k2", after.Sealed.Key)
	require.NotEqual(t, before.Sealed.Data, after.Sealed.Data, "who had the old data key does not read what comes")
	require.Equal(t, before.Same, after.Same)
}

// A delivery's view of a subscription follows when its record was sealed anew.
func TestTheParsedSubscriptionFollowsReKeying(t *testing.T) {
	r := rotate(t)
	sub := create(t, r.old, confidential("sub_1"))
	p := Pending{Delivery: "d", Subscription: "sub_1"}
	require.Equal(t, &sub, stand(t, r.both, p).Subscription)
	reseal(t, r.both, Resealing{})
	require.Equal(t, &sub, stand(t, r.both, p).Subscription)
	require.Same(t, stand(t, r.both, p).Subscription, stand(t, r.both, p).Subscription, "it is opened once")
}

// asBefore puts a record in place as it was kept before there was a key ring.
func asBefore(t *testing.T, s *Store, id string) contract.Subscription {
	t.Helper()
	sub := create(t, s, confidential(id))
	_, record := standing(t, s, id)
	require.NoError(t, s.rdb.Del(ctx, s.key.fingerprint(record.Same)).Err())
	require.NoError(t, s.rdb.Set(ctx, s.key.subscription(id), encode(sub), 0).Err())
	require.NoError(t, s.rdb.Set(ctx, s.key.fingerprint(atRest{Subscription: sub}.same()), id, 0).Err())
	return sub
}

func TestARecordOfBeforeIsReadAndSealedByReKeying(t *testing.T) {
	s := withResource(t, open(t), "orders")
	sub := asBefore(t, s, "sub_1")
	got, err := s.Subscription(ctx, "sub_1")
	require.NoError(t, err)
	require.Equal(t, sub, got)
	require.Equal(t, Resealed{Current: 1, Others: map[string]int{"": 1}}, reseal(t, s, Resealing{CheckOnly: true}))
	require.Equal(t, Resealed{Current: 1, Done: 1, Others: map[string]int{}}, reseal(t, s, Resealing{}))
	require.NotContains(t, dump(t, s), "s3cr3t")
	require.NotContains(t, dump(t, s), atRest{Subscription: sub}.same(), "the fingerprint that could be guessed is gone")
	got, err = s.Subscription(ctx, "sub_1")
	require.NoError(t, err)
	require.Equal(t, sub, got)
	again := sub
	again.ID = "sub_2"
	_, created, err := s.CreateSubscription(ctx, again)
	require.NoError(t, err)
	require.False(t, created)
}

func TestARecordOfBeforeIsSealedByItsNextChange(t *testing.T) {
	s := withResource(t, open(t), "orders")
	sub := asBefore(t, s, "sub_1")
	_, err := s.ChangeSubscription(ctx, "sub_1", func(sub *contract.Subscription) error { sub.Description = "x"; return nil })
	require.NoError(t, err)
	require.NotContains(t, dump(t, s), "s3cr3t")
	require.NotContains(t, dump(t, s), atRest{Subscription: sub}.same())
	other := asBefore(t, s, "sub_2")
	require.Contains(t, dump(t, s), atRest{Subscription: other}.same())
	require.NoError(t, s.DeleteSubscription(ctx, "sub_2"))
	require.NotContains(t, dump(t, s), atRest{Subscription: other}.same())
}

func TestWhatCanNotBeOpenedIsNamedAndTheRestIsDone(t *testing.T) {
	r := rotate(t)
	createMany(t, r.old, 5)
	require.NoError(t, r.old.rdb.Set(ctx, r.old.key.subscription("sub_001"), `{"id":`, 0).Err())
	_, record := standing(t, r.old, "sub_002")
	record.CallbackURL = "https://thief.example/"
	require.NoError(t, r.old.rdb.Set(ctx, r.old.key.subscription("sub_002"), encode(record), 0).Err())
	record.Sealed.Key = "k0"
	require.NoError(t, r.old.rdb.Set(ctx, r.old.key.subscription("sub_003"), encode(record), 0).Err())
	failed := map[string]error{}
	count := reseal(t, r.both, Resealing{Failed: func(id string, err error) { failed[id] = err }})
	require.Equal(t, Resealed{Done: 3, Failed: 3, Others: map[string]int{}}, count)
	require.False(t, count.Complete())
	require.ErrorIs(t, failed["sub_001"], ErrDamaged)
	require.ErrorIs(t, failed["sub_002"], ErrDamaged)
	require.ErrorIs(t, failed["sub_003"], ErrSealed)
	require.ErrorContains(t, failed["sub_003"], "k0")
}

func TestReKeyingThatBrokeOffGoesOn(t *testing.T) {
	r := rotate(t)
	createMany(t, r.old, manySubs)
	enough := errors.New("enough")
	batches := 0
	first, err := r.both.Reseal(ctx, Resealing{Pace: func(context.Context, int) error {
		if batches++; batches > 1 {
			return enough
		}
		return nil
	}})
	require.ErrorIs(t, err, enough)
	require.Positive(t, first.Done)
	second := reseal(t, r.both, Resealing{})
	require.Equal(t, manySubs+1, second.Current+second.Done)
	require.Equal(t, first.Done, second.Current)
}

// While all is sealed anew, others change, end, make and read subscriptions: nothing of that is lost, and in the end the new key
// opens all.
func TestReKeyingAmongChangesLosesNone(t *testing.T) {
	r := rotate(t)
	createMany(t, r.old, 40)
	const rounds, writers = 30, 3
	stop := make(chan struct{})
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range rounds {
				id := fmt.Sprintf("sub_%03d", i%10)
				_, err := r.both.ChangeSubscription(ctx, id, func(sub *contract.Subscription) error {
					sub.Secrets = append(sub.Secrets, contract.Secret{Value: fmt.Sprint("s3cr3t-", w, i)})
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				extra := confidential(fmt.Sprint("sub_x", w, "_", i))
				if _, _, err := r.both.CreateSubscription(ctx, extra); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					if err := r.both.DeleteSubscription(ctx, extra.ID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	reading.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			got, err := r.both.Standings(ctx, []Pending{{Delivery: "d", Subscription: fmt.Sprintf("sub_%03d", i%40)}})
			if err != nil || got[0].Err != nil || len(got[0].Subscription.Secrets) < 2 {
				t.Error(err, got)
				return
			}
		}
	})
	reading.Go(func() {
		for {
			if _, err := r.both.Reseal(ctx, Resealing{}); err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	writing.Wait()
	close(stop)
	reading.Wait()
	count := reseal(t, r.both, Resealing{})
	require.True(t, count.Complete())
	require.Equal(t, 40+writers*rounds/2+1, count.Current)
	for i := range 10 {
		got, err := r.fresh.Subscription(ctx, fmt.Sprintf("sub_%03d", i))
		require.NoError(t, err)
		require.Len(t, got.Secrets, 2+writers*rounds/10, "no change got lost")
	}
}

func TestReKeyingNeedsAKeyRing(t *testing.T) {
	_, err := openWith(t, testkit.Redis(t), testkit.Namespace(t), nil).Reseal(ctx, Resealing{})
	require.ErrorIs(t, err, ErrSealed)
}

// What the key ring costs where records are written and sealed anew.
func BenchmarkReseal(b *testing.B) {
	s, err := Open(Options{URL: testkit.Redis(b), Namespace: testkit.Namespace(b), Keyring: oneRing})
	require.NoError(b, err)
	defer s.Close()
	_, err = s.PutResource(ctx, contract.Resource{Name: "orders"})
	require.NoError(b, err)
	plain := make([]any, 0, 2000)
	for i := range 1000 {
		sub := confidential(fmt.Sprint("sub_", i))
		plain = append(plain, s.key.subscription(sub.ID), encode(sub))
	}
	for b.Loop() {
		require.NoError(b, s.rdb.MSet(ctx, plain...).Err())
		count, err := s.Reseal(ctx, Resealing{})
		require.NoError(b, err)
		require.GreaterOrEqual(b, count.Done, 1000)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "µs/record")
}
