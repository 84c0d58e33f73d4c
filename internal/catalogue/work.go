package catalogue

import (
	"iter"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A schema of a few lines can be endless work: where each level applies the next one twice, the twentieth is applied a million
// times. So the applications of a schema to a value are counted before they are made, as if none of them ended another.
const (
	// MaxInPlace is how many schemas may apply to one value, references followed.
	MaxInPlace = 10_000
	// MaxSteps is how many applications the data of one event may cost: about half a second of a CPU.
	MaxSteps = 2_000_000
	// maxNesting bounds how deep these are in one another.
	maxNesting = 100_000
)

// work is how much a compiled schema may have to do.
type work struct {
	// anchors are where a $dynamicRef may lead.
	anchors map[string][]*jsonschema.Schema
	// applied is how many applications each value may cost at most; MaxSteps if it is more, or depends on the data.
	applied int
}

// workOf measures a schema, or refuses one that is too much work for any value.
func workOf(root *jsonschema.Schema) (work, *Faults) {
	w := work{anchors: map[string][]*jsonschema.Schema{}}
	w.collect(root, map[*jsonschema.Schema]bool{})
	if s := (&steps{work: w, left: MaxInPlace}); !s.apply(root, nil) {
		return w, one("", "applies more than %d schemas to one value: it refers to itself without end, or each of its levels to the next one twice", MaxInPlace)
	}
	w.applied = w.expanded(root, map[*jsonschema.Schema]int{})
	return w, nil
}

func (w work) collect(s *jsonschema.Schema, seen map[*jsonschema.Schema]bool) {
	if seen[s] {
		return
	}
	seen[s] = true
	if s.DynamicAnchor != "" {
		w.anchors[s.DynamicAnchor] = append(w.anchors[s.DynamicAnchor], s)
	}
	for below := range w.below(s) {
		w.collect(below, seen)
	}
}

const underWay = -1

// expanded counts the schemas with each reference in the place of what it leads to.
func (w work) expanded(s *jsonschema.Schema, known map[*jsonschema.Schema]int) int {
	if n, ok := known[s]; ok {
		if n == underWay {
			return MaxSteps
		}
		return n
	}
	known[s] = underWay
	n := 1
	for below := range w.below(s) {
		n = min(MaxSteps, n+w.expanded(below, known))
	}
	known[s] = n
	return n
}

// below are all schemas that a schema applies.
func (w work) below(s *jsonschema.Schema) iter.Seq[*jsonschema.Schema] {
	return func(yield func(*jsonschema.Schema) bool) {
		more, _ := s.AdditionalProperties.(*jsonschema.Schema)
		alone := []*jsonschema.Schema{more, s.PropertyNames, s.UnevaluatedProperties, s.Items2020, s.Contains, s.UnevaluatedItems}
		for name := range s.Properties {
			alone = append(alone, s.Properties[name])
		}
		for pattern := range s.PatternProperties {
			alone = append(alone, s.PatternProperties[pattern])
		}
		for _, below := range slices.Concat(slices.Collect(w.inPlace(s)), alone, s.PrefixItems) {
			if below != nil && !yield(below) {
				return
			}
		}
	}
}

// inPlace are the schemas that a schema applies to the same value.
func (w work) inPlace(s *jsonschema.Schema) iter.Seq[*jsonschema.Schema] {
	return func(yield func(*jsonschema.Schema) bool) {
		for _, one := range [...]*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else} {
			if one != nil && !yield(one) {
				return
			}
		}
		for _, list := range [...][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf, w.dynamic(s)} {
			for _, one := range list {
				if !yield(one) {
					return
				}
			}
		}
		for _, one := range s.DependentSchemas {
			if !yield(one) {
				return
			}
		}
	}
}

func (w work) dynamic(s *jsonschema.Schema) []*jsonschema.Schema {
	if s.DynamicRef == nil {
		return nil
	}
	if found := w.anchors[s.DynamicRef.Anchor]; s.DynamicRef.Anchor != "" && len(found) > 0 {
		return found
	}
	return []*jsonschema.Schema{s.DynamicRef.Ref}
}

// within reports whether the schema may be applied to data of so many values.
func (w work) within(root *jsonschema.Schema, data any, values int) bool {
	if w.applied*values <= MaxSteps {
		return true // without a look
	}
	return (&steps{work: w, left: MaxSteps}).apply(root, data)
}

// steps counts down.
type steps struct {
	work

	left, nested int
}

// apply is false once there are too many.
func (c *steps) apply(s *jsonschema.Schema, v any) bool {
	if c.left--; c.left < 0 || c.nested > maxNesting {
		return false
	}
	c.nested++
	defer func() { c.nested-- }()
	for one := range c.inPlace(s) {
		if !c.apply(one, v) {
			return false
		}
	}
	switch v := v.(type) {
	case map[string]any:
		return c.members(s, v)
	case []any:
		return c.items(s, v)
	}
	return true
}

// each applies the schemas that are there.
func (c *steps) each(v any, schemas ...*jsonschema.Schema) bool {
	for _, s := range schemas {
		if s != nil && !c.apply(s, v) {
			return false
		}
	}
	return true
}

// members takes every pattern for one that matches.
func (c *steps) members(s *jsonschema.Schema, v map[string]any) bool {
	more, _ := s.AdditionalProperties.(*jsonschema.Schema)
	for name, value := range v {
		own := s.Properties[name]
		if own == nil {
			own = more
		}
		if !c.each(name, s.PropertyNames) || !c.each(value, own, s.UnevaluatedProperties) {
			return false
		}
		for _, pattern := range s.PatternProperties {
			if !c.apply(pattern, value) {
				return false
			}
		}
	}
	return true
}

func (c *steps) items(s *jsonschema.Schema, v []any) bool {
	for i, value := range v {
		own := s.Items2020
		if i < len(s.PrefixItems) {
			own = s.PrefixItems[i]
		}
		if !c.each(value, own, s.Contains, s.UnevaluatedItems) {
			return false
		}
	}
	return true
}

// withinSteps refuses data to which the schema can't be applied in reasonable time.
func (s *Schema) withinSteps(document any, values int) *Faults {
	if s.work.within(s.compiled, document, values) {
		return nil
	}
	return one("data", "can't be checked against its schema within %d steps: send less, or have the schema made simpler", MaxSteps)
}
