package docpages

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// node is any object of a document.
type node map[string]any

func (n node) child(name string) node {
	c, _ := n[name].(map[string]any)
	return c
}

func (n node) string(name string) string {
	s, _ := n[name].(string)
	return s
}

func (n node) list(name string) []any {
	l, _ := n[name].([]any)
	return l
}

func (n node) keys() []string { return slices.Sorted(maps.Keys(n)) }

// described is one whole document.
type described struct{ root node }

func (d described) text(path ...string) string {
	n := d.root
	for _, name := range path[:len(path)-1] {
		n = n.child(name)
	}
	return n.string(path[len(path)-1])
}

// resolved follows references, but not in circles.
func (d described) resolved(n node) node {
	for range 10 {
		path, is := strings.CutPrefix(n.string("$ref"), "#/")
		if !is {
			return n
		}
		n = d.root
		for name := range strings.SplitSeq(path, "/") {
			n = n.child(strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
		}
	}
	return nil
}

// methods in the order in which a path's calls are shown.
var methods = []string{"get", "post", "put", "patch", "delete"}

// groups are the calls of all paths by their first tag.
func (d described) groups() (groups []group) {
	place := map[string]int{}
	paths := d.root.child("paths")
	for _, path := range paths.keys() {
		for _, method := range methods {
			op := paths.child(path).child(method)
			if op == nil {
				continue
			}
			tag := "Calls"
			if tags := op.list("tags"); len(tags) > 0 {
				tag = fmt.Sprint(tags[0])
			}
			at, known := place[tag]
			if !known {
				at, groups = len(groups), append(groups, group{Name: tag})
				place[tag] = at
			}
			groups[at].Calls = append(groups[at].Calls, d.call(op, strings.ToUpper(method), path))
		}
	}
	slices.SortStableFunc(groups, func(a, b group) int { return strings.Compare(a.Name, b.Name) })
	return groups
}

// webhooks are the calls that an endpoint gets.
func (d described) webhooks() []group {
	g := group{Name: "What an endpoint gets"}
	hooks := d.root.child("webhooks")
	for _, name := range hooks.keys() {
		g.Calls = append(g.Calls, d.call(hooks.child(name).child("post"), "POST", name))
	}
	return []group{g}
}

func (d described) call(op node, method, path string) call {
	c := call{ID: op.string("operationId"), Method: method, Path: path, Summary: op.string("summary"), About: op.string("description")}
	for _, p := range op.list("parameters") {
		n, _ := p.(map[string]any)
		n = d.resolved(n)
		of := node(n).child("schema")
		c.Parameters = append(c.Parameters, field{
			Name: node(n).string("name"), In: node(n).string("in"), About: node(n).string("description"), Required: n["required"] == true,
			Type: d.kindOf(of), Rules: rules(of),
		})
	}
	c.Bodies = d.contents(d.resolved(op.child("requestBody")))
	responses := op.child("responses")
	for _, status := range responses.keys() {
		r := d.resolved(responses.child(status))
		c.Answers = append(c.Answers, answer{Status: status, About: r.string("description"), Bodies: d.contents(r)})
	}
	return c
}

func (d described) contents(n node) (all []content) {
	bodies := n.child("content")
	for _, media := range bodies.keys() {
		all = append(all, content{media, d.kindOf(bodies.child(media).child("schema"))})
	}
	return all
}

// channels are those of an AsyncAPI document.
func (d described) channels() (all []channel) {
	channels := d.root.child("channels")
	for _, name := range channels.keys() {
		n := channels.child(name)
		c := channel{Name: name, About: n.string("description"), Address: n.string("address"),
			Exchange: n.child("bindings").child("amqp").child("exchange").string("name")}
		messages := n.child("messages")
		for _, message := range messages.keys() {
			c.Messages = append(c.Messages, d.kindOf(d.resolved(messages.child(message)).child("payload")))
		}
		all = append(all, c)
	}
	return all
}

// asJSON shows a value of a document as it is written there.
func asJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}
