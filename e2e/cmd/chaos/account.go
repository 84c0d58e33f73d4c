package main

import (
	"cmp"
	"slices"
	"time"
)

// pair is one delivery that is due: an event to a subscription.
type pair struct{ event, subscription int }

// call is one request that an endpoint got. Began and answered count all requests and answers of a run in one order.
type call struct {
	pair
	id              string
	began, answered int
	status          int // 0: not answered, the caller went away first
	at              time.Duration
	badlySigned     bool
}

func (c call) succeeded() bool { return c.status >= 200 && c.status <= 299 }

// happened is a fault as it was: when, and how many attempts were in flight.
type happened struct {
	fault       fault
	began, over time.Duration
	inFlight    int
}

// breaks says that the fault may cost an attempt its outcome.
func (h happened) breaks() bool { return h.fault.kind != kindSlow }

// account is what became of all that was expected.
type account struct {
	Expected   int `json:"expected"`
	Delivered  int `json:"delivered"`
	Calls      int `json:"calls"`
	Duplicates int `json:"duplicates"`
	// Allowed is the most duplicates that the faults excuse: the attempts in flight at each of them.
	Allowed     int          `json:"duplicates_allowed"`
	Lost        int          `json:"lost"`
	OutOfOrder  int          `json:"out_of_order"`
	BadlySigned int          `json:"badly_signed"`
	Unexpected  int          `json:"unexpected"`
	Faults      []faultTotal `json:"faults"`

	lost, outOfOrder []pair
}

// faultTotal is the share of all faults of one kind.
type faultTotal struct {
	Fault      string  `json:"fault"`
	Times      int     `json:"times"`
	InFlight   int     `json:"attempts_in_flight"`
	Duplicates int     `json:"duplicates"`
	Silence    float64 `json:"longest_silence_s"`
}

func (a account) holds() bool {
	return a.Lost == 0 && a.OutOfOrder == 0 && a.BadlySigned == 0 && a.Unexpected == 0 && a.Duplicates <= a.Allowed
}

// expected is every pair that the plan asks for.
func (p plan) expected() map[pair]bool {
	bySlot := map[slot][]int{}
	for i, sub := range p.subscriptions {
		bySlot[sub.slot] = append(bySlot[sub.slot], i)
	}
	all := map[pair]bool{}
	for _, batch := range p.batches {
		for _, e := range batch {
			for _, sub := range bySlot[e.slot] {
				all[pair{e.number, sub}] = true
			}
		}
	}
	return all
}

// settle compares what was expected with the endpoints' log.
func settle(p plan, log []call, faults []happened) account {
	expected := p.expected()
	a := account{Expected: len(expected), Calls: len(log), outOfOrder: outOfOrder(p, log)}
	first := map[pair]call{}
	totals := newTotals(faults, log)
	for _, c := range log {
		if c.badlySigned {
			a.BadlySigned++
		}
		if !expected[c.pair] {
			a.Unexpected++
		} else if c.succeeded() {
			if before, again := first[c.pair]; again {
				a.Duplicates++
				totals.blame(before)
			} else {
				first[c.pair] = c
			}
		}
	}
	for wanted := range expected {
		if _, ok := first[wanted]; !ok {
			a.lost = append(a.lost, wanted)
		}
	}
	slices.SortFunc(a.lost, byEvent)
	a.Delivered, a.Lost, a.OutOfOrder = len(first), len(a.lost), len(a.outOfOrder)
	a.Faults, a.Allowed = totals.sum()
	return a
}

func byEvent(a, b pair) int {
	return cmp.Or(cmp.Compare(a.event, b.event), cmp.Compare(a.subscription, b.subscription))
}

// outOfOrder returns the pairs of ordered subscriptions that were attempted before the event ahead of them on the same
// subject had succeeded.
func outOfOrder(p plan, log []call) []pair {
	answered := map[pair]int{} // when a pair first succeeded
	for _, c := range log {
		if at, ok := answered[c.pair]; c.succeeded() && (!ok || c.answered < at) {
			answered[c.pair] = c.answered
		}
	}
	ahead := p.ahead()
	found := map[pair]bool{}
	for _, c := range log {
		before, ok := ahead[c.pair]
		if !ok {
			continue
		}
		if done, ok := answered[before]; !ok || done > c.began {
			found[c.pair] = true
		}
	}
	pairs := make([]pair, 0, len(found))
	for pair := range found {
		pairs = append(pairs, pair)
	}
	slices.SortFunc(pairs, byEvent)
	return pairs
}

// ahead leads from each pair of an ordered subscription to the one before it on the same subject.
func (p plan) ahead() map[pair]pair {
	type line struct {
		subscription int
		subject      string
	}
	bySlot := map[slot][]int{}
	for i, sub := range p.subscriptions {
		if sub.ordered {
			bySlot[sub.slot] = append(bySlot[sub.slot], i)
		}
	}
	last, ahead := map[line]pair{}, map[pair]pair{}
	for _, batch := range p.batches {
		for _, e := range batch {
			for _, sub := range bySlot[e.slot] {
				this, at := pair{e.number, sub}, line{sub, e.subject}
				if before, ok := last[at]; ok {
					ahead[this] = before
				}
				last[at] = this
			}
		}
	}
	return ahead
}

// totals tells the faults apart.
type totals struct {
	faults []happened
	by     map[string]*faultTotal
}

func newTotals(faults []happened, log []call) totals {
	t := totals{faults, map[string]*faultTotal{}}
	for i, f := range faults {
		total := t.of(f)
		total.Times++
		if f.breaks() {
			total.InFlight += f.inFlight
		}
		until := f.over + time.Second
		if i+1 < len(faults) {
			until = faults[i+1].began
		}
		total.Silence = max(total.Silence, silence(log, f.began, until).Seconds())
	}
	return t
}

func (t totals) of(f happened) *faultTotal {
	name := f.fault.String()
	if t.by[name] == nil {
		t.by[name] = &faultTotal{Fault: name}
	}
	return t.by[name]
}

// blameWithin is how long before a fault a success may be whose outcome the fault has cost.
const blameWithin = 2 * time.Second

// blame counts a duplicate for the fault nearest to the first success, whose outcome it must have cost. One that breaks
// nothing is blamed only when no other was near.
func (t totals) blame(first call) {
	if len(t.faults) == 0 {
		return
	}
	far := func(h happened) time.Duration {
		d := h.distance(first.at)
		if !h.breaks() {
			d += blameWithin
		}
		return d
	}
	nearest := slices.MinFunc(t.faults, func(a, b happened) int { return cmp.Compare(far(a), far(b)) })
	t.of(nearest).Duplicates++
}

// distance from a moment to the time that the fault took.
func (h happened) distance(at time.Duration) time.Duration { return max(h.began-at, at-h.over, 0) }

func (t totals) sum() (rows []faultTotal, allowed int) {
	for _, total := range t.by {
		rows = append(rows, *total)
		allowed += total.InFlight
	}
	slices.SortFunc(rows, func(a, b faultTotal) int { return cmp.Compare(a.Fault, b.Fault) })
	return rows, allowed
}

// silence is the longest time without a success from a moment to another.
func silence(log []call, from, to time.Duration) (longest time.Duration) {
	last := from
	for _, c := range log {
		if c.succeeded() && c.at >= from && c.at <= to {
			longest, last = max(longest, c.at-last), max(last, c.at)
		}
	}
	return max(longest, to-last)
}
