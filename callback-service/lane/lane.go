// Package lane decides when a delivery may start. Every subscription has a lane of its own: so many attempts under way, so
// many that wait in memory, and a circuit breaker. What finds no room is parked: it goes back to the broker, with a time to
// come again that follows from the pace of its lane, so that parked deliveries come back in their order and no sooner than
// they can be served. A slow or dead endpoint so holds its own lane, and no one else's.
//
// The package makes no call and starts nothing; it only counts.
package lane

import (
	"maps"
	"sync"
	"time"
)

const (
	// patience is how much of a backlog, in time at the lane's pace, waits in memory; many times that while there is plenty of
	// room or the endpoint is quick, since a way to the broker and back costs more.
	patience, manyTimes = 2 * time.Second, 5
	// quick is how long an attempt takes at most where the whole service is busy, rather than the endpoint slow.
	quick = 500 * time.Millisecond
	// mostWaiting bounds what waits in one lane.
	mostWaiting = 4000
	// shortPause is the longest pause of a lane that is waited for in memory.
	shortPause = time.Second
	// firstGuess is how long an attempt is thought to take before one has ended. It is hopeful: a lane that turns out slow
	// soon parks what it let wait.
	firstGuess = 5 * time.Millisecond
	// leastPark is the shortest time for which it is worth going back to the broker.
	leastPark = 250 * time.Millisecond
	// circulation is how many parked deliveries may come back per second, over all lanes, only to be parked again.
	circulation = 500
	// leastHorizon and mostHorizon bound how far ahead a delivery is parked beyond what its lane itself asks for.
	leastHorizon, mostHorizon = 10 * time.Second, 5 * time.Minute
	// idleLife is how long a lane without deliveries is remembered.
	idleLife = 10 * time.Minute
)

// Options of Lanes. Zero values take the defaults.
type Options struct {
	// Now is the clock; needed.
	Now func() time.Time
	// Threshold is how many failures in a row open a breaker; 10.
	Threshold int
	// OpenFor is how long a breaker stays open the first time, and twice as long each time after, up to OpenMost; 5 s, 30 s.
	OpenFor, OpenMost time.Duration
	// MaxWaiting and MaxBytes bound what waits in memory, over all lanes; 10,000 and 64 MiB.
	MaxWaiting int
	MaxBytes   int64
}

func (o Options) withDefaults() Options {
	if o.Threshold == 0 {
		o.Threshold = 10
	}
	if o.OpenFor == 0 {
		o.OpenFor = 5 * time.Second
	}
	if o.OpenMost == 0 {
		o.OpenMost = 30 * time.Second
	}
	if o.MaxWaiting == 0 {
		o.MaxWaiting = 10000
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	return o
}

// Limits of a lane, from its subscription.
type Limits struct {
	InFlight int
	// Rate is in attempts per second, for the estimate of when a parked one can be served; zero: none.
	Rate float64
	// Target is the endpoint: another one begins with a clean record.
	Target string
}

// Placement of a delivery that arrives.
type Placement int

// The placements.
const (
	Start Placement = iota // now; it takes a slot until Finish or Defer
	Wait                   // kept here; comes out of a later call's Moves
	Park                   // back to the broker
)

// Item is a delivery, what it weighs, in bytes, and since when it is here.
type Item[T any] struct {
	Value T
	Size  int
	Since time.Time
}

// Parked is a delivery to give back to the broker until Due.
type Parked[T any] struct {
	Value T
	Due   time.Time
}

// Moves are what follows from a change.
type Moves[T any] struct {
	Start []T
	Park  []Parked[T]
	// Opened and Recovered tell of the breaker.
	Opened, Recovered bool
}

// Lanes holds the lanes of one process. It is safe for concurrent use.
type Lanes[T any] struct {
	o Options

	mu      sync.Mutex
	lanes   map[string]*lane[T]
	queued  map[string]*lane[T] // those in which deliveries wait
	waiting int
	bytes   int64
	parked  int // about how many are at the broker and come back
	swept   time.Time
}

// New makes an empty set of lanes.
func New[T any](o Options) *Lanes[T] {
	return &Lanes[T]{o: o.withDefaults(), lanes: map[string]*lane[T]{}, queued: map[string]*lane[T]{}, swept: o.Now()}
}

// lane is one subscription's.
type lane[T any] struct {
	limits   Limits
	inFlight int
	waiting  []Item[T]
	breaker  breaker
	// pausedUntil is when the next attempt may start: the rate limit, or the endpoint's own wish.
	pausedUntil time.Time
	// took is a moving average of how long attempts take; progress is when the last one ended or the lane got busy.
	took     time.Duration
	progress time.Time
	// slot is the time up to which parked deliveries have been given a time to come back; parked is about how many there are.
	slot   time.Time
	parked int
}

func (l *Lanes[T]) lane(id string, now time.Time) *lane[T] {
	n := l.lanes[id]
	if n == nil {
		// One attempt until the subscription is known: it may allow no more.
		n = &lane[T]{limits: Limits{InFlight: 1}, took: firstGuess, progress: now}
		l.lanes[id] = n
	}
	return n
}

// Returned tells that a parked delivery is back.
func (l *Lanes[T]) Returned(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked = max(0, l.parked-1)
	if n := l.lanes[id]; n != nil {
		n.parked = max(0, n.parked-1)
	}
}

// Postpone parks a delivery that has no use for a slot yet, and returns the time to come back.
func (l *Lanes[T]) Postpone(id string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	return l.reserve(l.lane(id, now), now)
}

// Arrive places a delivery. preferred lets it wait here where another would be parked behind those that are parked: it was
// parked before, or others wait for it. With Park comes the time to come back.
func (l *Lanes[T]) Arrive(id string, item Item[T], preferred bool) (Placement, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	n := l.lane(id, now)
	switch {
	case len(n.waiting) == 0 && n.admits(now):
		n.begin(now)
		return Start, time.Time{}
	case l.mayWait(n, item.Size, preferred, now):
		l.keep(id, n, item)
		return Wait, time.Time{}
	}
	return Park, l.reserve(n, now)
}

// admits reports whether one more attempt may start.
func (n *lane[T]) admits(now time.Time) bool {
	if now.Before(n.pausedUntil) {
		return false
	}
	return n.breaker.closed() && n.inFlight < n.limits.InFlight || n.breaker.ripe(now) && n.inFlight == 0
}

func (n *lane[T]) begin(now time.Time) {
	if n.inFlight == 0 {
		n.progress = now
	}
	n.inFlight++
	n.breaker.begin()
}

// mayWait: only where it will soon be served.
func (l *Lanes[T]) mayWait(n *lane[T], size int, preferred bool, now time.Time) bool {
	return n.breaker.closed() && n.pausedUntil.Sub(now) <= shortPause &&
		len(n.waiting) < l.room(n, now) && (preferred || n.slot.Sub(now) <= patience) &&
		l.waiting < l.o.MaxWaiting && l.bytes+int64(size) <= l.o.MaxBytes
}

func (l *Lanes[T]) keep(id string, n *lane[T], item Item[T]) {
	n.waiting = append(n.waiting, item)
	l.waiting++
	l.bytes += int64(item.Size)
	l.queued[id] = n
}

// pace is how long an attempt takes, as far as can be told: one that has not ended yet counts for as long as nothing has ended.
func (n *lane[T]) pace(now time.Time) time.Duration {
	if n.inFlight > 0 {
		return max(n.took, now.Sub(n.progress))
	}
	return n.took
}

// interval is how long the lane takes for one delivery.
func (n *lane[T]) interval(now time.Time) time.Duration {
	each := n.pace(now) / time.Duration(n.limits.InFlight)
	if n.limits.Rate > 0 {
		each = max(each, time.Duration(float64(time.Second)/n.limits.Rate))
	}
	return max(each, 100*time.Microsecond)
}

// room is how many may wait: those that are served within the patience.
func (l *Lanes[T]) room(n *lane[T], now time.Time) int {
	within := patience
	if l.waiting < l.o.MaxWaiting/2 || n.pace(now) < quick {
		within *= manyTimes
	}
	return min(max(int(within/n.interval(now)), n.limits.InFlight), mostWaiting)
}

// reserve gives a parked delivery its time: after all that wait or are parked before it, as far as the horizon.
func (l *Lanes[T]) reserve(n *lane[T], now time.Time) time.Time {
	from := latest(now.Add(leastPark), n.pausedUntil, n.breaker.until)
	each := n.interval(now)
	n.slot = latest(n.slot, from, now.Add(time.Duration(len(n.waiting))*each)).Add(each)
	if most := from.Add(l.horizon(n)); n.slot.After(most) {
		n.slot = most
	}
	l.parked++
	n.parked++
	return n.slot
}

// horizon grows with what is parked, so that deliveries which only circulate cost no more than a bounded rate. With a rate
// limit the estimate is no guess.
func (l *Lanes[T]) horizon(n *lane[T]) time.Duration {
	if n.limits.Rate > 0 && n.breaker.closed() {
		return mostHorizon
	}
	return min(max(time.Duration(l.parked)*time.Second/circulation, leastHorizon), mostHorizon)
}

func latest(times ...time.Time) time.Time {
	last := times[0]
	for _, t := range times[1:] {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// Set tells what the subscription allows.
func (l *Lanes[T]) Set(id string, limits Limits) Moves[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	n := l.lane(id, now)
	if n.limits == limits {
		return Moves[T]{}
	}
	if n.limits.Target != "" && n.limits.Target != limits.Target {
		n.breaker, n.took, n.slot, n.pausedUntil = breaker{}, firstGuess, now, now
	}
	n.limits = limits
	var m Moves[T]
	l.advance(n, now, &m)
	return m
}

// Result of an attempt, as far as its lane is concerned.
type Result int

// The results.
const (
	Unknown Result = iota // nothing was learned of the endpoint
	Alive                 // it answered like one that works
	Dead                  // no answer, or one that says that it does not work
)

// Finish frees a slot. pause is how long the endpoint wants to be left alone; zero: not at all.
func (l *Lanes[T]) Finish(id string, result Result, took, pause time.Duration) Moves[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	n := l.lane(id, now)
	n.inFlight = max(0, n.inFlight-1)
	if result != Unknown {
		n.progress = now
		n.took += (took - n.took) / 5
	}
	if pause > 0 {
		n.pausedUntil = latest(n.pausedUntil, now.Add(pause))
	}
	m := Moves[T]{}
	m.Opened, m.Recovered = n.breaker.learn(result, now, l.o)
	if m.Recovered {
		n.slot = now
	}
	l.advance(n, now, &m)
	return m
}

// Defer gives the slots of deliveries back that may not start before a pause of their lane is over: the rate limit said so.
// They go first then.
func (l *Lanes[T]) Defer(id string, items []Item[T], pause time.Duration) Moves[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	n := l.lane(id, now)
	n.inFlight = max(0, n.inFlight-len(items))
	n.breaker.learn(Unknown, now, l.o)
	n.pausedUntil = latest(n.pausedUntil, now.Add(pause))
	n.waiting = append(append(make([]Item[T], 0, len(items)+len(n.waiting)), items...), n.waiting...)
	for _, item := range items {
		l.waiting++
		l.bytes += int64(item.Size)
	}
	l.queued[id] = n
	var m Moves[T]
	l.advance(n, now, &m)
	return m
}

// advance starts what waits and may start, and parks what must not wait any longer.
func (l *Lanes[T]) advance(n *lane[T], now time.Time, m *Moves[T]) {
	for len(n.waiting) > 0 && n.admits(now) {
		n.begin(now)
		m.Start = append(m.Start, l.take(n))
	}
	keep := l.room(n, now)
	if !n.breaker.closed() || n.pausedUntil.Sub(now) > shortPause {
		keep = 0
	}
	if len(n.waiting) <= keep {
		return
	}
	// What is parked does not count as waiting before itself.
	rest := n.waiting[keep:]
	n.waiting = n.waiting[:keep:keep]
	for _, item := range rest {
		l.waiting--
		l.bytes -= int64(item.Size)
		m.Park = append(m.Park, Parked[T]{item.Value, l.reserve(n, now)})
	}
}

func (l *Lanes[T]) take(n *lane[T]) T {
	first := n.waiting[0]
	n.waiting[0] = Item[T]{}
	if n.waiting = n.waiting[1:]; len(n.waiting) == 0 {
		n.waiting = nil
	}
	l.waiting--
	l.bytes -= int64(first.Size)
	return first.Value
}

// Wake starts what waited for a pause that is over, and parks what waits in lanes that turn out to be slow. Call it often.
func (l *Lanes[T]) Wake() Moves[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	var m Moves[T]
	for id, n := range l.queued {
		if l.advance(n, now, &m); len(n.waiting) == 0 {
			delete(l.queued, id)
		}
	}
	l.sweep(now)
	return m
}

// sweep forgets lanes that were idle for long.
func (l *Lanes[T]) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Minute {
		return
	}
	l.swept = now
	maps.DeleteFunc(l.lanes, func(_ string, n *lane[T]) bool {
		return n.inFlight == 0 && len(n.waiting) == 0 && n.breaker.closed() && now.Sub(latest(n.progress, n.slot, n.pausedUntil)) > idleLife
	})
}

// Drain takes everything that waits.
func (l *Lanes[T]) Drain() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []T
	for _, n := range l.lanes {
		for len(n.waiting) > 0 {
			all = append(all, l.take(n))
		}
	}
	return all
}

// Open is a lane whose breaker is open.
type Open struct {
	ID string
	// Since is when it opened, Until when a probe is due.
	Since, Until     time.Time
	Failures, Parked int
}

// Open returns the lanes whose breaker is open.
func (l *Lanes[T]) Open() []Open {
	l.mu.Lock()
	defer l.mu.Unlock()
	var open []Open
	for id, n := range l.lanes {
		if !n.breaker.closed() {
			open = append(open, Open{ID: id, Since: n.breaker.since, Until: n.breaker.until, Failures: n.breaker.failures, Parked: n.parked})
		}
	}
	return open
}

// Stats are for metrics.
type Stats struct {
	// Lanes are remembered, Open have an open breaker. Waiting deliveries are in memory, Parked ones at the broker, about.
	Lanes, Open, Waiting, Parked int
	WaitingBytes                 int64
	// Oldest is since when the one waits that came first; zero: none waits.
	Oldest time.Time
}

// Stats counts.
func (l *Lanes[T]) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Lanes: len(l.lanes), Waiting: l.waiting, Parked: l.parked, WaitingBytes: l.bytes}
	for _, n := range l.lanes {
		if !n.breaker.closed() {
			s.Open++
		}
		if len(n.waiting) > 0 && (s.Oldest.IsZero() || n.waiting[0].Since.Before(s.Oldest)) {
			s.Oldest = n.waiting[0].Since
		}
	}
	return s
}
