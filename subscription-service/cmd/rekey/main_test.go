package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	one = "k1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
	two = "k2:MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI="
)

// place is a Redis in which three subscriptions rest under k1.
func place(t *testing.T) config {
	t.Helper()
	c := config{RedisURL: testkit.Redis(t), Namespace: testkit.Namespace(t), Keyring: one}
	kept := open(t, c)
	_, err := kept.PutResource(t.Context(), contract.Resource{Name: "orders"})
	require.NoError(t, err)
	for i := range 3 {
		_, _, err = kept.CreateSubscription(t.Context(), contract.Subscription{
			ID: fmt.Sprint("sub_", i), Consumer: "con", Resource: "orders", CallbackURL: fmt.Sprint("https://consumer.example/", i),
			Confidential: contract.Confidential{Secrets: []contract.Secret{{Value: "whsec_s3cr3t"}}},
		})
		require.NoError(t, err)
	}
	return c
}

func open(t *testing.T, c config) *store.Store {
	t.Helper()
	keys, err := keyring.Load(c.Keyring, "")
	require.NoError(t, err)
	kept, err := store.Open(store.Options{URL: c.RedisURL, Namespace: c.Namespace, Keyring: keys})
	require.NoError(t, err)
	t.Cleanup(func() { _ = kept.Close() })
	return kept
}

func rekey(t *testing.T, c config, check bool) (string, error) {
	t.Helper()
	var out strings.Builder
	err := run(context.Background(), c, how{check: check, perSecond: 1e6}, &out)
	require.NotContains(t, out.String()+fmt.Sprint(err), "s3cr3t")
	return out.String(), err
}

func TestARotationFromTheNewKeyToTheOldOnesEnd(t *testing.T) {
	c := place(t)
	c.Keyring = two + "," + one
	out, err := rekey(t, c, true)
	require.ErrorIs(t, err, errIncomplete)
	require.Equal(t, "records by key: 0 under k2 (current), 4 under k1, 0 failed\n", out)

	out, err = rekey(t, c, false)
	require.NoError(t, err)
	require.Equal(t, "4 sealed anew, 0 were under k2 already, 0 failed\nrecords by key: 4 under k2 (current), 0 failed\nall is under k2: the ring needs k1 no more\n", out)

	c.Keyring = two
	out, err = rekey(t, c, false)
	require.NoError(t, err)
	require.Equal(t, "0 sealed anew, 4 were under k2 already, 0 failed\nrecords by key: 4 under k2 (current), 0 failed\n", out)
	sub, err := open(t, c).Subscription(t.Context(), "sub_1")
	require.NoError(t, err)
	require.Equal(t, "whsec_s3cr3t", sub.Secrets[0].Value)
}

func TestWithoutTheOldKeyItNamesWhatCanNotBeOpenedAndFails(t *testing.T) {
	c := place(t)
	c.Keyring = two
	out, err := rekey(t, c, false)
	require.ErrorIs(t, err, errIncomplete)
	require.Contains(t, out, "failed: sub_0: ")
	require.Contains(t, out, "the key ring lacks a key: k1")
	require.Contains(t, out, "records by key: 0 under k2 (current), 4 failed")
}

func TestItRefusesWhatItCanNotWorkWith(t *testing.T) {
	for name, c := range map[string]struct {
		config
		rate float64
		want string
	}{
		"no ring": {config{RedisURL: "redis://127.0.0.1:1"}, 1, "WEBHOOK_KEYRING is missing"},
		"no URL":  {config{RedisURL: "x", Keyring: one}, 1, "REDIS_URL"},
		"no rate": {config{RedisURL: "redis://127.0.0.1:1", Keyring: one}, 0, "-rate"},
		"outage":  {config{RedisURL: "redis://127.0.0.1:1", Keyring: one}, 1, "127.0.0.1:1"},
	} {
		err := run(context.Background(), c.config, how{perSecond: c.rate}, &strings.Builder{})
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestTheWaitEndsWithTheCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := run(ctx, place(t), how{perSecond: 1, wait: time.Hour}, &strings.Builder{})
	require.ErrorIs(t, err, context.Canceled)
}
