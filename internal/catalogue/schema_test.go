package catalogue

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const order = `{"type":"object","required":["id","total"],"additionalProperties":false,"properties":{
	"id":{"type":"string","pattern":"^[0-9]+$"},
	"total":{"type":"number","minimum":0},
	"state":{"enum":["open","paid"]},
	"lines":{"type":"array","items":{"$ref":"#/$defs/line"},"uniqueItems":true}},
	"$defs":{"line":{"type":"object","required":["sku"],"properties":{"sku":{"type":"string","maxLength":3}}}}}`

func TestASchemaThatCanNotBeUsedIsRefusedByPlace(t *testing.T) {
	deep := strings.Repeat(`{"not":`, MaxDepth) + `{"x":{"y":1}}` + strings.Repeat(`}`, MaxDepth)
	for _, c := range []struct{ name, schema, at, says string }{
		{"no JSON", `{"type":`, "", "JSON"},
		{"no schema", `[]`, "", "boolean or object"},
		{"unknown type", `{"properties":{"a/b":{"type":"strin"}}}`, "/properties/a~1b/type", `"string"`},
		{"type of a number", `{"type":5}`, "/type", ""},
		{"negative", `{"maxLength":-1}`, "/maxLength", "at least 0"},
		{"http", `{"properties":{"a":{"$ref":"https://example.com/schema.json"}}}`, "/properties/a/$ref", "#/$defs/NAME"},
		{"file", `{"allOf":[true,{"$ref":"file:///etc/passwd"}]}`, "/allOf/1/$ref", "#/$defs/NAME"},
		{"relative", `{"items":{"$ref":"other.json"}}`, "/items/$ref", "#/$defs/NAME"},
		{"remote behind an identity", `{"$id":"https://example.com/a","items":{"$ref":"b"}}`, "", "#/$defs/NAME"},
		{"remote dynamic reference", `{"items":{"$dynamicRef":"https://example.com/b"}}`, "", "#/$defs/NAME"},
		{"remote dialect", `{"$schema":"https://example.com/dialect"}`, "/$schema", "2020-12"},
		{"another draft", `{"$schema":"http://json-schema.org/draft-07/schema#"}`, "/$schema", "2020-12"},
		{"dialect inside", `{"$defs":{"a":{"$id":"urn:a","$schema":"https://example.com/dialect"}},"$ref":"urn:a"}`, "", "#/$defs/NAME"},
		{"reference to nothing", `{"$ref":"#/$defs/none"}`, "/$ref", "nowhere"},
		{"reference into a list", `{"$ref":"#/allOf/2","allOf":[true]}`, "/$ref", "nowhere"},
		{"anchor to nothing", `{"$anchor":"a","$ref":"#b"}`, "", "b"},
		{"look-ahead", `{"properties":{"a":{"pattern":"(?=x)y"}}}`, "/properties/a/pattern", "RE2"},
		{"back-reference", `{"patternProperties":{"(a)\\1":true}}`, `/patternProperties/(a)\1`, "RE2"},
		{"deep", deep, strings.Repeat("/not", 50) + "…", "deeper"},
		{"long", `{"description":"` + strings.Repeat("x", MaxSchema) + `"}`, "", "longer"},
		{"huge number", `{"maximum":1e999999999}`, "/maximum", "number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile(json.RawMessage(c.schema))
			var faults *Faults
			require.ErrorAs(t, err, &faults)
			require.Equal(t, c.at, faults.Places[0].At, err)
			require.ErrorContains(t, err, c.says)
			requireOneLine(t, err)
			require.NotContains(t, err.Error(), self)
		})
	}
}

func requireOneLine(t testing.TB, err error) {
	t.Helper()
	require.Less(t, len(err.Error()), 600)
	require.NotContains(t, err.Error(), "\n")
}

func TestASchemaMayUseAllOfTheDraftThatNeedsNoOtherDocument(t *testing.T) {
	for _, schema := range []string{
		`true`, `{}`, `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`, order,
		`{"$id":"https://example.com/a","$defs":{"b":{"$id":"b","type":"string"}},"items":{"$ref":"b"}}`,
		`{"$defs":{"b":{"$anchor":"b","type":"string"}},"items":{"$ref":"#b"}}`,
		`{"$dynamicAnchor":"node","properties":{"next":{"$dynamicRef":"#node"}}}`,
		`{"properties":{"$ref":{"type":"string"},"next":{"$ref":"#"}},"default":{"$ref":"http://x"},"const":{"pattern":"(?=x)"}}`,
		`{"properties":{"a/b%c":{"type":"string"}},"items":{"$ref":"#/properties/a~1b%25c"}}`,
		`{"if":{"required":["a"]},"then":{"required":["b"]},"dependentSchemas":{"c":{"minProperties":2}},"unevaluatedProperties":false}`,
		`{"format":"date-time","contentMediaType":"application/json","unknown-keyword":1}`,
	} {
		_, err := Compile(json.RawMessage(schema))
		require.NoError(t, err, schema)
	}
}

func TestDataIsRefusedByPlaceWithoutItsValues(t *testing.T) {
	var schemas Schemas
	for _, c := range []struct{ name, schema, data, at, says string }{
		{"no JSON", order, `{"id":`, "data", "not valid JSON"},
		{"two values", order, `{} {}`, "data", "not valid JSON"},
		{"missing", order, `{"id":"1"}`, "data", "lacks total: add it"},
		{"wrong type", order, `{"id":"1","total":"secret"}`, "data/total", "is of type string: make it number"},
		{"minimum", order, `{"id":"1","total":-4321}`, "data/total", "at least 0"},
		{"pattern", order, `{"id":"secret","total":1}`, "data/id", "^[0-9]+$"},
		{"enum", order, `{"id":"1","total":1,"state":"secret"}`, "data/state", `"open", "paid"`},
		{"unknown member", order, `{"id":"1","total":1,"colour":"secret"}`, "data", "colour"},
		{"through a reference", order, `{"id":"1","total":1,"lines":[{"sku":"a"},{"sku":"secret"}]}`, "data/lines/1/sku", "at most 3"},
		{"twice", order, `{"id":"1","total":1,"lines":[{"sku":"a"},{"sku":"a"}]}`, "data/lines", "0 and 1"},
		{"no alternative", `{"anyOf":[{"type":"string"},{"type":"null"}]}`, `4321`, "data", "anyOf"},
		{"two alternatives", `{"oneOf":[{"type":"number"},{"minimum":1}]}`, `4321`, "data", "more than one"},
		{"excluded", `{"not":{"type":"number"}}`, `4321`, "data", "excludes"},
		{"false", `{"properties":{"a":false}}`, `{"a":4321}`, "data/a", "not allowed"},
		{"constant", `{"const":{"a":[1]}}`, `4321`, "data", `{"a":[1]}`},
		{"multiple", `{"multipleOf":0.01}`, `4321.001`, "data", "0.01"},
		{"needs another", `{"dependentRequired":{"a":["b"]}}`, `{"a":4321}`, "data", "needs b"},
		{"no such item", `{"contains":{"type":"string"}}`, `[4321]`, "data", "contains"},
		{"names", `{"propertyNames":{"maxLength":2}}`, `{"abc":4321}`, "data", "abc"},
		{"escaped", `{"properties":{"a/~b":{"type":"string"}}}`, `{"a/~b":4321}`, "data/a~1~0b", "string"},
		{"huge number", order, `{"id":"1","total":1e999999999}`, "data/total", "exponent"},
		{"tiny number", order, `{"id":"1","total":1e-999999999}`, "data/total", "exponent"},
		{"long number", order, `{"id":"1","total":` + strings.Repeat("9", 1001) + `}`, "data/total", "digits"},
		{"many values", `{"items":{"type":"string"}}`, `[` + strings.Repeat("1,", MaxValues) + `1]`, "data", "values"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := schemas.Validate(json.RawMessage(c.schema), []byte(c.data))
			var faults *Faults
			require.ErrorAs(t, err, &faults)
			require.Equal(t, c.at, faults.Places[0].At, err)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, err.Error(), "4321")
			requireOneLine(t, err)
		})
	}
	require.NoError(t, schemas.Validate(json.RawMessage(order), []byte(`{"id":"1","total":1.50,"state":"paid","lines":[{"sku":"abc"}]}`)))
	require.NoError(t, schemas.Validate(json.RawMessage(`{"maximum":1e30}`), []byte(`100000000000000000000000000001`)))
	require.Error(t, schemas.Validate(json.RawMessage(`{"maximum":1e30}`), []byte(`1000000000000000000000000000001`)), "compared exactly")
}

func TestManyFaultsAreOrderedAndBounded(t *testing.T) {
	schema, err := Compile(json.RawMessage(`{"items":{"type":"string"}}`))
	require.NoError(t, err)
	var faults *Faults
	require.ErrorAs(t, schema.Validate([]byte(`[`+strings.Repeat("1,", 99)+`1]`)), &faults)
	require.Len(t, faults.Places, MaxFaults)
	require.Equal(t, 90, faults.More)
	require.EqualError(t, faults, "data/0 is of type number: make it string (and 99 more)")
}

func TestASchemaThatRefersToItselfEndsTheCheck(t *testing.T) {
	for _, text := range []string{`{"$ref":"#"}`, `{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`} {
		var schemas Schemas
		require.ErrorContains(t, schemas.Validate(json.RawMessage(text), []byte(`1`)), "refers to itself")
	}
}

func TestSchemasAreCompiledOnceAndTheirNumberIsBounded(t *testing.T) {
	var schemas Schemas
	first, err := schemas.of(json.RawMessage(order))
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if schemas.Validate(json.RawMessage(order), []byte(`{"id":"1"}`)) == nil {
					t.Error("taken")
				}
			}
		})
	}
	wg.Wait()
	again, err := schemas.of(json.RawMessage(order))
	require.NoError(t, err)
	require.Same(t, first, again)
	for i := range mostSchemas {
		_, err := schemas.of(json.RawMessage(fmt.Sprintf(`{"minimum":%d}`, i)))
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(schemas.compiled), mostSchemas)
	_, err = schemas.of(json.RawMessage(`{"type":5}`))
	require.Error(t, err)
}

func TestARebasedSchemaMeansTheSameInsideALargerDocument(t *testing.T) {
	for _, text := range []string{
		order,
		`{"$defs":{"b":{"$anchor":"b","type":"object","required":["id"]}},"$ref":"#b"}`,
		`{"properties":{"$ref":{"type":"string"},"lines":{"items":{"$ref":"#"}}},"required":["id"]}`,
		`{"$id":"https://example.com/a","$defs":{"a %\"/~é":{"$anchor":"b","required":["id"]}},"$ref":"#b"}`,
		`{"$id":"https://example.com/a","$defs":{"b":{"$id":"b","required":["id"]}},"$ref":"b"}`,
		`{"$dynamicAnchor":"node","required":["id"],"properties":{"lines":{"items":{"$dynamicRef":"#node"}}}}`,
		`{"$anchor":"root","required":["id"],"properties":{"lines":{"items":{"$ref":"#root"}}}}`,
	} {
		alone, err := Compile(json.RawMessage(text))
		require.NoError(t, err)
		var part any
		require.NoError(t, json.Unmarshal([]byte(text), &part))
		Rebase(part, "#/$defs/components/properties/x", "urn:test:x")
		whole, err := json.Marshal(map[string]any{"$ref": "#/$defs/components/properties/x", "$defs": map[string]any{"components": map[string]any{"properties": map[string]any{"x": part}}}})
		require.NoError(t, err)
		inside, err := Compile(whole)
		require.NoError(t, err, string(whole))
		for _, data := range []string{`{"id":"1","total":1}`, `{}`, `{"id":"1","total":1,"lines":[{"sku":"long"}]}`, `{"id":"1","total":1,"lines":[{}]}`} {
			require.Equal(t, alone.Validate([]byte(data)) == nil, inside.Validate([]byte(data)) == nil, "%s: %s", text, data)
		}
	}
}

// FuzzSchema: whatever is sent as a schema and as data, the answer is a bounded line, and nothing is loaded.
func FuzzSchema(f *testing.F) {
	for _, seed := range [][2]string{
		{order, `{"id":"1","total":1,"lines":[{"sku":"a"}]}`}, {`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#"}}}`, `1`},
		{`{"$ref":"file:///etc/passwd"}`, `{}`}, {`{"pattern":"("}`, `""`}, {`{"multipleOf":0}`, `1e400`}, {`{"multipleOf":1e-400}`, `1`},
		{`{"$id":"a","$anchor":"b","$dynamicRef":"#c"}`, `null`}, {`{"$schema":"a","enum":[1e5,"a",{}]}`, `[[],{}]`}, {`{"$ref":"#/%41~2"}`, `0`},
		{`{"oneOf":[{"not":{}},true],"if":false,"contains":{},"propertyNames":{"maxLength":1}}`, `{"ab":[1,1]}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, schema, data string) {
		compiled, err := Compile(json.RawMessage(schema))
		if err == nil {
			err = compiled.Validate([]byte(data))
		}
		var faults *Faults
		switch {
		case err == nil:
			return
		case !errors.As(err, &faults):
			t.Fatalf("an error of another kind: %v", err)
		case len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\r\n"):
			t.Fatalf("not a bounded line: %q", err)
		}
	})
}
