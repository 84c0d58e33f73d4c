package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// size is how much of everything a run has.
type size struct {
	events, subscriptions, faults int
	// rate is the most events per second that are published.
	rate float64
	// outage is the longest outage of an endpoint.
	outage time.Duration
}

// plan is all that happens in a run. The same seed and size give the same plan.
type plan struct {
	resources     []string
	types         []string
	subscriptions []subscription
	batches       [][]event
	faults        []fault
}

// slot is what an event is about and a subscription asks for: one resource and type.
type slot int

// event is one event; its number counts from 0.
type event struct {
	number  int
	slot    slot
	subject string
}

// subscription is one subscription and the manner of its endpoint.
type subscription struct {
	slot    slot
	pattern string
	format  string
	ordered bool
	most    int // max_in_flight, 0: not given
	manner  manner
}

// manner is how an endpoint behaves.
type manner struct {
	delay time.Duration
	// failEvery is how many requests pass from one that is answered 500 to the next; 0: none fails.
	failEvery int
	outage    *outage
}

func (m manner) String() string {
	switch {
	case m.outage != nil:
		return fmt.Sprintf("fails as %d for %v from event %d on", m.outage.how, m.outage.lasts, m.outage.from)
	case m.failEvery > 0:
		return fmt.Sprintf("fails every %d requests", m.failEvery)
	}
	return fmt.Sprintf("answers after %v", m.delay)
}

// outage begins with the first request for an event of at least this number.
type outage struct {
	from  int
	lasts time.Duration
	how   failure
}

// failure is how an endpoint fails during an outage.
type failure int

const (
	failHang    failure = 0 // until the caller gives up
	failHangsUp failure = 1 // closes the connection; all others are statuses
)

// fault is one thing that goes wrong when an event of this number is about to be published.
type fault struct {
	kind   string
	target string
	at     int
	lasts  time.Duration
}

func (f fault) String() string { return f.kind + " " + f.target }

// The kinds of faults. Processes are killed and restarted, links are cut, stalled and slowed.
const (
	kindKill    = "kill"
	kindRestart = "restart"
	kindCut     = "cut"   // connections break, and new ones are refused
	kindStall   = "stall" // nothing passes, then connections break
	kindSlow    = "slow"
)

const (
	resourceCount = 5
	subjectCount  = 8
	mostPerSlot   = 3
	batchSize     = 20
)

// makePlan draws everything from the seed.
func makePlan(seed uint64, s size, ordered float64, run string) plan {
	draw := rand.New(rand.NewPCG(seed, 0)) // #nosec G404 -- it has to be repeatable
	slots := max(1, s.subscriptions/2)
	p := plan{}
	for i := range min(resourceCount, slots) {
		p.resources = append(p.resources, fmt.Sprintf("chaos-%s-%d", run, i))
	}
	for i := range (slots + len(p.resources) - 1) / len(p.resources) {
		p.types = append(p.types, fmt.Sprintf("kind%d.made", i))
	}
	p.subscriptions = drawSubscriptions(draw, slots, s, ordered)
	p.batches = drawEvents(draw, slots, s.events)
	p.faults = drawFaults(draw, s)
	return p
}

// resource and kind say what a slot stands for.
func (p plan) resource(s slot) string { return p.resources[int(s)%len(p.resources)] }
func (p plan) kind(s slot) string     { return p.types[int(s)/len(p.resources)] }

// drawSubscriptions gives every slot at least one subscription and at most mostPerSlot.
func drawSubscriptions(draw *rand.Rand, slots int, s size, ordered float64) []subscription {
	taken := make([]int, slots)
	subs := make([]subscription, s.subscriptions)
	for i := range subs {
		at := i
		for at >= slots || taken[at] == mostPerSlot {
			at = draw.IntN(slots)
		}
		taken[at]++
		subs[i] = drawSubscription(draw, slot(at), s, ordered)
	}
	return subs
}

func drawSubscription(draw *rand.Rand, at slot, s size, ordered float64) subscription {
	sub := subscription{
		slot: at, ordered: draw.Float64() < ordered, pattern: pick(draw, "%s.made", "%s.*", "%s.**"),
		format: pick(draw, "cloudevents-structured", "cloudevents-binary", "data"), most: pick(draw, 0, 0, 0, 2, 50),
	}
	switch draw.IntN(10) {
	case 0, 1:
		sub.manner.delay = between(draw, 10*time.Millisecond, 100*time.Millisecond)
	case 2:
		sub.manner.failEvery = 5 + draw.IntN(10)
	case 3, 4, 5, 6:
		sub.manner.outage = &outage{
			from: draw.IntN(max(1, s.events*8/10)), lasts: between(draw, s.outage/6, s.outage),
			how: pick(draw, failHang, failHangsUp, http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusNotFound),
		}
	}
	return sub
}

// drawEvents makes batches in which no subject of a slot occurs twice: a batch that was confirmed in part is published
// again as a whole, and that must not change the order within a subject.
func drawEvents(draw *rand.Rand, slots, events int) [][]event {
	type line struct {
		slot    slot
		subject string
	}
	var batches [][]event
	var batch []event
	in := map[line]bool{}
	for n := range events {
		e := event{n, slot(draw.IntN(slots)), fmt.Sprint("subject-", draw.IntN(subjectCount))}
		if in[line{e.slot, e.subject}] || len(batch) == batchSize {
			batches, batch = append(batches, batch), nil
			clear(in)
		}
		in[line{e.slot, e.subject}] = true
		batch = append(batch, e)
	}
	return append(batches, batch)
}

// parts are the processes that are killed and restarted; the gateway alone restarts its runner.
var (
	parts = []string{"redis", "rabbitmq", "gateway", "runner", "callback-service", "event-listener", "subscription-service"}
	links = []string{"redis", "rabbitmq", "gateway"}
)

// mostFaults is every part down twice, and a bad link after each.
const mostFaults = 28

// drawFaults brings every part down once, then every part once more in the other way, with a bad link after each as far as
// their number goes. They are spread over the events.
func drawFaults(draw *rand.Rand, s size) []fault {
	bad := slices.Concat(drawLinks(draw), drawLinks(draw))
	other := map[string]string{kindKill: kindRestart, kindRestart: kindKill}
	before := map[string]string{}
	var faults []fault
	for left := s.faults; left > 0 && len(faults) < mostFaults; left = s.faults - len(faults) {
		for i, part := range shuffled(draw, parts) {
			kind := other[before[part]]
			switch {
			case part == "runner":
				kind = kindKill
			case kind == "":
				kind = pick(draw, kindKill, kindRestart)
			}
			before[part] = kind
			faults = append(faults, fault{kind: kind, target: part, lasts: between(draw, 0, time.Second)})
			if i < left-len(parts) {
				faults, bad = append(faults, bad[0]), bad[1:]
			}
		}
	}
	faults = faults[:min(s.faults, len(faults))]
	for i := range faults {
		faults[i].at = (i + 1) * s.events / (len(faults) + 1)
	}
	return faults
}

// drawLinks makes every link bad in every way.
func drawLinks(draw *rand.Rand) []fault {
	var faults []fault
	for _, kind := range []string{kindCut, kindStall, kindSlow} {
		for _, link := range links {
			faults = append(faults, fault{kind: kind, target: link + " link", lasts: between(draw, 200*time.Millisecond, 2*time.Second)})
		}
	}
	return shuffled(draw, faults)
}

func shuffled[T any](draw *rand.Rand, all []T) []T {
	all = slices.Clone(all)
	draw.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func pick[T any](draw *rand.Rand, from ...T) T { return from[draw.IntN(len(from))] }

func between(draw *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(draw.Int64N(int64(most-least)+1))
}
