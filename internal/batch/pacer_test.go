package batch

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// waits is how long the batch after one of a size waits that was taken a while ago.
func waits(t *testing.T, size int, ago time.Duration) (waited time.Duration) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		p := &Pacer{Most: 20 * time.Millisecond}
		p.Taken(size)
		time.Sleep(ago)
		begin := time.Now()
		p.Wait(nil)
		waited = time.Since(begin)
	})
	return waited
}

func TestBatchesLieApartTheFurtherTheLargerTheyAre(t *testing.T) {
	require.Equal(t, 4*time.Millisecond, waits(t, 1, 0))
	require.Equal(t, 10*time.Millisecond, waits(t, 5, 0))
	require.Equal(t, 20*time.Millisecond, waits(t, 1000, 0))
	require.Equal(t, 7*time.Millisecond, waits(t, 5, 3*time.Millisecond))
}

func TestWhatComesLateDoesNotWait(t *testing.T) {
	require.Zero(t, waits(t, 1, 4*time.Millisecond))
	require.Zero(t, waits(t, 1000, time.Second))
	synctest.Test(t, func(*testing.T) {
		begin := time.Now()
		(&Pacer{Most: time.Second}).Wait(nil)
		require.Zero(t, time.Since(begin), "the first")
	})
}

func TestTheEndDoesNotWait(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		stop := make(chan struct{})
		close(stop)
		p := &Pacer{Most: time.Hour}
		p.Taken(1e6)
		begin := time.Now()
		p.Wait(stop)
		require.Zero(t, time.Since(begin))
	})
}
