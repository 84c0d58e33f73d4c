package expr

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// Data is what is known of an event's data before there is an event.
type Data struct{ env *cel.Env }

// DataOf reads a JSON Schema (draft 2020-12). Objects that name their properties become types: another field is a mistake, unless
// additionalProperties or patternProperties allow it. What CEL's types can't say is left open: alternatives, conditions,
// references to other documents.
func DataOf(schema json.RawMessage) (*Data, error) {
	var root any
	if err := json.Unmarshal(schema, &root); err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	switch root.(type) {
	case map[string]any, bool:
	default:
		return nil, errors.New("reading the schema: it must be an object, true or false")
	}
	base, err := typed()
	if err != nil {
		return nil, fmt.Errorf("preparing CEL: %w", err)
	}
	r := &reader{root: root, refs: map[string]*types.Type{}, names: map[string]string{}, objects: map[string]object{}}
	options := []cel.EnvOption{cel.Variable("data", r.typeOf(root, "data", 0)),
		cel.CustomTypeProvider(schemaTypes{base.CELTypeProvider(), r.objects})}
	for name := range r.objects {
		options = append(options, objectFunctions(name)...)
	}
	env, err := base.Extend(options...)
	if err != nil {
		return nil, fmt.Errorf("making types of the schema: %w", err)
	}
	return &Data{env}, nil
}

// object is a type of objects: its fields, and whether there may be others.
type object struct {
	fields map[string]*types.Type
	open   bool
}

// schemaTypes adds the objects of a schema to CEL's own types.
type schemaTypes struct {
	types.Provider
	objects map[string]object
}

// FindStructType makes an object known.
func (s schemaTypes) FindStructType(name string) (*types.Type, bool) {
	if _, ok := s.objects[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return s.Provider.FindStructType(name)
}

// FindStructFieldNames lists the fields of an object.
func (s schemaTypes) FindStructFieldNames(name string) ([]string, bool) {
	o, ok := s.objects[name]
	if !ok {
		return s.Provider.FindStructFieldNames(name)
	}
	var fields []string
	for field := range o.fields {
		fields = append(fields, field)
	}
	slices.Sort(fields)
	return fields, true
}

// FindStructFieldType is where a misspelled field is found.
func (s schemaTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	o, ok := s.objects[name]
	if !ok {
		return s.Provider.FindStructFieldType(name, field)
	}
	if is, ok := o.fields[field]; ok {
		return &types.FieldType{Type: is}, true
	}
	return &types.FieldType{Type: types.DynType}, o.open
}

// reader makes types of a schema.
type reader struct {
	root    any
	refs    map[string]*types.Type // nil while one is being read
	names   map[string]string      // of objects, by their schemas
	objects map[string]object
}

// deepest bounds schemas that go on for ever; what is below is left open.
const deepest = 32

// Keywords that say more than a type of CEL can.
var (
	combining = []string{"allOf", "anyOf", "oneOf", "if", "not", "dependentSchemas", "$dynamicRef"}
	widening  = []string{"properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "items", "prefixItems"}
)

func (r *reader) typeOf(schema any, path string, depth int) *types.Type {
	s, ok := schema.(map[string]any)
	switch {
	case !ok || depth > deepest || has(s, combining):
		return types.DynType
	case s["$ref"] != nil:
		return r.refType(s, path, depth)
	case s["const"] != nil:
		return valuesType([]any{s["const"]})
	case s["enum"] != nil:
		values, _ := s["enum"].([]any)
		return valuesType(values)
	}
	switch s["type"] {
	case "string":
		return types.StringType
	case "number", "integer":
		return types.DoubleType
	case "boolean":
		return types.BoolType
	case "array":
		return types.NewListType(r.elementType(s, path, depth))
	case "object":
		return r.objectType(s, path, depth)
	}
	return types.DynType
}

func has(schema map[string]any, keywords []string) bool {
	return slices.ContainsFunc(keywords, func(k string) bool { return schema[k] != nil })
}

// refType follows a reference within the schema. What stands beside the reference may name further fields, so then it is open.
func (r *reader) refType(s map[string]any, path string, depth int) *types.Type {
	ref, _ := s["$ref"].(string)
	target, ok := resolve(r.root, ref)
	if !ok || has(s, widening) {
		return types.DynType
	}
	is, begun := r.refs[ref]
	switch {
	case begun && is != nil:
		return is
	case begun: // it holds itself
		if t, ok := target.(map[string]any); ok && r.names[key(t)] != "" {
			return types.NewObjectType(r.names[key(t)])
		}
		return types.DynType
	}
	r.refs[ref] = nil
	r.refs[ref] = r.typeOf(target, path, depth+1)
	return r.refs[ref]
}

// resolve follows a JSON Pointer (RFC 6901) in the fragment of a reference.
func resolve(root any, ref string) (any, bool) {
	if ref == "#" {
		return root, true
	}
	pointer, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil, false
	}
	at := root
	for token := range strings.SplitSeq(pointer, "/") {
		object, _ := at.(map[string]any)
		if at, ok = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)]; !ok {
			return nil, false
		}
	}
	return at, true
}

func (r *reader) elementType(s map[string]any, path string, depth int) *types.Type {
	if s["prefixItems"] != nil || s["items"] == nil {
		return types.DynType
	}
	return r.typeOf(s["items"], path+"[]", depth+1)
}

func (r *reader) objectType(s map[string]any, path string, depth int) *types.Type {
	properties, _ := s["properties"].(map[string]any)
	more, said := s["additionalProperties"]
	open := said && more != false || has(s, []string{"patternProperties", "unevaluatedProperties"})
	switch {
	case len(properties) == 0 && s["patternProperties"] == nil && said:
		return types.NewMapType(types.StringType, r.typeOf(more, path+"{}", depth+1))
	case len(properties) == 0:
		return types.NewMapType(types.StringType, types.DynType)
	}
	name, ok := r.names[key(s)]
	if ok {
		return types.NewObjectType(name) // equal objects are of one type
	}
	name = r.freeName(path)
	r.names[key(s)] = name
	o := object{fields: map[string]*types.Type{}, open: open}
	r.objects[name] = o // before its fields: they may be like it
	for field, property := range properties {
		o.fields[field] = r.typeOf(property, path+"."+field, depth+1)
	}
	return types.NewObjectType(name)
}

// freeName has characters that no name in an expression has, so that data.customer is always the field.
func (r *reader) freeName(path string) string {
	name := "object(" + path + ")"
	for n := 2; r.objects[name].fields != nil; n++ {
		name = fmt.Sprintf("object(%s %d)", path, n)
	}
	return name
}

func key(schema map[string]any) string {
	text, _ := json.Marshal(schema) // came from JSON: never fails
	return string(text)
}

// valuesType is the one type of all values, if there is one.
func valuesType(values []any) *types.Type {
	var is *types.Type
	for _, value := range values {
		t := types.DynType
		switch value.(type) {
		case string:
			t = types.StringType
		case float64:
			t = types.DoubleType
		case bool:
			t = types.BoolType
		}
		if is != nil && is != t {
			return types.DynType
		}
		is = t
	}
	if is == nil {
		return types.DynType
	}
	return is
}
