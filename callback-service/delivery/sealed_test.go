package delivery

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// The API has read a new key ring already, the engine's file comes later: nothing is given up, and all goes on by itself.
func TestADeliveryWaitsForAMissingKeyAndUsesNoAttemptUp(t *testing.T) {
	const old, fresh = "k1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=", "k2:MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI="
	path, namespace := filepath.Join(t.TempDir(), "keyring"), testkit.Namespace(t)
	require.NoError(t, os.WriteFile(path, []byte(old), 0o600))
	open := func(value, path string) *store.Store {
		keys, err := keyring.Load(value, path)
		require.NoError(t, err)
		s, err := store.Open(store.Options{URL: testkit.Redis(t), Namespace: namespace, Keyring: keys})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	behind := open("", path)
	b := start(t, status(204))
	b.store = open(fresh+","+old, "")
	b.subscribe(t)
	core, logs := observer.New(zapcore.ErrorLevel)
	b.restart(t, func(o *Options) { o.Store, o.Log = behind, zap.New(core) })

	b.send(t, b.message("a", 1))
	require.Eventually(t, func() bool { return logs.Len() > 0 }, 20*time.Second, time.Millisecond)
	require.Contains(t, logs.All()[0].ContextMap()["error"], "the key ring lacks a key: k2")
	require.Empty(t, b.calls)
	require.NoError(t, os.WriteFile(path, []byte(fresh+","+old), 0o600))
	require.Equal(t, b.id("a"), b.call(t).Delivery)
	d := b.settledAs(t, b.id("a"), contract.DeliverySucceeded)
	require.Equal(t, 1, d.AttemptCount)
	require.Equal(t, 1, logs.Len(), "it was said once")
}
