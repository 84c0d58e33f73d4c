package service

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Garbage may pile up between two collections, which makes them rare, as long as the process stays small with it. For the heap
// of ten thousand calls that hang it would be held for nothing: there it is little, but never so little that collecting is all
// the process does.
const (
	small        = 64 << 20 // of live heap and garbage
	leastGarbage = 12 << 20
	leastPercent = 12
	mostPercent  = 400
)

// BoundGarbage sets the collector's percentage anew after each collection. GOGC in the environment turns it off.
func BoundGarbage() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(mostPercent)
		afterCollection(mostPercent)
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
	garbage := max(leastGarbage, small-int(min(used, small)))
	return min(mostPercent, max(leastPercent, garbage*100/int(max(used, 1)))) // #nosec G115 -- bytes of memory
}

// inUse is what the percentage is of: the live heap and the stacks.
func inUse() uint64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64()
}
