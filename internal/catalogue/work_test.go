package catalogue

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// doubling is a schema of levels, each of which applies the next one twice.
func doubling(levels int, level string) json.RawMessage {
	var defs strings.Builder
	for i := range levels {
		next := fmt.Sprintf(`{"$ref":"#/$defs/l%d"}`, i+1)
		fmt.Fprintf(&defs, `"l%d":%s,`, i, strings.ReplaceAll(level, "NEXT", next))
	}
	return json.RawMessage(fmt.Sprintf(`{"$ref":"#/$defs/l0","$defs":{%s"l%d":{"type":"string"}}}`, defs.String(), levels))
}

func TestASchemaThatIsEndlessWorkForAnyValueIsRefused(t *testing.T) {
	for name, schema := range map[string]json.RawMessage{
		"allOf doubles":            doubling(40, `{"allOf":[NEXT,NEXT]}`),
		"anyOf doubles":            doubling(40, `{"anyOf":[NEXT,NEXT]}`),
		"oneOf doubles":            doubling(40, `{"oneOf":[NEXT,NEXT]}`),
		"not doubles":              doubling(40, `{"not":{"allOf":[NEXT,NEXT]}}`),
		"if doubles":               doubling(40, `{"if":NEXT,"then":NEXT,"else":NEXT}`),
		"dependentSchemas doubles": doubling(40, `{"dependentSchemas":{"a":NEXT,"b":NEXT}}`),
		"a circle":                 json.RawMessage(`{"$ref":"#"}`),
		"a circle of two":          json.RawMessage(`{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"anyOf":[{"$ref":"#"}]}}}`),
		"a dynamic circle":         json.RawMessage(`{"$dynamicAnchor":"a","allOf":[{"$dynamicRef":"#a"}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := Compile(schema)
			require.ErrorContains(t, err, "more than 10000 schemas to one value")
			require.Less(t, time.Since(start), 5*time.Second)
			requireOneLine(t, err)
		})
	}
}

func TestDataThatMakesEndlessWorkOfASchemaIsRefused(t *testing.T) {
	nested := func(open, shut string, depth int) string {
		return strings.Repeat(open, depth) + `1` + strings.Repeat(shut, depth)
	}
	for name, c := range map[string]struct{ schema, data string }{
		"properties double with each level": {
			`{"properties":{"a":{"allOf":[{"$ref":"#"},{"$ref":"#"}]}}}`, nested(`{"a":`, `}`, 60)},
		"items double with each level": {`{"items":{"allOf":[{"$ref":"#"},{"$ref":"#"}]}}`, nested(`[`, `]`, 60)},
		"two ways to one property": {
			`{"properties":{"a":{"$ref":"#"}},"patternProperties":{"^a$":{"$ref":"#"}}}`, nested(`{"a":`, `}`, 60)},
		"what fails doubles too": {
			`{"not":{"properties":{"a":{"$ref":"#/$defs/x"}}},"$defs":{"x":{"properties":{"a":{"anyOf":[{"$ref":"#/$defs/x"},{"$ref":"#/$defs/x"}]}},"required":["b"]}}}`, nested(`{"a":`, `}`, 60)},
		"dynamic references double": {
			`{"$dynamicAnchor":"n","items":{"allOf":[{"$dynamicRef":"#n"},{"$dynamicRef":"#n"}]}}`, nested(`[`, `]`, 60)},
		"many schemas for many values": {
			`{"items":{"allOf":[` + strings.TrimSuffix(strings.Repeat(`{"minimum":0},`, 2000), ",") + `]}}`, "[" + strings.TrimSuffix(strings.Repeat("1,", 10_000), ",") + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			schema, err := Compile(json.RawMessage(c.schema))
			require.NoError(t, err)
			start := time.Now()
			err = schema.Validate([]byte(c.data))
			require.ErrorContains(t, err, "data can't be checked against its schema within 2000000 steps")
			require.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

func TestWorkThatIsNotTooMuchIsDone(t *testing.T) {
	for name, c := range map[string]struct{ schema, data string }{
		"a tree": {
			`{"properties":{"left":{"$ref":"#"},"right":{"$ref":"#"},"value":{"type":"number"}}}`,
			strings.Repeat(`{"right":{"value":1},"left":`, 500) + `{}` + strings.Repeat(`}`, 500)},
		"an order":       {order, `{"id":"1","total":1,"lines":[{"sku":"a"}]}`},
		"many values":    {`{"items":{"type":"number","minimum":0}}`, "[" + strings.TrimSuffix(strings.Repeat("1,", 200_000), ",") + "]"},
		"a chain of ten": {string(doubling(10, `{"allOf":[NEXT]}`)), `"x"`},
		"a few twice":    {string(doubling(10, `{"allOf":[NEXT,NEXT]}`)), `"x"`},
	} {
		t.Run(name, func(t *testing.T) {
			schema, err := Compile(json.RawMessage(c.schema))
			require.NoError(t, err)
			require.NoError(t, schema.Validate([]byte(c.data)))
		})
	}
}

func TestTheStepsOfASmallSchema(t *testing.T) {
	schema, err := Compile(json.RawMessage(`{"properties":{"a":{"items":{"type":"number"}}},"propertyNames":{"maxLength":3},"additionalProperties":{"type":"string"}}`))
	require.NoError(t, err)
	require.Equal(t, 5, schema.work.applied)
	count := &steps{work: schema.work, left: 100}
	require.True(t, count.apply(schema.compiled, map[string]any{"a": []any{1, 2}, "b": "x"}))
	require.Equal(t, 7, 100-count.left, "the object, two names, the list, its two items, and the other member")
}
