package expr_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
)

const orderSchema = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["id", "total"],
	"properties": {
		"id": {"type": "string"}, "total": {"type": "number", "minimum": 0}, "count": {"type": "integer"}, "paid": {"type": "boolean"},
		"at": {"type": "string", "format": "date-time"}, "currency": {"enum": ["EUR", "USD"]}, "mixed": {"enum": ["a", 1]},
		"kind": {"const": "order"}, "note": {"type": ["string", "null"]}, "any": {}, "either": {"oneOf": [{"type": "string"}, {"type": "number"}]},
		"tags": {"type": "array", "items": {"type": "string"}}, "scores": {"type": "array", "items": {"type": "integer"}},
		"pair": {"type": "array", "prefixItems": [{"type": "string"}]},
		"billing": {"$ref": "#/$defs/address"}, "shipping": {"$ref": "#/$defs/address"}, "abroad": {"$ref": "https://example.com/address"},
		"near": {"$ref": "#/$defs/address", "properties": {"extra": {"type": "string"}}},
		"tree": {"$ref": "#/$defs/node"}, "nest": {"$ref": "#/$defs/nest"},
		"labels": {"type": "object", "additionalProperties": {"type": "string"}},
		"free": {"type": "object"},
		"open": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true},
		"some": {"type": "object", "properties": {"a": {"type": "string"}}, "patternProperties": {"^x-": {"type": "string"}}},
		"order-id": {"type": "string"}
	},
	"$defs": {
		"address": {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": false},
		"node": {"type": "object", "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}},
		"nest": {"type": "array", "items": {"$ref": "#/$defs/nest"}}
	}
}`

func TestASchemaFindsMistakes(t *testing.T) {
	data, err := expr.DataOf(json.RawMessage(orderSchema))
	require.NoError(t, err)
	for text, want := range map[string]expr.Error{
		`data.totl > 100.0`:                         {1, 5, "undefined field 'totl'"},
		`data.id == "a" && data.billing.cty == "B"`: {1, 31, "undefined field 'cty'"},
		`data.id > 5`:                               {1, 9, "found no matching overload"},
		`data.total == "5"`:                         {1, 12, "found no matching overload"},
		`data.currency == 5`:                        {1, 15, "found no matching overload"},
		`data.at > time`:                            {1, 9, "found no matching overload"},
		`data.tags.exists(t, t > 5)`:                {1, 23, "found no matching overload"},
		`data.tree.children.exists(c, c.nam == "")`: {1, 31, "undefined field 'nam'"},
		`data.tree.children[0].children[0].x == 1`:  {1, 34, "undefined field 'x'"},
		`data.labels.a == 1`:                        {1, 15, "found no matching overload"},
		`data.open.a == 1`:                          {1, 13, "found no matching overload"},
		`has(data.nothing)`:                         {1, 4, "undefined field 'nothing'"},
		`data.id`:                                   {1, 1, "is of type string"},
		`data.count + 1 == 2`:                       {1, 12, "found no matching overload"},
	} {
		_, err := expr.CompileFilter(text, data)
		var at *expr.Error
		require.ErrorAs(t, err, &at, text)
		require.Contains(t, at.Message, want.Message, text)
		require.Equal(t, []int{want.Line, want.Column}, []int{at.Line, at.Column}, "%s: %s", text, at)
	}
}

func TestASchemaLetsThroughWhatWorks(t *testing.T) {
	data, err := expr.DataOf(json.RawMessage(orderSchema))
	require.NoError(t, err)
	for _, text := range []string{
		`data.total > 100.0`, `data.total > 100`, `data.total == 100`, `100 != data.total`, `data.count in [1, 2]`, `1 in data.scores`,
		`data.count == 1.0`, `data.paid`, `timestamp(data.at) > time`, `data.currency == "EUR"`, `data.currency in ["EUR", "USD"]`,
		`data.mixed == 1 || data.mixed == "a"`, `data.note == null || data.note == "x"`, `data.any.thing.goes`, `data.either == 1`,
		`data.tags.exists(t, t == "a") && size(data.tags) > 1`, `data.pair[0] == 1`, `data.billing == data.shipping`,
		`data.abroad.city == "B"`, `data.near.extra == "x" && data.near.city == "B"`, `data.tree.children.exists(c, c.name == "x")`,
		`data.nest[0][0][0] == data.nest[1]`, `data.labels.a == "b" && "a" in data.labels`, `data.free.x == 1`,
		`data.open.b == 1`, `data.some["x-a"] == "b" && data.some.y == ""`, `data["order-id"] == "7"`, `"order-id" in data`,
		`has(data.billing.city) && dyn(data).exists(k, k == "id")`, `data == {"id": 1}`,
	} {
		_, err := expr.CompileFilter(text, data)
		require.NoError(t, err, text)
	}
	_, err = expr.CompileTransform(`{"id": data.id, "total": data.total, "all": data, "city": data.billing.city}`, data)
	require.NoError(t, err)
	_, err = expr.CompileTransform(`{"id": data.idd}`, data)
	require.EqualError(t, err, "line 1, column 12: undefined field 'idd'")
}

func TestWhatIsCheckedAgainstASchemaRunsOnPlainData(t *testing.T) {
	data, err := expr.DataOf(json.RawMessage(orderSchema))
	require.NoError(t, err)
	for _, text := range []string{`data.total == 250`, `data.total in [1, 250]`, `data["order-id"] == "7"`, `"order-id" in data`, `has(data.total)`} {
		filter, err := expr.CompileFilter(text, data)
		require.NoError(t, err, text)
		is, err := filter.Match(expr.NewVars(orderEvent(order)))
		require.NoError(t, err, text)
		require.True(t, is, text)
	}
}

func TestWhatIsNoSchemaIsAnError(t *testing.T) {
	for _, schema := range []string{``, `5`, `"x"`, `{"a":`} {
		_, err := expr.DataOf(json.RawMessage(schema))
		require.ErrorContains(t, err, "reading the schema", schema)
	}
	for _, schema := range []string{`true`, `false`, `{}`, `{"$ref":"#"}`, `{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`, `{"properties":5,"type":"object"}`,
		`{"$ref":5}`, `{"enum":5}`} {
		data, err := expr.DataOf(json.RawMessage(schema))
		require.NoError(t, err, schema)
		_, err = expr.CompileFilter(`data.a == 1`, data)
		require.NoError(t, err, schema)
	}
}

func FuzzSchema(f *testing.F) {
	f.Add(orderSchema, `data.total > 1`)
	f.Add(`{"$ref":"#/a/b~1c","a":{"b/c":{"anyOf":[{}]}}}`, `data`)
	f.Add(`{"type":"array","items":{"$ref":"#"}}`, `data[0][0]`)
	f.Fuzz(func(_ *testing.T, schema, text string) {
		data, err := expr.DataOf(json.RawMessage(schema))
		if err == nil {
			_, _ = expr.CompileFilter(text, data)
		}
	})
}

func BenchmarkDataOf(b *testing.B) {
	for b.Loop() {
		if _, err := expr.DataOf(json.RawMessage(orderSchema)); err != nil {
			b.Fatal(err)
		}
	}
}
