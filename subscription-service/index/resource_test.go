package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

func matched(r *resource, eventType string) []string {
	found, _ := r.match(eventType, math.MaxInt)
	ids := make([]string, len(found))
	for i, c := range found {
		if ids[i] = c.Subscription; c.Filter != "" && c.Filter != "of "+c.Subscription {
			panic("that is another's filter")
		}
	}
	slices.Sort(ids)
	return ids
}

func TestASubscriptionIsFoundByEachOfItsPatternsOnce(t *testing.T) {
	r := newResource()
	r.put(store.Candidate{Subscription: "all"})
	r.put(store.Candidate{Subscription: "exact", Types: []string{"order.created", "order.paid", "order.created"}})
	r.put(store.Candidate{Subscription: "star", Types: []string{"order.*", "*.created", "order.created"}})
	r.put(store.Candidate{Subscription: "rest", Types: []string{"order.**", "**"}, Ordered: true})
	require.Equal(t, []string{"all", "exact", "rest", "star"}, matched(r, "order.created"))
	require.Equal(t, []string{"all", "rest", "star"}, matched(r, "user.created"), "through *.created")
	require.Equal(t, []string{"all", "rest"}, matched(r, "order.created.late"))
	require.Equal(t, []string{"all", "rest"}, matched(r, "*"))
	r.put(store.Candidate{Subscription: "all", Types: []string{"only.this"}})
	require.Equal(t, []string{"exact", "rest", "star"}, matched(r, "order.created"), "replaced")
	found, _ := r.match("x", 10)
	require.Equal(t, []store.Candidate{{Subscription: "rest", Ordered: true}}, found)
}

func TestMoreThanMostAreOnlyCounted(t *testing.T) {
	r := newResource()
	for i := range 11 {
		r.put(store.Candidate{Subscription: fmt.Sprint(i), Types: []string{"a"}})
	}
	found, n := r.match("a", 10)
	require.Nil(t, found)
	require.Equal(t, 11, n)
	found, n = r.match("a", 11)
	require.Len(t, found, 11)
	require.Equal(t, 11, n)
}

func TestWhoIsGoneLeavesNothing(t *testing.T) {
	r := newResource()
	for i := range 100 {
		r.put(store.Candidate{Subscription: fmt.Sprint(i), Types: []string{"a.b", fmt.Sprintf("x%d.*.**", i)}})
	}
	for i := range 100 {
		r.remove(fmt.Sprint(i))
		require.Len(t, matched(r, "a.b"), 99-i)
	}
	r.remove("never there")
	require.Empty(t, r.of)
	require.Empty(t, r.root.kids)
	require.Len(t, r.free, 100)
	r.put(store.Candidate{Subscription: "again"})
	require.Len(t, r.slots, 100, "a free slot is used again")
}

// The index finds what contract.MatchesType finds, whatever came and went before.
func TestTheIndexFindsWhatMatchesTypeFinds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- a test that repeats
	segments := []string{"a", "b", "c", "*"}
	name := func(last ...string) string {
		parts := make([]string, 1+random.IntN(4))
		for i := range parts {
			parts[i] = segments[random.IntN(len(segments))]
		}
		if last := append(last, ""); random.IntN(3) == 0 && last[0] != "" {
			parts[len(parts)-1] = last[0]
		}
		return strings.Join(parts, ".")
	}
	r, want := newResource(), map[string][]string{}
	for range 5000 {
		id := fmt.Sprint(random.IntN(50))
		if random.IntN(3) == 0 {
			r.remove(id)
			delete(want, id)
			continue
		}
		patterns := make([]string, random.IntN(4))
		for i := range patterns {
			patterns[i] = name("**")
		}
		c := store.Candidate{Subscription: id, Types: patterns}
		if id < "3" { // some are special
			c.Ordered, c.Filter = true, "of "+id
		}
		r.put(c)
		want[id] = patterns
		eventType := name("")
		require.Equal(t, linear(want, eventType), matched(r, eventType), eventType)
	}
}

func linear(subscriptions map[string][]string, eventType string) []string {
	ids := []string{}
	for id, patterns := range subscriptions {
		if contract.MatchesType(patterns, eventType) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"a.*", "a.b"}, {"a.**", "a."}, {"**", "."}, {"*", "*"}, {"a.*.c", "a..c"}, {"a", ""}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, patterns, eventType string) {
		c := store.Candidate{Subscription: "x"}
		for _, p := range strings.Fields(patterns) {
			if contract.ValidateTypePattern(p) == nil {
				c.Types = append(c.Types, p)
			}
		}
		if len(c.Types) == 0 {
			return
		}
		r := newResource()
		r.put(c)
		require.Equal(t, contract.MatchesType(c.Types, eventType), len(matched(r, eventType)) == 1)
		r.remove("x")
		require.Empty(t, r.root.kids)
	})
}
