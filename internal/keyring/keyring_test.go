package keyring

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// write puts a ring's file in place in one step, as an editor or an orchestrator does.
func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring")
	write(t, path, text)
	return path
}

func TestTheRingComesFromOneOfTwoVariables(t *testing.T) {
	for _, load := range []func() (*Keyring, error){
		func() (*Keyring, error) { return Load(entry("k1", 'a'), "") },
		func() (*Keyring, error) { return Load("", file(t, entry("k1", 'a')+"\n")) },
	} {
		k, err := load()
		require.NoError(t, err)
		require.Equal(t, []string{"k1"}, k.Keys())
		require.NoError(t, k.Run(canceled(), zap.NewNop()))
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestARingThatCanNotBeLoadedIsRefusedWithTheVariableAndTheFix(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	large := file(t, strings.Repeat("# s3cr3t\n", 256<<10/8))
	for name, c := range map[string]struct{ value, path, want string }{
		"neither":   {"", "", `WEBHOOK_KEYRING is missing: make one with: echo "k1:$(openssl rand -base64 32)"`},
		"both":      {entry("k1", 'a'), none, "both set"},
		"no file":   {"", none, "WEBHOOK_KEYRING_FILE: " + none},
		"a folder":  {"", t.TempDir(), "is not a file"},
		"too large": {"", large, "has more than 262144 bytes"},
		"no name":   {"", "k1:s3cr3t", "WEBHOOK_KEYRING_FILE: is not the absolute path of a file"},
		"bad value": {"k1:s3cr3t", "", "WEBHOOK_KEYRING entry 1"},
		"bad file":  {"", file(t, "s3cr3t"), "WEBHOOK_KEYRING_FILE: entry 1"},
	} {
		_, err := Load(c.value, c.path)
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "s3cr3t", name)
	}
}

func TestAFileThatOthersCanReadIsRefused(t *testing.T) {
	path := file(t, entry("k1", 'a'))
	for mode, fine := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o440: true, 0o644: false, 0o604: false, 0o660: false, 0o602: false} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := Load("", path)
		if fine {
			require.NoError(t, err, mode)
			continue
		}
		require.ErrorContains(t, err, "chmod 600", mode)
	}
}

// following runs a test in its own time, with a keyring that follows its file.
func following(t *testing.T, text string, test func(t *testing.T, k *Keyring, path string, logs *observer.ObservedLogs)) {
	t.Helper()
	path := file(t, text)
	synctest.Test(t, func(t *testing.T) {
		k, err := Load("", path)
		require.NoError(t, err)
		core, logs := observer.New(zapcore.InfoLevel)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx, zap.New(core)) }()
		test(t, k, path, logs)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestANewFileHoldsWithoutARestart(t *testing.T) {
	following(t, entry("k1", 'a'), func(t *testing.T, k *Keyring, path string, logs *observer.ObservedLogs) {
		old := k.Seal([]byte("x"))
		write(t, path, entry("k2", 'b')+"\n"+entry("k1", 'a'))
		time.Sleep(readEvery + time.Second)
		require.Equal(t, []string{"k2", "k1"}, k.Keys())
		require.Equal(t, "k2", k.Seal(nil).Key)
		_, err := k.Open(old)
		require.NoError(t, err)
		require.Equal(t, 1, logs.FilterMessageSnippet("read again").Len())
		time.Sleep(time.Hour)
		require.Equal(t, 1, logs.Len(), "nothing else happened")
	})
}

func TestABrokenFileKeepsTheRingBeforeItAndIsSaid(t *testing.T) {
	following(t, entry("k1", 'a'), func(t *testing.T, k *Keyring, path string, logs *observer.ObservedLogs) {
		for _, text := range []string{"", "k1:s3cr3t", entry("k2", 'b') + "," + entry("k2", 's')} {
			write(t, path, text)
			time.Sleep(readEvery + time.Second)
			require.Equal(t, []string{"k1"}, k.Keys())
			require.Error(t, k.Fault())
			require.NotZero(t, logs.FilterLevelExact(zapcore.ErrorLevel).Len())
			for _, line := range logs.TakeAll() {
				require.NotContains(t, line.ContextMap()["error"], "s3cr3t")
			}
		}
		require.NoError(t, testutil.CollectAndCompare(k, strings.NewReader(`
# HELP webhook_keyring_fault 1 while the key ring's file is broken or can't be read and the ring before it is used.
# TYPE webhook_keyring_fault gauge
webhook_keyring_fault 1
# HELP webhook_keyring_key 1 for each key of the ring, by its id and whether it is the current one, which seals.
# TYPE webhook_keyring_key gauge
webhook_keyring_key{current="true",id="k1"} 1
`)))
		require.NoError(t, os.Remove(path))
		time.Sleep(10*sayEvery + readEvery)
		require.InDelta(t, 10, logs.FilterLevelExact(zapcore.ErrorLevel).Len(), 2, "it is said again as long as it lasts")
		write(t, path, entry("k2", 'b')+","+entry("k1", 'a'))
		time.Sleep(readEvery + time.Second)
		require.NoError(t, k.Fault())
		require.Equal(t, []string{"k2", "k1"}, k.Keys())
	})
}

// Between two services that read a new ring one after the other nothing fails: the slower one looks when it meets the new key.
func TestAMissingKeyIsLookedForAtOnceButNotWithEveryRecord(t *testing.T) {
	path := file(t, entry("k1", 'a'))
	synctest.Test(t, func(t *testing.T) {
		k, err := Load("", path)
		require.NoError(t, err)
		sealed := ring(t, entry("k2", 'b')).Seal([]byte("x"))
		_, err = k.Open(sealed)
		require.ErrorIs(t, err, ErrNoKey)
		write(t, path, entry("k2", 'b')+","+entry("k1", 'a'))
		_, err = k.Open(sealed)
		require.ErrorIs(t, err, ErrNoKey, "the file was just read")
		time.Sleep(readAtMost)
		got, err := k.Open(sealed)
		require.NoError(t, err)
		require.Equal(t, "x", string(got))
	})
}

func TestAnEphemeralRingIsNobodyElses(t *testing.T) {
	a, b := Ephemeral(), Ephemeral()
	_, err := b.Open(a.Seal([]byte("x")))
	require.ErrorIs(t, err, ErrNoKey)
}
