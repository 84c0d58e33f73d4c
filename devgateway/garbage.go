package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// garbage is how much may pile up between two collections: a lot for a small heap, where it makes them rare, and little
	// for that of ten thousand calls that hang, where twice the memory would be held for nothing.
	garbage  = 64 << 20
	mostRare = 400
	leastDue = 15
)

// boundGarbage sets the collector's percentage anew after each collection. GOGC in the environment turns it off.
func boundGarbage() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(mostRare)
		afterCollection(mostRare)
	}
}

// cycle is an object that nobody holds: it is finalised after each collection, and makes the next one. It is not small, since
// small objects share their memory and are finalised late.
type cycle struct {
	percent int
	_       [7]int
}

func afterCollection(before int) {
	runtime.SetFinalizer(&cycle{percent: before}, func(c *cycle) {
		percent := percentFor(inUse())
		if change := percent - c.percent; change > c.percent/8 || -change > c.percent/8 {
			debug.SetGCPercent(percent) // stops the world for a moment: not for every trifle
		} else {
			percent = c.percent
		}
		afterCollection(percent)
	})
}

func percentFor(used uint64) int {
	return int(min(mostRare, max(leastDue, garbage*100/max(used, 1))))
}

// inUse is what the percentage is of: the live heap and the stacks.
func inUse() uint64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64()
}
