package catalogue

import (
	"net/url"
	"strconv"
	"strings"
)

// Keywords of draft 2020-12 that hold further schemas: in an object by name, in an array, or by themselves.
var (
	schemasByName = []string{"$defs", "definitions", "properties", "patternProperties", "dependentSchemas"}
	schemasInList = []string{"allOf", "anyOf", "oneOf", "prefixItems"}
	schemaAlone   = []string{"items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "not", "if", "then", "else", "contentSchema"}
)

// subschemas visits a schema and all schemas in it, each with its JSON pointer. What is no schema, such as a default or an
// example that looks like one, it passes by.
func subschemas(v any, at string, visit func(at string, schema map[string]any)) {
	schema, ok := v.(map[string]any)
	if !ok {
		return // true, false, or what the meta-schema refuses
	}
	visit(at, schema)
	for _, keyword := range schemaAlone {
		subschemas(schema[keyword], pointer(at, keyword), visit)
	}
	for _, keyword := range schemasInList {
		list, _ := schema[keyword].([]any)
		for i, item := range list {
			subschemas(item, pointer(pointer(at, keyword), strconv.Itoa(i)), visit)
		}
	}
	for _, keyword := range schemasByName {
		byName, _ := schema[keyword].(map[string]any)
		for name, value := range byName {
			subschemas(value, pointer(pointer(at, keyword), name), visit)
		}
	}
}

// Rebase makes a schema part of a larger document, at the place that base names, as in "#/components/schemas/order". Readers
// of such documents follow references from the document's root, and know no $anchor. A schema whose references only a whole
// reader of JSON Schema can follow gets the identity id instead, from which they are followed. The schema is changed in place
// and is one that Compile has taken.
func Rebase(schema any, base, id string) {
	root, ok := schema.(map[string]any)
	if !ok {
		return
	}
	delete(root, "$schema")
	if !rebasable(root) {
		if _, there := root["$id"]; !there {
			root["$id"] = id
		}
		return
	}
	delete(root, "$id")
	places := anchors(root)
	subschemas(schema, "", func(_ string, s map[string]any) {
		delete(s, "$anchor")
		if ref, ok := s["$ref"].(string); ok && strings.HasPrefix(ref, "#") {
			at := ref[1:]
			if place, anchored := places[at]; anchored {
				at = place
			}
			s["$ref"] = base + at
		}
	})
}

// rebasable tells whether every reference is one into this schema by a JSON pointer or an $anchor.
func rebasable(root map[string]any) bool {
	can := true
	subschemas(root, "", func(at string, s map[string]any) {
		_, identity := s["$id"]
		_, dynamic := s["$dynamicRef"]
		ref, _ := s["$ref"].(string)
		can = can && !dynamic && (at == "" || !identity) && (ref == "" || ref == dialect || strings.HasPrefix(ref, "#"))
		if _, dynamicAnchor := s["$dynamicAnchor"]; dynamicAnchor {
			can = false
		}
	})
	return can
}

// anchors returns the JSON pointer of each $anchor, as a URL's fragment.
func anchors(root map[string]any) map[string]string {
	places := map[string]string{}
	subschemas(root, "", func(at string, s map[string]any) {
		if name, ok := s["$anchor"].(string); ok {
			places[name] = (&url.URL{Fragment: at}).EscapedFragment()
		}
	})
	return places
}
