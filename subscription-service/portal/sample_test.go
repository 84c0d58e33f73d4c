package portal

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestASampleIsMadeOfASchema(t *testing.T) {
	for schema, want := range map[string]string{
		`{}`:                     `"text"`,
		`true`:                   `"text"`,
		`{"type":"object"}`:      `{}`,
		`{"const":7}`:            `7`,
		`{"enum":["a","b"]}`:     `"a"`,
		`{"default":false}`:      `false`,
		`{"examples":[{"x":1}]}`: `{"x":1}`,
		`{"type":["null","x"]}`:  `null`,
		`{"properties":{"at":{"format":"date-time"},"n":{"type":"integer","minimum":5},"ok":{"type":"boolean"},"list":{"items":{"type":"number"}}}}`: `{"at":"2026-01-31T12:00:00Z","list":[1],"n":5,"ok":true}`,
		`{"$ref":"#/$defs/a","$defs":{"a":{"oneOf":[{"type":"integer"},{"type":"string"}]}}}`:                                                        `1`,
		`{"allOf":[{"properties":{"a":{"const":1}}},{"properties":{"b":{"const":2}}}]}`:                                                              `{"a":1,"b":2}`,
		`not JSON`: `{}`,
	} {
		got, err := json.Marshal(sampleOf(json.RawMessage(schema)))
		require.NoError(t, err)
		require.JSONEq(t, want, string(got), schema)
	}
}

func TestASchemaWithoutEndMakesASampleWithOne(t *testing.T) {
	properties := make([]string, 200)
	for i := range properties {
		properties[i] = `"` + strings.Repeat("p", i+1) + `":{"$ref":"#/$defs/a"}`
	}
	raw, err := json.Marshal(sampleOf(json.RawMessage(`{"$ref":"#/$defs/a","$defs":{"a":{"properties":{` + strings.Join(properties, ",") + `}}}}`)))
	require.NoError(t, err)
	require.Less(t, len(raw), 1<<20)
}

func TestASampleIsAnEventThatItsTypeTakes(t *testing.T) {
	schema := json.RawMessage(`{"type":"object","required":["total"],"properties":{"total":{"type":"number","minimum":10}}}`)
	f := &form{Values: url.Values{"type": {"order.created"}}, Catalogue: []contract.EventType{{Name: "order.paid"}, {Name: "order.created", Schema: schema}}}
	e, err := contract.ParseStructured([]byte(sampleEvent(f, time.Now())))
	require.NoError(t, err)
	require.Equal(t, "order.created", e.Type())
	compiled, err := catalogue.Compile(schema)
	require.NoError(t, err)
	require.NotNil(t, compiled)

	f = &form{Values: url.Values{"patterns": {"user.*.**"}}}
	e, err = contract.ParseStructured([]byte(sampleEvent(f, time.Now())))
	require.NoError(t, err)
	require.True(t, contract.MatchesType([]string{"user.*.**"}, e.Type()), e.Type())
}
