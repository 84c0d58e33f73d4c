package portal

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// sampleEvent makes an event of the type that the form asks a sample of: the chosen one, or the first that it wants, or the first that
// there is.
func sampleEvent(f *form, now time.Time) string {
	t := sampleType(f)
	event := map[string]any{
		"specversion": "1.0", "id": "sample-1", "source": "/sample", "type": t.Name, "time": now.UTC().Format(time.RFC3339),
		"datacontenttype": "application/json", "data": sampleOf(t.Schema),
	}
	raw, _ := json.MarshalIndent(event, "", "  ") // plain values: never fails
	return string(raw)
}

func sampleType(f *form) contract.EventType {
	for _, wanted := range append([]string{f.Get("sample_type")}, f.Values["type"]...) {
		for _, t := range f.Catalogue {
			if t.Name == wanted {
				return t
			}
		}
	}
	if len(f.Catalogue) > 0 {
		return f.Catalogue[0]
	}
	name := "example.event"
	if types, _ := f.types().([]string); len(types) > 0 {
		name = strings.NewReplacer("**", "event", "*", "event").Replace(types[0])
	}
	return contract.EventType{Name: name}
}

// sampleOf makes a value of a JSON Schema, as far as it is simple: an example that it has, or else something of its type. What it makes
// is for people to change: it may break the schema's finer rules.
func sampleOf(schema json.RawMessage) any {
	var s schemaNode
	if json.Unmarshal(schema, &s) != nil {
		return map[string]any{}
	}
	return (&sampler{root: &s, left: mostSampled}).of(&s, 0)
}

// sampler makes one sample. A schema that refers to itself has no end, so both the depth and the number of values are bounded.
type sampler struct {
	root *schemaNode
	left int
}

const deepest, mostSampled = 6, 1000

// schemaNode is what of a schema a sample is made from.
type schemaNode struct {
	Ref        string                `json:"$ref"`
	Defs       map[string]schemaNode `json:"$defs"`
	Type       any                   `json:"type"`
	Format     string                `json:"format"`
	Examples   []any                 `json:"examples"`
	Default    any                   `json:"default"`
	Const      any                   `json:"const"`
	Enum       []any                 `json:"enum"`
	Minimum    float64               `json:"minimum"`
	Properties map[string]schemaNode `json:"properties"`
	Items      *schemaNode           `json:"items"`
	OneOf      []schemaNode          `json:"oneOf"`
	AnyOf      []schemaNode          `json:"anyOf"`
	AllOf      []schemaNode          `json:"allOf"`
}

// UnmarshalJSON takes true and false, which are schemas too, for ones that say nothing.
func (s *schemaNode) UnmarshalJSON(raw []byte) error {
	type plain schemaNode
	if len(raw) > 0 && raw[0] != '{' {
		return nil
	}
	return json.Unmarshal(raw, (*plain)(s)) //nolint:wrapcheck // the caller's own error
}

func (m *sampler) of(s *schemaNode, depth int) any {
	if m.left--; m.left < 0 || depth > deepest {
		return nil
	}
	if given, ok := s.given(); ok {
		return given
	}
	if next := s.instead(m.root); next != nil {
		return m.of(next, depth+1)
	}
	switch s.kind() {
	case "object":
		return m.object(s, depth)
	case "array":
		if s.Items == nil {
			return []any{}
		}
		return []any{m.of(s.Items, depth+1)}
	case "integer", "number":
		return max(s.Minimum, 1)
	case "boolean":
		return true
	case "null":
		return nil
	}
	return sampleText(s.Format)
}

// given is a value that the schema itself names.
func (s *schemaNode) given() (any, bool) {
	switch {
	case s.Const != nil:
		return s.Const, true
	case len(s.Examples) > 0:
		return s.Examples[0], true
	case s.Default != nil:
		return s.Default, true
	case len(s.Enum) > 0:
		return s.Enum[0], true
	}
	return nil, false
}

// instead is the schema that stands for this one; nil if it stands for itself.
func (s *schemaNode) instead(root *schemaNode) *schemaNode {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		if def, ok := root.Defs[name]; ok {
			return &def
		}
	}
	for _, choice := range [][]schemaNode{s.OneOf, s.AnyOf} {
		if len(choice) > 0 && len(s.Properties) == 0 {
			return &choice[0]
		}
	}
	return nil
}

// kind is the type's name, or what the other keywords say of it.
func (s *schemaNode) kind() string {
	switch t := s.Type.(type) {
	case string:
		return t
	case []any:
		if len(t) > 0 {
			name, _ := t[0].(string)
			return name
		}
	}
	switch {
	case len(s.Properties) > 0, len(s.AllOf) > 0:
		return "object"
	case s.Items != nil:
		return "array"
	}
	return "string"
}

func (m *sampler) object(s *schemaNode, depth int) any {
	made := map[string]any{}
	for _, part := range s.AllOf {
		if fields, ok := m.of(&part, depth+1).(map[string]any); ok {
			maps.Copy(made, fields)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[name]
		made[name] = m.of(&property, depth+1)
	}
	return made
}

// sampleTexts are values of the formats that JSON Schema names.
var sampleTexts = map[string]string{
	"date-time": "2026-01-31T12:00:00Z", "date": "2026-01-31", "time": "12:00:00Z", "email": "somebody@example.com", "uri": "https://example.com/",
	"uuid": "123e4567-e89b-42d3-a456-426614174000", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "hostname": "example.com", "duration": "PT1H",
}

func sampleText(format string) string {
	if text, ok := sampleTexts[format]; ok {
		return text
	}
	return "text"
}
