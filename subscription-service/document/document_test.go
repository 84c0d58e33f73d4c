package document

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// resources are of every kind: types with and without schemas, references of every sort, none at all.
var resources = map[string]contract.Resource{
	"types": {Name: "orders", Types: []contract.EventType{
		{Name: "order.created", Description: "Somebody \"ordered\".", Schema: json.RawMessage(`{"$schema":"https://json-schema.org/draft/2020-12/schema",
			"type":"object","required":["id"],"properties":{"id":{"type":"string"},"total":{"type":"number","maximum":100.50},"lines":{"items":{"$ref":"#/$defs/line"}},"parent":{"$ref":"#"}},
			"$defs":{"line":{"required":["sku"]}}}`)},
		{Name: "order.anchored", Schema: json.RawMessage(`{"$defs":{"a":{"$anchor":"a","required":["id"]}},"$ref":"#a"}`)},
		{Name: "order.identified", Schema: json.RawMessage(`{"$id":"https://example.com/order","$defs":{"a":{"required":["id"]}},"$ref":"#/$defs/a"}`)},
		{Name: "order-1_A.paid"}, {Name: "event.order.created"}, {Name: "data.order.created"},
	}},
	"no types": {Name: "payments"},
}

// The schemas of both specifications' own projects: spec.openapis.org/oas/3.1/schema/2022-10-07 and AsyncAPI 3.0.0 of
// asyncapi/spec-json-schemas.
func TestTheDocumentsAreValid(t *testing.T) {
	official := map[string]*jsonschema.Schema{"openapi": specification(t, "testdata/openapi-3.1.json"), "asyncapi": specification(t, "testdata/asyncapi-3.0.json")}
	for name, r := range resources {
		for kind, raw := range documents(t, r) {
			t.Run(name+" "+kind, func(t *testing.T) {
				document := decode(t, raw)
				require.NoError(t, official[kind].Validate(document))
				requireReferencesLead(t, document)
				broken := document.(map[string]any)
				delete(broken, "info")
				require.Error(t, official[kind].Validate(broken), "the schema can tell")
			})
		}
	}
}

func specification(t *testing.T, path string) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("urn:test:specification", decode(t, raw)))
	compiled, err := compiler.Compile("urn:test:specification")
	require.NoError(t, err)
	return compiled
}

func documents(t *testing.T, r contract.Resource) map[string][]byte {
	t.Helper()
	openapi, err := OpenAPI(r)
	require.NoError(t, err)
	asyncapi, err := AsyncAPI(r, "webhook.events")
	require.NoError(t, err)
	return map[string][]byte{"openapi": openapi, "asyncapi": asyncapi}
}

func decode(t *testing.T, raw []byte) any {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	return document
}

// requireReferencesLead follows every reference that is a JSON pointer, as tools do that know no JSON Schema.
func requireReferencesLead(t *testing.T, document any) {
	t.Helper()
	raw, err := json.Marshal(document)
	require.NoError(t, err)
	for _, found := range regexp.MustCompile(`"\$ref":"#/((components|channels)/[^"]*)"`).FindAllSubmatch(raw, -1) {
		at := document
		for _, step := range strings.Split(string(found[1]), "/") {
			parent, _ := at.(map[string]any)
			require.Contains(t, parent, step, "%s", found[1])
			at = parent[step]
		}
	}
}

func TestTheSchemasOfTheCatalogueMeanTheSameInsideTheDocuments(t *testing.T) {
	places := map[string]func(eventType string) string{
		"openapi":  func(eventType string) string { return "#/components/schemas/event." + eventType },
		"asyncapi": func(eventType string) string { return "#/components/schemas/event." + eventType + "/schema" },
	}
	const good, bad = `{"specversion":"1.0","id":"1","source":"/shop","type":"TYPE","data":{"id":"1","lines":[{"sku":"a"}]}}`,
		`{"specversion":"1.0","id":"1","source":"/shop","type":"TYPE","data":{"parent":{"lines":[{}]}}}`
	for kind, raw := range documents(t, resources["types"]) {
		for _, eventType := range []string{"order.created", "order.anchored", "order.identified"} {
			t.Run(kind+" "+eventType, func(t *testing.T) {
				compiler := jsonschema.NewCompiler()
				require.NoError(t, compiler.AddResource("urn:test:document", decode(t, raw)))
				schema, err := compiler.Compile("urn:test:document" + places[kind](eventType))
				require.NoError(t, err)
				event := func(text, of string) any { return decode(t, []byte(strings.ReplaceAll(text, "TYPE", of))) }
				require.NoError(t, schema.Validate(event(good, eventType)))
				require.Error(t, schema.Validate(event(bad, eventType)))
				require.Error(t, schema.Validate(event(good, "order.other")))
			})
		}
	}
}

func TestADocumentSaysWhatTheCatalogueSays(t *testing.T) {
	r := resources["types"]
	first := documents(t, r)
	for kind, raw := range first {
		require.Equal(t, string(raw), string(documents(t, r)[kind]), "equal catalogues make equal documents")
		require.Contains(t, string(raw), `Somebody \"ordered\".`)
		require.Contains(t, string(raw), "100.50", "as it was written")
		for _, h := range headers {
			if h.always {
				require.Contains(t, string(raw), `"`+h.name+`"`)
			}
		}
	}
	require.Contains(t, string(first["asyncapi"]), `"webhook.events"`)
	r.Types = r.Types[:1]
	for kind, raw := range documents(t, r) {
		version := func(raw []byte) any { return decode(t, raw).(map[string]any)["info"].(map[string]any)["version"] }
		require.NotEqual(t, version(first[kind]), version(raw))
	}
	r.Types = []contract.EventType{{Name: "a", Schema: json.RawMessage(`{`)}}
	_, err := OpenAPI(r)
	require.ErrorContains(t, err, "schema of a")
	_, err = AsyncAPI(r, "x")
	require.ErrorContains(t, err, "schema of a")
}
