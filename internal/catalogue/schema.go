package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Bounds of a schema and of the data that it is applied to.
const (
	// MaxSchema is the longest schema, in bytes.
	MaxSchema = 64 << 10
	// MaxDepth is how deep objects and arrays of a schema may be nested.
	MaxDepth = 64
	// MaxValues is how many values the data may have: each may be named in an error.
	MaxValues = 250_000
	// A number is computed with exactly, so one of a few bytes could be gigabytes long.
	maxDigits   = 1000
	maxExponent = 400
)

// dialect is the only one that is taken: draft 2020-12.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// self is the schema's own address. It can't be fetched.
const self = "urn:webhook:schema"

// Schema is a compiled JSON Schema, safe for concurrent use.
type Schema struct {
	compiled *jsonschema.Schema
	work     work
}

// Compile reads a JSON Schema (draft 2020-12). An error is a *Faults, whose pointers lead into the schema.
func Compile(text json.RawMessage) (*Schema, error) {
	if len(text) > MaxSchema {
		return nil, one("", "is longer than %d bytes: make it shorter", MaxSchema)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, one("", "is not valid JSON")
	}
	if faults := (&bounds{depth: MaxDepth}).check(document); faults != nil {
		return nil, faults
	}
	if faults := lint(document); faults != nil {
		return nil, faults
	}
	return compile(document)
}

func compile(document any) (*Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(nowhere{})
	if err := compiler.AddResource(self, document); err != nil {
		return nil, uncompiled(err)
	}
	compiled, err := compiler.Compile(self)
	if err != nil {
		return nil, uncompiled(err)
	}
	most, faults := workOf(compiled)
	if faults != nil {
		return nil, faults
	}
	return &Schema{compiled, most}, nil
}

// nowhere loads nothing.
type nowhere struct{}

var errRemote = errors.New("refers to another document, and none is ever loaded: put it under $defs and refer to it as #/$defs/NAME")

func (nowhere) Load(string) (any, error) { return nil, errRemote }

// uncompiled turns the library's errors, some of which show the schema's own address, into faults.
func uncompiled(err error) error {
	var remote *jsonschema.LoadURLError
	var meta *jsonschema.SchemaValidationError
	var invalid *jsonschema.ValidationError
	switch {
	case errors.As(err, &remote):
		return one("", "%s: %s", contract.Printable(remote.URL), errRemote)
	case errors.As(err, &meta) && errors.As(meta.Err, &invalid):
		return faultsOf(invalid, "")
	}
	return one("", "is not a JSON Schema: %s", contract.Printable(strings.ReplaceAll(err.Error(), self, "")))
}

// lint finds by place what the compiler tells without one, or not at all.
func lint(document any) *Faults {
	var found *Faults
	refuse := func(at, format string, args ...any) {
		if found == nil {
			found = one(at, format, args...)
		}
	}
	if root, ok := document.(map[string]any); ok {
		if named, ok := root["$schema"].(string); ok && strings.TrimSuffix(named, "#") != dialect {
			refuse("/$schema", "is not %s: use that, or leave it out", dialect)
		}
	}
	subschemas(document, "", func(at string, schema map[string]any) {
		lintRef(document, at, schema, refuse)
		lintPatterns(at, schema, refuse)
	})
	return found
}

// lintRef leaves a reference into a part with a name of its own ($id, $anchor) to the compiler.
func lintRef(document any, at string, schema map[string]any, refuse func(at, format string, args ...any)) {
	ref, ok := schema["$ref"].(string)
	if !ok || named(document) {
		return
	}
	switch path, local := strings.CutPrefix(ref, "#"); {
	case ref == dialect: // the library has it
	case !local:
		refuse(pointer(at, "$ref"), "%s", errRemote)
	case !leads(document, path):
		refuse(pointer(at, "$ref"), "leads nowhere: write it as #/$defs/NAME, and have that in the schema")
	}
}

// named tells whether the schema uses names beside JSON pointers, which only a whole reader of JSON Schema can follow.
func named(document any) bool {
	found := false
	subschemas(document, "", func(_ string, schema map[string]any) {
		for _, keyword := range []string{"$id", "$anchor", "$dynamicAnchor", "$dynamicRef"} {
			_, there := schema[keyword]
			found = found || there
		}
	})
	return found
}

// leads follows a JSON pointer.
func leads(document any, path string) bool {
	if path == "" {
		return true
	}
	steps := strings.Split(path, "/")
	if steps[0] != "" {
		return false
	}
	for _, step := range steps[1:] {
		step, err := url.PathUnescape(step) // the pointer is a URL's fragment
		if err != nil {
			return false
		}
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch v := document.(type) {
		case map[string]any:
			next, there := v[step]
			if !there {
				return false
			}
			document = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return false
			}
			document = v[i]
		default:
			return false
		}
	}
	return true
}

const notRE2 = "is not a regular expression of the RE2 syntax: it has neither look-around nor back-references"

func lintPatterns(at string, schema map[string]any, refuse func(at, format string, args ...any)) {
	if text, ok := schema["pattern"].(string); ok {
		if _, err := regexp.Compile(text); err != nil {
			refuse(pointer(at, "pattern"), notRE2)
		}
	}
	patterns, _ := schema["patternProperties"].(map[string]any)
	for text := range patterns {
		if _, err := regexp.Compile(text); err != nil {
			refuse(pointer(pointer(at, "patternProperties"), text), notRE2)
		}
	}
}

// bounds walks a JSON value and counts. It knows where it is, but writes that down only for a fault.
type bounds struct {
	root   string
	depth  int // zero: as deep as encoding/json reads
	values int // zero: any number
	count  int
	path   []step
}

// step leads to a member by its name, or to an item.
type step struct {
	name string
	item int
}

func (b *bounds) check(v any) *Faults {
	b.count++
	switch {
	case b.depth > 0 && len(b.path) > b.depth:
		return one(b.at(), "is nested deeper than %d levels: make it flatter", b.depth)
	case b.values > 0 && b.count > b.values:
		return one(b.root, "has more than %d values, to which no schema is applied: send less, or a link", b.values)
	}
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if faults := b.checkBelow(step{name: name}, value); faults != nil {
				return faults
			}
		}
	case []any:
		for i, value := range v {
			if faults := b.checkBelow(step{item: i}, value); faults != nil {
				return faults
			}
		}
	case json.Number:
		if !computable(string(v)) {
			return one(b.at(), "is a number too large or too long: use at most %d digits and an exponent up to %d", maxDigits, maxExponent)
		}
	}
	return nil
}

func (b *bounds) checkBelow(s step, v any) *Faults {
	b.path = append(b.path, s)
	faults := b.check(v)
	b.path = b.path[:len(b.path)-1]
	return faults
}

func (b *bounds) at() string {
	at := b.root
	for _, s := range b.path[:min(maxPointer, len(b.path))] { // more is not shown
		if s.name == "" {
			s.name = strconv.Itoa(s.item)
		}
		at = pointer(at, s.name)
	}
	return at
}

func computable(number string) bool {
	if len(number) > maxDigits {
		return false
	}
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(number[i+1:])
	return err == nil && math.Abs(float64(exponent)) <= maxExponent
}

// Validate applies the schema to the data of an event. An error is a *Faults.
func (s *Schema) Validate(data []byte) error {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return one("data", "is not valid JSON, which its schema is for")
	}
	counted := &bounds{root: "data", values: MaxValues}
	if faults := counted.check(document); faults != nil {
		return faults
	}
	if faults := s.withinSteps(document, counted.count); faults != nil {
		return faults
	}
	err = s.compiled.Validate(document)
	var invalid *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return faultsOf(invalid, "data")
	}
	return fmt.Errorf("data can't be checked against its schema: %s", contract.Printable(err.Error()))
}
