package catalogue

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// faultsOf names the innermost places of a refusal, in a fixed order.
func faultsOf(invalid *jsonschema.ValidationError, prefix string) *Faults {
	var all []Fault
	leaves(invalid, func(leaf *jsonschema.ValidationError) {
		at := prefix
		for _, step := range leaf.InstanceLocation[:min(maxPointer, len(leaf.InstanceLocation))] {
			at = pointer(at, step)
		}
		all = append(all, Fault{shown(at), phrase(leaf)})
	})
	slices.SortFunc(all, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Message, b.Message)) })
	all = slices.Compact(all)
	most := min(len(all), MaxFaults)
	return &Faults{Places: slices.Clone(all[:most]), More: len(all) - most}
}

// leaves stops at a choice: what each alternative lacks would say more than one wants to know.
func leaves(e *jsonschema.ValidationError, visit func(*jsonschema.ValidationError)) {
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.Contains, *kind.MinContains, *kind.MaxContains, *kind.PropertyNames:
		visit(e)
		return
	}
	if len(e.Causes) == 0 {
		visit(e)
	}
	for _, cause := range e.Causes {
		leaves(cause, visit)
	}
}

// phrase says what would be right. It shows values of the schema and names of members, never values of the data.
func phrase(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return fmt.Sprintf("is of type %s: make it %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Enum:
		return "must be one of " + values(k.Want...)
	case *kind.Const:
		return "must be " + values(k.Want)
	case *kind.Pattern:
		return "must match the regular expression " + contract.Printable(k.Want)
	case *kind.Required:
		return "lacks " + names(k.Missing) + ": add it"
	case *kind.DependentRequired:
		return fmt.Sprintf("has %s, and so needs %s as well", names([]string{k.Prop}), names(k.Missing))
	case *kind.AdditionalProperties:
		return "has " + names(k.Properties) + ", which the schema does not know: take it out"
	case *kind.PropertyNames:
		return "has " + names([]string{k.Property}) + ", a name that the schema does not allow: take it out"
	case *kind.FalseSchema:
		return "is not allowed here: take it out"
	}
	return phraseSize(e)
}

func phraseSize(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Minimum:
		return "must be at least " + number(k.Want)
	case *kind.Maximum:
		return "must be at most " + number(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be more than " + number(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + number(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + number(k.Want)
	case *kind.MinLength:
		return fmt.Sprintf("has %d characters: at least %d are needed", k.Got, k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("has %d characters: at most %d are allowed", k.Got, k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("has %d items: at least %d are needed", k.Got, k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("has %d items: at most %d are allowed", k.Got, k.Want)
	case *kind.MinProperties:
		return fmt.Sprintf("has %d members: at least %d are needed", k.Got, k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("has %d members: at most %d are allowed", k.Got, k.Want)
	case *kind.UniqueItems:
		return fmt.Sprintf("has the same item at %d and %d: keep one", k.Duplicates[0], k.Duplicates[1])
	}
	return phraseChoice(e)
}

func phraseChoice(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.AnyOf:
		return "fits none of the alternatives (anyOf) of its schema: " + alternatives(e)
	case *kind.OneOf:
		if len(k.Subschemas) > 0 {
			return "fits more than one of the alternatives (oneOf) of its schema: it must fit one"
		}
		return "fits none of the alternatives (oneOf) of its schema: " + alternatives(e)
	case *kind.Not:
		return "is what its schema excludes (not)"
	case *kind.RefCycle:
		return "has a schema that refers to itself without end: mend the schema"
	}
	return "does not hold what its schema says by " + contract.Printable(strings.Join(e.ErrorKind.KeywordPath(), "/"))
}

// alternatives says what the first two of them want.
func alternatives(e *jsonschema.ValidationError) string {
	var texts []string
	for _, cause := range e.Causes[:min(2, len(e.Causes))] {
		leaf := cause
		for len(leaf.Causes) > 0 {
			leaf = leaf.Causes[0]
		}
		texts = append(texts, phrase(leaf))
	}
	return strings.Join(texts, "; or ")
}

func number(n *big.Rat) string {
	value, _ := n.Float64()
	return fmt.Sprint(value)
}

// values shows parts of the schema.
func values(all ...any) string {
	texts := make([]string, len(all))
	for i, v := range all {
		raw, _ := json.Marshal(v) // came as JSON: never fails
		texts[i] = string(raw)
	}
	return contract.Printable(strings.Join(texts, ", "))
}

// names is sorted, since the members of an object have no order.
func names(all []string) string {
	return contract.Printable(strings.Join(slices.Sorted(slices.Values(all)), ", "))
}
