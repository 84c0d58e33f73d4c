package batch

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const most = 20 * time.Millisecond

// paced takes batches as one member after another comes, for a second, and returns how many of how many members.
func paced(t *testing.T, p *Pacer, every time.Duration) (batches, members int) {
	t.Helper()
	begin := time.Now()
	for taken := 0; ; taken = members {
		time.Sleep(time.Until(begin.Add(time.Duration(taken) * every)))
		p.Wait(nil, nil)
		if time.Since(begin) >= time.Second {
			return batches, members
		}
		members = int(time.Since(begin)/every) + 1
		p.Taken(members - taken)
		batches++
	}
}

func TestWhatComesAtALowRateDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		batches, members := paced(t, &Pacer{Most: most}, 10*time.Millisecond)
		require.Equal(t, members, batches)
	})
}

func TestBatchesAreGatheredOnceMuchComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		batches, members := paced(t, &Pacer{Most: most}, time.Millisecond)
		require.Greater(t, members, 900)
		require.InDelta(t, time.Second/most, batches, 60, "a few go at once, before it is known how much comes")
		require.Less(t, batches, members/6)
	})
}

func TestAfterARestNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Most: most}
		paced(t, p, time.Millisecond)
		time.Sleep(time.Second)
		for range 3 {
			begin := time.Now()
			p.Wait(nil, nil)
			require.Zero(t, time.Since(begin))
			p.Taken(1)
			time.Sleep(most)
		}
	})
}

func TestTheEndDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pacer{Most: most}
		paced(t, p, time.Millisecond)
		p.Taken(1)
		stop := make(chan struct{})
		close(stop)
		begin := time.Now()
		p.Wait(stop, nil)
		require.Zero(t, time.Since(begin))
	})
}
