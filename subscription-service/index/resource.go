package index

import (
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

// list of those who have the same pattern, in no order. What a match reads of each lies side by side, and is little: among very
// many subscriptions none of it is in a cache.
type list struct {
	ids     []string
	slots   []uint32
	special []special // of the same length, or empty as long as nobody is special
	owner   *node     // nil for the list of all
}

// special is what most subscriptions have not.
type special struct {
	ordered bool
	pulls   bool
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
	n := r.slot()
	r.of[c.Subscription] = n
	if len(c.Types) == 0 {
		r.stand(c, n, &r.all)
	}
	for i, pattern := range c.Types {
		if !slices.Contains(c.Types[:i], pattern) {
			r.stand(c, n, r.root.list(pattern))
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

func (r *resource) stand(c store.Candidate, n uint32, in *list) {
	r.slots[n].places = append(r.slots[n].places, place{in, number(len(in.ids))})
	in.ids, in.slots = append(in.ids, c.Subscription), append(in.slots, n)
	s := special{c.Ordered, c.Pulls, unique.Make(c.Filter).Value()} // many have the same filter
	if len(in.special) == 0 && s == (special{}) {
		return
	}
	for len(in.special) < len(in.ids) {
		in.special = append(in.special, special{})
	}
	in.special[len(in.ids)-1] = s
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
	last, moved := p.in.cut(p.at)
	places := r.slots[moved].places
	for i := range places {
		if places[i].in == p.in && places[i].at == last {
			places[i].at = p.at
		}
	}
	if last == 0 {
		p.in.ids, p.in.slots, p.in.special = nil, nil, nil
		p.in.owner.prune()
	}
}

// cut lets the last one take a place, and tells where it was and who it is.
func (l *list) cut(at uint32) (last, moved uint32) {
	last = number(len(l.ids) - 1)
	moved = l.slots[last]
	l.ids[at], l.slots[at] = l.ids[last], moved
	l.ids[last] = ""
	l.ids, l.slots = l.ids[:last], l.slots[:last]
	if len(l.special) > 0 {
		l.special[at], l.special[last] = l.special[last], special{}
		l.special = l.special[:last]
	}
	return last, moved
}

// prune forgets nodes that lead nowhere.
func (n *node) prune() {
	for n != nil && n.parent != nil && len(n.kids)+len(n.here.ids)+len(n.rest.ids) == 0 {
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
	if left != "" && len(n.rest.ids) > 0 {
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
	case len(n.here.ids) > 0:
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
	if len(r.all.ids) > 0 {
		lists = append(lists, &r.all)
	}
	for _, l := range lists {
		count += len(l.ids)
	}
	switch {
	case count > most || count == 0:
		return nil, count
	case len(lists) == 1:
		return lists[0].candidates(make([]store.Candidate, 0, count)), count
	}
	found = merged(lists, count)
	return found, len(found)
}

// candidates adds those of a list.
func (l *list) candidates(to []store.Candidate) []store.Candidate {
	for i, id := range l.ids {
		c := store.Candidate{Subscription: id}
		if len(l.special) > 0 {
			c.Ordered, c.Pulls, c.Filter = l.special[i].ordered, l.special[i].pulls, l.special[i].filter
		}
		to = append(to, c)
	}
	return to
}

// merged holds each subscription once.
func merged(lists []*list, count int) []store.Candidate {
	all, slots := make([]store.Candidate, 0, count), make([]uint32, 0, count)
	for _, l := range lists {
		all, slots = l.candidates(all), append(slots, l.slots...)
	}
	met := make(map[uint32]struct{}, count)
	once := all[:0]
	for i, c := range all {
		if _, again := met[slots[i]]; !again {
			met[slots[i]] = struct{}{}
			once = append(once, c)
		}
	}
	return once
}

func (r *resource) size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.of)
}
