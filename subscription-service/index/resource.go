package index

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"unique"

	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// resource indexes the active subscriptions to one resource. Patterns lie in a tree by their segments, and at each pattern
// those who have it. It is safe for concurrent use.
type resource struct {
	mu    sync.RWMutex
	slots []slot // of subscriptions; places refer to them by number
	free  []uint32
	of    map[string]uint32
	root  node
	all   list // of those who want every type
}

// slot knows where a subscription stands; the zero value is a free one.
type slot struct{ places []place }

// place is where in a list an entry stands. A subscription has one for each pattern.
type place struct {
	in *list
	at uint32
}

// list of those who have the same pattern, in no order. What a match needs lies side by side in it.
type list struct {
	entries []entry
	owner   *node // nil for the list of all
}

type entry struct {
	id      string
	slot    uint32
	ordered bool
	filter  string
}

// node is a segment of patterns.
type node struct {
	parent     *node
	name       string
	kids       map[string]*node
	here, rest list // of patterns that end with this segment, and that go on with **
}

const (
	oneSegment = "*"
	theRest    = "**"
)

func newResource() *resource { return &resource{of: map[string]uint32{}} }

// put adds a subscription, or replaces it.
func (r *resource) put(c store.Candidate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(c.Subscription)
	e := entry{c.Subscription, r.slot(), c.Ordered, unique.Make(c.Filter).Value()} // many have the same filter
	r.of[e.id] = e.slot
	if len(c.Types) == 0 {
		r.stand(e, &r.all)
	}
	for i, pattern := range c.Types {
		if !slices.Contains(c.Types[:i], pattern) {
			r.stand(e, r.root.list(pattern))
		}
	}
}

func (r *resource) slot() uint32 {
	if last := len(r.free) - 1; last >= 0 {
		n := r.free[last]
		r.free = r.free[:last]
		return n
	}
	r.slots = append(r.slots, slot{})
	return number(len(r.slots) - 1)
}

// number: four thousand million subscriptions do not fit into memory.
func number(n int) uint32 { return uint32(n) } // #nosec G115

func (r *resource) stand(e entry, in *list) {
	r.slots[e.slot].places = append(r.slots[e.slot].places, place{in, number(len(in.entries))})
	in.entries = append(in.entries, e)
}

// remove takes a subscription out, if it is there.
func (r *resource) remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(id)
}

func (r *resource) drop(id string) {
	n, there := r.of[id]
	if !there {
		return
	}
	for _, p := range r.slots[n].places {
		r.leave(p)
	}
	delete(r.of, id)
	r.slots[n] = slot{}
	r.free = append(r.free, n)
}

// leave takes an entry out of its list: the last one takes its place.
func (r *resource) leave(p place) {
	last := number(len(p.in.entries) - 1)
	moved := p.in.entries[last]
	p.in.entries[p.at] = moved
	p.in.entries[last] = entry{}
	p.in.entries = p.in.entries[:last]
	places := r.slots[moved.slot].places
	for i := range places {
		if places[i].in == p.in && places[i].at == last {
			places[i].at = p.at
		}
	}
	if last == 0 {
		p.in.entries = nil
		p.in.owner.prune()
	}
}

// prune forgets nodes that lead nowhere.
func (n *node) prune() {
	for n != nil && n.parent != nil && len(n.kids)+len(n.here.entries)+len(n.rest.entries) == 0 {
		delete(n.parent.kids, n.name)
		n = n.parent
	}
}

// list returns the list of a pattern, and makes the way to it.
func (n *node) list(pattern string) *list {
	for more := true; more; {
		var segment string
		if segment, pattern, more = strings.Cut(pattern, "."); segment == theRest {
			n.rest.owner = n
			return &n.rest
		}
		n = n.kid(segment)
	}
	n.here.owner = n
	return &n.here
}

func (n *node) kid(segment string) *node {
	kid := n.kids[segment]
	if kid == nil {
		if n.kids == nil {
			n.kids = map[string]*node{}
		}
		name := strings.Clone(segment) // it would hold the whole text that it is a part of
		kid = &node{parent: n, name: name}
		n.kids[name] = kid
	}
	return kid
}

// lists adds the lists of the patterns that match what is left of a type: see contract.MatchesType.
func (n *node) lists(left string, found []*list) []*list {
	if left != "" && len(n.rest.entries) > 0 {
		found = append(found, &n.rest)
	}
	segment, left, more := strings.Cut(left, ".")
	if segment == "" {
		return found
	}
	found = n.kids[segment].below(left, more, found)
	if segment != oneSegment {
		found = n.kids[oneSegment].below(left, more, found)
	}
	return found
}

func (n *node) below(left string, more bool, found []*list) []*list {
	switch {
	case n == nil:
	case more:
		return n.lists(left, found)
	case len(n.here.entries) > 0:
		return append(found, &n.here)
	}
	return found
}

// match returns those who want a type, each once, in no order. Of more than most it returns the number alone, which then counts
// those twice who want it for two reasons.
func (r *resource) match(eventType string, most int) (found []store.Candidate, count int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	lists := r.root.lists(eventType, nil)
	for _, l := range lists {
		count += len(l.entries)
	}
	if count += len(r.all.entries); count > most || count == 0 {
		return nil, count
	}
	entries := r.all.entries
	switch {
	case len(lists) == 1 && len(entries) == 0:
		entries = lists[0].entries
	case len(lists) > 0:
		entries = merged(append(lists, &r.all), count)
	}
	found = make([]store.Candidate, len(entries))
	for i, e := range entries {
		found[i] = store.Candidate{Subscription: e.id, Ordered: e.ordered, Filter: e.filter}
	}
	return found, len(found)
}

// merged holds each subscription once.
func merged(lists []*list, count int) []entry {
	all := make([]entry, 0, count)
	for _, l := range lists {
		all = append(all, l.entries...)
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.slot, b.slot) })
	return slices.CompactFunc(all, func(a, b entry) bool { return a.slot == b.slot })
}

func (r *resource) size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.of)
}
