package service

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

var older, newer = strings.Repeat("o", 32), strings.Repeat("n", 32)

func TestKeysComeFromOneVariableOrOneFile(t *testing.T) {
	file := keyFile(t, older+"\n"+newer+"\n")
	for name, test := range map[string]struct {
		value, file, fault string
		keys               int
	}{
		"one":               {value: older, keys: 1},
		"two":               {value: older + "," + newer, keys: 2},
		"a file":            {file: file, keys: 2},
		"neither":           {fault: "K is missing"},
		"both":              {value: older, file: file, fault: "K and K_FILE are both set"},
		"short":             {value: "hunter2", fault: "K: the key has 7 bytes"},
		"a short second":    {value: older + ",hunter2", fault: "K: key 2 has 7 bytes"},
		"no such file":      {file: "/none", fault: "K_FILE: /none: no such file"},
		"a short one in it": {file: keyFile(t, "hunter2"), fault: "K_FILE: the key has 7 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Keys{Variable: "K", Value: test.value, File: test.file}.Signer()
			if test.fault != "" {
				require.ErrorContains(t, err, test.fault)
				require.NotContains(t, err.Error(), "hunter2")
				require.NotContains(t, err.Error(), older)
				return
			}
			require.NoError(t, err)
			require.Len(t, s.KeyIDs(), test.keys)
		})
	}
}

func keyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	write(t, path, text)
	return path
}

// write replaces a file as operators should: all of it at once.
func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func TestAFileOfKeysIsFollowed(t *testing.T) {
	path := keyFile(t, older)
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		k := Keys{Variable: "K", File: path}
		s, err := k.Signer()
		require.NoError(t, err)
		before := s.KeyIDs()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.Follow(ctx, s, zap.New(core)) }()
		becomes := func(text string) []string {
			if text == "" {
				require.NoError(t, os.Remove(path))
			} else {
				write(t, path, text)
			}
			time.Sleep(3 * keysEvery)
			synctest.Wait()
			return s.KeyIDs()
		}
		both := becomes(older + "\n" + newer)
		require.Equal(t, before[0], both[0])
		require.Len(t, both, 2)
		require.Equal(t, []string{both[1], both[0]}, becomes(newer+"\n"+older))
		require.Equal(t, []string{both[1]}, becomes(newer))
		logs.TakeAll()
		for _, broken := range []string{"hunter2", ""} {
			require.Equal(t, []string{both[1]}, becomes(broken), "the keys before stay")
			require.Equal(t, 1, logs.FilterLevelExact(zap.ErrorLevel).Len(), "it is said once")
			require.NotContains(t, logs.TakeAll()[0].ContextMap()["error"], "hunter2")
		}
		require.Equal(t, both[:1], becomes(older))
		cancel()
		require.NoError(t, <-done)
	})
}

func TestWithoutAFileThereIsNothingToFollow(t *testing.T) {
	s, err := contract.NewSigner([]byte(older), time.Now)
	require.NoError(t, err)
	require.NoError(t, Keys{Variable: "K", Value: older}.Follow(t.Context(), s, zap.NewNop()))
}
