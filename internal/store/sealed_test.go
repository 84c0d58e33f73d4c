package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// standing is a subscription's record as it stands in Redis.
func standing(t *testing.T, s *Store, id string) (string, atRest) {
	t.Helper()
	text, err := s.rdb.Get(ctx, s.key.subscription(id)).Result()
	record, err := decode[atRest](text, err, "subscription")
	require.NoError(t, err)
	return text, record
}

// confidential is a subscription with every kind of secret.
func confidential(id string) contract.Subscription {
	sub := subscription(id)
	sub.Secrets = []contract.Secret{{Value: "whsec_s3cr3t-one"}, {Value: "whsec_s3cr3t-two", Until: start}}
	sub.Auth = &contract.Auth{Type: "basic", Username: "s3cr3t-me", Password: "s3cr3t-password", Token: "s3cr3t-token"}
	sub.Headers = map[string]string{"X-Key": "s3cr3t-header"}
	return sub
}

const (
	keyOne = "k1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
	keyTwo = "k2:MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI="
)

func ringOf(t *testing.T, entries ...string) *keyring.Keyring {
	t.Helper()
	ring, err := keyring.Load(strings.Join(entries, ","), "")
	require.NoError(t, err)
	return ring
}

// dump is every key and value of the namespace.
func dump(t *testing.T, s *Store) string {
	t.Helper()
	var all strings.Builder
	for _, name := range slices.Sorted(slices.Values(keysLeft(t, s))) {
		all.WriteString(name + "\n")
		value, err := s.rdb.Eval(ctx, `
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then return {redis.call('GET', KEYS[1])} end
if kind == 'hash' then return redis.call('HGETALL', KEYS[1]) end
if kind == 'set' then return redis.call('SMEMBERS', KEYS[1]) end
if kind == 'zset' then return redis.call('ZRANGE', KEYS[1], 0, -1) end
local flat = {} -- of a stream
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do flat[#flat + 1] = table.concat(entry[2], ' ') end
return flat`, []string{name}).StringSlice()
		require.NoError(t, err)
		all.WriteString(strings.Join(value, "\n") + "\n")
	}
	return all.String()
}

func TestSecretsRestSealedAndComeBackWhole(t *testing.T) {
	s := withResource(t, open(t), "orders")
	sub := create(t, s, confidential("sub_1"))
	require.Contains(t, dump(t, s), `"callback_url":"https://consumer.example/sub_1"`)
	require.NotContains(t, dump(t, s), "s3cr3t")
	got, err := s.Subscription(ctx, "sub_1")
	require.NoError(t, err)
	require.Equal(t, sub, got)
	require.Equal(t, &sub, stand(t, s, Pending{Delivery: "d", Subscription: "sub_1"}).Subscription)
	listed, _, err := s.Subscriptions(ctx, "con_1", "orders", "", 10)
	require.NoError(t, err)
	require.Equal(t, []contract.Subscription{sub}, listed)

	changed, err := s.ChangeSubscription(ctx, "sub_1", func(sub *contract.Subscription) error { sub.Auth.Password = "s3cr3t-other"; return nil })
	require.NoError(t, err)
	require.NotContains(t, dump(t, s), "s3cr3t")
	got, err = s.Subscription(ctx, "sub_1")
	require.NoError(t, err)
	require.Equal(t, changed, got)
	require.Equal(t, "s3cr3t-other", got.Auth.Password)
}

// Who has Redis and a list of likely passwords learns nothing from the fingerprints.
func TestAFingerprintCanNotBeGuessed(t *testing.T) {
	s, other := withResource(t, open(t), "orders"), withResource(t, open(t), "orders")
	create(t, s, confidential("sub_1"))
	create(t, other, confidential("sub_1"))
	_, one := standing(t, s, "sub_1")
	_, two := standing(t, other, "sub_1")
	require.NotEqual(t, one.Same, two.Same, "it hangs on a key that only the ring opens")
	plain := atRest{Subscription: confidential("sub_1")}
	require.NotContains(t, dump(t, s), plain.same())
}

func TestAStoreWithoutAKeyRingReadsNoSecretAndWritesNothing(t *testing.T) {
	url, namespace := testkit.Redis(t), testkit.Namespace(t)
	s, blind := withResource(t, openAs(t, url, namespace), "orders"), openWith(t, url, namespace, nil)
	want := create(t, s, confidential("sub_1"))
	want.Confidential = contract.Confidential{}
	got, err := blind.Subscription(ctx, "sub_1")
	require.NoError(t, err)
	require.Equal(t, want, got)
	before := dump(t, s)
	_, err = blind.ChangeSubscription(ctx, "sub_1", func(sub *contract.Subscription) error { sub.Description = "x"; return nil })
	require.ErrorIs(t, err, ErrSealed)
	_, _, err = blind.CreateSubscription(ctx, subscription("sub_2"))
	require.ErrorIs(t, err, ErrSealed)
	require.Equal(t, before, dump(t, s))
	require.NoError(t, blind.DeleteSubscription(ctx, "sub_1"), "to end one needs no key")
}

func TestWithoutItsKeyASubscriptionWaitsAndCanBeEnded(t *testing.T) {
	url, namespace := testkit.Redis(t), testkit.Namespace(t)
	s := withResource(t, openWith(t, url, namespace, ringOf(t, keyOne)), "orders")
	create(t, s, confidential("sub_1"))
	late := openWith(t, url, namespace, ringOf(t, keyTwo))
	for name, call := range map[string]func() error{
		"Subscription": func() error { _, err := late.Subscription(ctx, "sub_1"); return err },
		"Standings":    func() error { return stand(t, late, Pending{Delivery: "d", Subscription: "sub_1"}).Err },
		"Change": func() error {
			_, err := late.ChangeSubscription(ctx, "sub_1", func(*contract.Subscription) error { return nil })
			return err
		},
		"Create":  func() error { _, _, err := late.CreateSubscription(ctx, subscription("sub_2")); return err },
		"Unlocks": func() error { return late.Unlocks(ctx) },
	} {
		err := call()
		require.ErrorIs(t, err, ErrSealed, name)
		require.NotErrorIs(t, err, ErrDamaged, name)
		require.ErrorContains(t, err, "k1", name)
		require.NotContains(t, err.Error(), "s3cr3t", name)
	}
	require.NoError(t, s.Unlocks(ctx))
	require.NoError(t, late.DeleteSubscription(ctx, "sub_1"))
}

// Who can write to Redis, but has no key, can't have a credential sent elsewhere.
func TestSecretsDoNotOpenInARecordThatTheyWereNotSealedFor(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, confidential("sub_1"))
	create(t, s, confidential("sub_2"))
	_, first := standing(t, s, "sub_1")
	_, second := standing(t, s, "sub_2")
	for name, change := range map[string]func(*atRest){
		"another subscription's": func(k *atRest) { k.Sealed = second.Sealed },
		"another address":        func(k *atRest) { k.CallbackURL = "https://thief.example/" },
		"another consumer":       func(k *atRest) { k.Consumer = "con_thief" },
		"another resource":       func(k *atRest) { k.Resource = "payments" },
		"broken data":            func(k *atRest) { e := *k.Sealed; e.Data = []byte("x"); k.Sealed = &e },
	} {
		changed := first
		change(&changed)
		require.NoError(t, s.rdb.Set(ctx, s.key.subscription("sub_1"), encode(changed), 0).Err())
		_, err := s.Subscription(ctx, "sub_1")
		require.ErrorIs(t, err, ErrDamaged, name)
		require.NotContains(t, err.Error(), "s3cr3t", name)
		require.ErrorIs(t, stand(t, s, Pending{Delivery: "d", Subscription: "sub_1"}).Err, ErrDamaged, name)
	}
}

func BenchmarkStandingsOfAKnownRecord(b *testing.B) {
	s, err := Open(Options{URL: "redis://127.0.0.1:1", Keyring: oneRing})
	require.NoError(b, err)
	defer s.Close()
	text, err := s.seal(confidential("sub_1"), "same")
	require.NoError(b, err)
	f := &findings{subscriptions: map[string]string{"sub_1": text}}
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.standing(Pending{Delivery: "d", Subscription: "sub_1"}, f)
		}
	})
	b.Run("changed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.parseSubscription(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
