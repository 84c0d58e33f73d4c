package service

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestThePercentageKeepsTheGarbageBounded(t *testing.T) {
	for used, want := range map[uint64]int{0: 400, 1 << 20: 400, 8 << 20: 400, 16 << 20: 200, 32 << 20: 50, 48 << 20: 25, 64 << 20: 18, 128 << 20: 10, 4 << 30: 10} {
		if got := percentFor(used, 0); got != want {
			t.Errorf("%d bytes: %d", used, got)
		}
	}
}

func TestWhereMuchIsMadeAnewALargeHeapIsNotCollectedAllTheTime(t *testing.T) {
	for rate, want := range map[float64]int{0: 10, 1 << 20: 10, 10 << 20: 20, 40 << 20: 81, 1 << 30: 100} {
		if got := percentFor(128<<20, rate); got != want {
			t.Errorf("%.0f bytes per second: %d", rate, got)
		}
	}
}

func TestThePercentageFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Cleanup(func() { debug.SetGCPercent(100) })
	BoundGarbage()
	held := make([]byte, 512<<20)
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for collectorPercent() != leastPercent {
		runtime.GC()
		select {
		case <-deadline:
			t.Fatalf("it stays at %d", collectorPercent())
		case <-tick.C:
		}
	}
	runtime.KeepAlive(held)
}

func collectorPercent() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}
