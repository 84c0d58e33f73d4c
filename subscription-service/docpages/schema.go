package docpages

import (
	"slices"
	"strings"
)

// deepest is how many objects in objects are shown on one page.
const deepest = 6

// schemas are the named ones of the document, in order of their names.
func (d described) schemas() (all []schema) {
	named := d.root.child("components").child("schemas")
	for _, name := range named.keys() {
		n := named.child(name)
		all = append(all, schema{Name: name, About: n.string("description"), Type: d.kindOf(n), Fields: d.fields(n, "", 0)})
	}
	return all
}

// fields are the properties of an object, those of objects in it under the path to them; required ones first.
func (d described) fields(n node, prefix string, depth int) (all []field) {
	properties, required := n.child("properties"), n.list("required")
	for _, first := range []bool{true, false} {
		for _, name := range properties.keys() {
			if name == "$schema" || slices.Contains(required, any(name)) != first {
				continue
			}
			p := properties.child(name)
			all = append(all, field{Name: prefix + name, About: p.string("description"), Type: d.kindOf(p), Rules: rules(p), Required: first})
			if depth < deepest {
				all = append(all, d.fields(p, prefix+name+".", depth+1)...)
				all = append(all, d.fields(p.child("items"), prefix+name+"[].", depth+1)...)
			}
		}
	}
	return all
}

// kindOf says in words what a value is.
func (d described) kindOf(n node) kind {
	if name, is := strings.CutPrefix(n.string("$ref"), "#/components/schemas/"); is {
		return kind{name, name}
	}
	if of := n.child("items"); of != nil {
		inner := d.kindOf(of)
		return kind{"list of " + inner.Text, inner.Schema}
	}
	if of := n.child("additionalProperties"); n.child("properties") == nil && len(of) > 0 {
		inner := d.kindOf(of)
		return kind{"map of " + inner.Text, inner.Schema}
	}
	for _, several := range []string{"oneOf", "anyOf", "allOf"} {
		if all := n.list(several); len(all) > 0 {
			return kind{Text: d.joined(all, map[string]string{"allOf": " and "}[several])}
		}
	}
	return kind{Text: plainKind(n)}
}

func (d described) joined(all []any, by string) string {
	if by == "" {
		by = " or "
	}
	var texts []string
	for _, one := range all {
		n, _ := one.(map[string]any)
		texts = append(texts, d.kindOf(n).Text)
	}
	return strings.Join(texts, by)
}

func plainKind(n node) string {
	text := n.string("type")
	if several := n.list("type"); len(several) > 0 {
		var names []string
		for _, t := range several {
			names = append(names, strings.Trim(asJSON(t), `"`))
		}
		text = strings.Join(names, " or ")
	}
	switch format := n.string("format"); {
	case text == "" && n["const"] != nil:
		return asJSON(n["const"])
	case text == "":
		return "anything"
	case format != "":
		return text + " (" + format + ")"
	}
	return text
}

// bounds are what is shown of a schema's conditions, and how.
var bounds = []struct{ name, text string }{
	{"enum", "one of "}, {"const", "always "}, {"default", "unless set "}, {"minimum", "at least "}, {"maximum", "at most "},
	{"minLength", "length at least "}, {"maxLength", "length at most "}, {"minItems", "at least this many: "}, {"maxItems", "at most this many: "},
	{"pattern", "matches "}, {"contentEncoding", "encoded as "},
}

func rules(n node) string {
	var texts []string
	for _, b := range bounds {
		if v, there := n[b.name]; there {
			texts = append(texts, b.text+asJSON(v))
		}
	}
	return strings.Join(texts, "; ")
}
