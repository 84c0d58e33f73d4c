package service

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// Garbage may pile up between two collections, which makes them rare, as long as the process stays small with it. For the heap
// of ten thousand calls that hang it would be held for nothing: there it is little, unless so much is made anew that collecting
// would be what the process does. A backlog of as many that are worked off is such a heap.
const (
	small        = 48 << 20 // of live heap and garbage
	leastGarbage = 12 << 20
	leastPercent = 10
	mostPercent  = 400
	// A collection looks at all that lives, at about a nanosecond per byte. With as many percent as there are bytes made anew in a
	// second, in units of workRate, collections take a twentieth of one CPU's time.
	workRate    = 500 << 10
	workPercent = 100 // as Go has it by default; more memory than that is not worth it
	// retained is which part of what is made anew stays in a heap that grows: ten thousand calls begin, and none ends. It is on its
	// way to be large, and no garbage is to come on top before it has not grown for a few collections.
	retained = 0.1
	settled  = 4
)

// adjustEvery is how often the percentage is looked at without a collection: when the work is done there may be none for long.
const adjustEvery = time.Second

// BoundGarbage sets the collector's percentage anew after each collection, and once a second. GOGC in the environment turns it
// off.
func BoundGarbage() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(mostPercent)
	c := &collector{percent: mostPercent, since: time.Now(), made: read(allocated), live: inUse()}
	c.madeThen = c.made
	c.afterCollection()
	c.afterAWhile()
}

// collector knows what the percentage is, and how much has been made when, in bytes.
type collector struct {
	mu      sync.Mutex
	percent int
	since   time.Time
	made    uint64  // by then
	rate    float64 // per second

	live     uint64 // after the last collection
	madeThen uint64
	steady   int // collections since it grew
}

// cycle is an object that nobody holds: it is finalised after each collection, and makes the next one. It is not small, since
// small objects share their memory and are finalised late.
type cycle struct {
	*collector
	_ [7]int
}

func (c *collector) afterCollection() {
	runtime.SetFinalizer(&cycle{collector: c}, func(next *cycle) {
		next.adjust(time.Now())
		next.afterCollection()
	})
}

func (c *collector) afterAWhile() {
	time.AfterFunc(adjustEvery, func() {
		c.adjust(time.Now())
		c.afterAWhile()
	})
}

func (c *collector) adjust(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	live, made := inUse(), read(allocated)
	if apart := now.Sub(c.since); apart >= adjustEvery/10 { // less tells nothing
		c.rate, c.made, c.since = float64(made-c.made)/apart.Seconds(), made, now
	}
	if live != c.live { // there was a collection
		c.steady++
		if float64(live) > float64(c.live)+retained*float64(made-c.madeThen) {
			c.steady = 0
		}
		c.live, c.madeThen = live, made
	}
	percent := percentFor(live, c.working())
	if change := percent - c.percent; change > c.percent/8 || -change > c.percent/8 {
		debug.SetGCPercent(percent) // stops the world for a moment: not for every trifle
		c.percent = percent
	}
}

// working is the rate at which memory is made anew that counts.
func (c *collector) working() float64 {
	if c.steady < settled {
		return 0
	}
	return c.rate
}

func percentFor(used uint64, rate float64) int {
	garbage := max(leastGarbage, small-int(min(used, small)))
	work := min(workPercent, int(rate/workRate))
	return min(mostPercent, max(leastPercent, work, garbage*100/int(max(used, 1)))) // #nosec G115 -- bytes of memory
}

// allocated is all that was ever made.
const allocated = "/gc/heap/allocs:bytes"

// inUse is what the percentage is of: the live heap and the stacks.
func inUse() uint64 { return read("/gc/heap/live:bytes", "/gc/scan/stack:bytes") }

// read adds metrics up.
func read(names ...string) (sum uint64) {
	samples := make([]metrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	for _, s := range samples {
		sum += s.Value.Uint64()
	}
	return sum
}
