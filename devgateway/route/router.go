package route

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
)

// Router finds routes. It never changes, so it may be used by all requests at once.
type Router struct {
	exact  map[string][]entry
	prefix []level // longest first
}

// level is the routes of one prefix, in the order of the file.
type level struct {
	prefix  string
	entries []entry
}

type entry struct {
	index   int
	first   int // priority
	methods []string
	vars    []*regexp.Regexp // on the variable uri
}

// New compiles the conditions of the routes. Its error names the condition that it does not know.
func New(routes []config.Route) (*Router, error) {
	r := &Router{exact: map[string][]entry{}}
	byPrefix := map[string][]entry{}
	var errs []error
	for i, rt := range routes {
		e := entry{index: i, first: rt.Priority, methods: rt.Methods}
		for j, v := range rt.Vars {
			re, err := compile(v)
			if err != nil {
				errs = append(errs, fmt.Errorf("apisix.yaml: routes[%d].vars[%d]: %w", i, j, err))
			}
			e.vars = append(e.vars, re)
		}
		if prefix, ok := strings.CutSuffix(rt.URI, "*"); ok {
			byPrefix[prefix] = append(byPrefix[prefix], e)
		} else {
			r.exact[rt.URI] = append(r.exact[rt.URI], e)
		}
	}
	for _, entries := range r.exact {
		byPriority(entries)
	}
	for p, entries := range byPrefix {
		byPriority(entries)
		r.prefix = append(r.prefix, level{p, entries})
	}
	sort.Slice(r.prefix, func(i, j int) bool { return len(r.prefix[i].prefix) > len(r.prefix[j].prefix) })
	return r, errors.Join(errs...)
}

func byPriority(entries []entry) {
	slices.SortStableFunc(entries, func(a, b entry) int { return b.first - a.first })
}

// escapes takes the escaped backslashes and dollar signs out of a pattern.
var escapes = strings.NewReplacer(`\\`, "", `\$`, "")

// compile refuses what the two regular expression engines, PCRE in APISIX and RE2 here, read differently.
func compile(v config.Var) (*regexp.Regexp, error) {
	if v.Name != "uri" || v.Operator != "~~" {
		return nil, fmt.Errorf("%s %s: devgateway knows the variable uri and the operator ~~ only", v.Name, v.Operator)
	}
	if strings.Contains(escapes.Replace(v.Value), "$") {
		return nil, fmt.Errorf(`%q: in APISIX a $ also matches before a line feed: write \z`, v.Value)
	}
	re, err := regexp.Compile(v.Value)
	if err != nil {
		return nil, fmt.Errorf("compiling the pattern: %w", err)
	}
	return re, nil
}

// Match returns the index of the route for a method and a normalised path: an exact path before a prefix, the
// longest prefix first, and among equals by priority the first whose methods and conditions hold.
func (r *Router) Match(method, path string) (int, bool) {
	if i, ok := first(r.exact[path], method, path); ok {
		return i, true
	}
	for _, l := range r.prefix {
		if !strings.HasPrefix(path, l.prefix) {
			continue
		}
		if i, ok := first(l.entries, method, path); ok {
			return i, true
		}
	}
	return 0, false
}

func first(entries []entry, method, path string) (int, bool) {
	for i := range entries {
		if entries[i].holds(method, path) {
			return entries[i].index, true
		}
	}
	return 0, false
}

func (e *entry) holds(method, path string) bool {
	if len(e.methods) > 0 && !slices.Contains(e.methods, method) {
		return false
	}
	for _, re := range e.vars {
		if !re.MatchString(path) {
			return false
		}
	}
	return true
}
