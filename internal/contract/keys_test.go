package contract

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAListOfKeysIsReadOrRefusedWithoutTellingAKey(t *testing.T) {
	a, b := strings.Repeat("a", 32), strings.Repeat("b", 40)
	for text, want := range map[string][]string{
		a: {a}, a + "," + b: {a, b}, " " + b + " ,\t" + a + "\n": {b, a}, "\n" + a + "\r\n" + b + "\r\n": {a, b},
	} {
		got, err := ParseKeys(text)
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], string(got[i]))
		}
	}
	for text, fault := range map[string]string{
		"": "no key", " ,\n": "no key", "hunter2": "the key has 7 bytes", a + ",hunter2": "key 2 has 7 bytes", a + "," + b + "," + a: "key 3 is there twice",
	} {
		_, err := ParseKeys(text)
		require.ErrorContains(t, err, fault)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "aaaa")
	}
}

func signerOf(t *testing.T, keys ...string) *Signer {
	t.Helper()
	s := signerAt(t, keys[0], now)
	require.NoError(t, s.SetKeys(raw(keys)...))
	return s
}

func raw(keys []string) [][]byte {
	var list [][]byte
	for _, k := range keys {
		list = append(list, []byte(k))
	}
	return list
}

func TestTheFirstKeySignsAndAllVerify(t *testing.T) {
	older, newer := key, strings.Repeat("n", 32)
	by := func(s *Signer) string {
		token, err := s.SignCaller(anyCaller)
		require.NoError(t, err)
		return token
	}
	takes := func(s *Signer, token string) bool { _, err := s.VerifyCaller(token); return err == nil }
	both := signerOf(t, older, newer)
	require.True(t, takes(signerOf(t, older), by(both)), "the first signs")
	require.False(t, takes(signerOf(t, newer), by(both)))
	require.True(t, takes(both, by(signerOf(t, older))))
	require.True(t, takes(both, by(signerOf(t, newer))))
	require.False(t, takes(both, by(signerOf(t, strings.Repeat("x", 32)))))
}

// The procedure: the new key second everywhere, then first, then alone. Each step reaches the two sides one after the other, and
// the next one begins when no statement from before is under way.
func TestNoStatementIsRefusedWhileKeysAreReplaced(t *testing.T) {
	older, newer := key, strings.Repeat("n", 32)
	signs, verifies := signerOf(t, older), signerOf(t, older)
	stop, refused := make(chan struct{}), make(chan error, 1)
	var made [2]atomic.Int64
	var calls sync.WaitGroup
	for i := range made {
		calls.Go(func() { keepCalling(signs, verifies, &made[i], stop, refused) })
	}
	for _, step := range [][]string{{older, newer}, {newer, older}, {newer}} {
		for _, side := range []*Signer{signs, verifies} {
			require.NoError(t, side.SetKeys(raw(step)...))
			for i := range made {
				before := made[i].Load()
				require.Eventually(t, func() bool { return made[i].Load() > before+1 }, 10*time.Second, time.Millisecond)
			}
		}
	}
	close(stop)
	calls.Wait()
	require.Empty(t, refused)
	require.Positive(t, made[0].Load())
}

func keepCalling(signs, verifies *Signer, made *atomic.Int64, stop <-chan struct{}, refused chan<- error) {
	for {
		token, err := signs.SignCaller(anyCaller)
		if err == nil {
			_, err = verifies.VerifyCaller(token)
		}
		made.Add(1)
		select {
		case <-stop:
			return
		default:
		}
		if err != nil {
			select {
			case refused <- err:
			default:
			}
		}
	}
}

func TestKeysThatAreRefusedChangeNothing(t *testing.T) {
	s := signerOf(t, key)
	token, err := s.SignCaller(anyCaller)
	require.NoError(t, err)
	require.Error(t, s.SetKeys())
	require.Error(t, s.SetKeys([]byte("short")))
	_, err = s.VerifyCaller(token)
	require.NoError(t, err)
}

func BenchmarkVerifyAmongFourKeys(b *testing.B) {
	s, err := NewSigner([]byte(key), time.Now)
	require.NoError(b, err)
	require.NoError(b, s.SetKeys([]byte(key), []byte(key+"1"), []byte(key+"2"), []byte(key+"3")))
	token, err := s.SignCallback(Callback{Target: "https://consumer.example/hooks?a=b", Subscription: "sub_0123456789", Delivery: "dlv_0123456789"})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = s.VerifyCallback(token)
	}
}
