package docpages

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/document"
)

const one = `{"openapi":"3.1.0","info":{"title":"T <b>","description":"about"},
"paths":{"/things/{id}":{"get":{"operationId":"get-thing","tags":["Things"],"summary":"Get it","parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string","maxLength":9}}],
"responses":{"200":{"description":"It","content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}}}}}}},
"components":{"schemas":{"Thing":{"type":"object","required":["name"],"properties":{"name":{"type":"string","description":"<script>alert(1)</script>"},
"inner":{"type":"object","properties":{"depth":{"type":"integer","minimum":1}}},"more":{"type":"array","items":{"$ref":"#/components/schemas/Thing"}},"self":{"$ref":"#/components/schemas/Thing"}}},
"Loop":{"$ref":"#/components/schemas/Loop"}}}}`

func TestAPageShowsEveryCallAndSchemaAndEscapesWhatItIsTold(t *testing.T) {
	raw, err := API([]byte(one), "openapi.json")
	require.NoError(t, err)
	html := string(raw)
	for _, part := range []string{
		"T &lt;b&gt;", "Things", "/things/{id}", "Get it", "length at most 9", `href="#schema-Thing">Thing</a>`, `id="schema-Thing"`, "inner.depth", "at least 1",
		"list of Thing", "&lt;script&gt;", `href="openapi.json"`,
	} {
		require.Contains(t, html, part)
	}
	require.NotContains(t, html, "<script")
}

func TestAPageOfAResourceSaysHowToPublishAndWhatComes(t *testing.T) {
	r := contract.Resource{Name: "orders", Types: []contract.EventType{
		{Name: "order.created", Description: "Somebody ordered.", Schema: json.RawMessage(`{"type":"object","properties":{"total":{"type":"number"},"self":{"$ref":"#"}}}`)}, {Name: "order.paid"},
	}}
	openAPI, err := document.OpenAPI(r)
	require.NoError(t, err)
	asyncAPI, err := document.AsyncAPI(r, "webhook.events")
	require.NoError(t, err)
	raw, err := Resource(openAPI, asyncAPI)
	require.NoError(t, err)
	html := string(raw)
	for _, part := range []string{"webhook.events", "orders.{type}", "order.created", "order.paid", "Somebody ordered.", "webhook-signature", "total", "asyncapi.json", `href="#schema-event.order.created"`} {
		require.Contains(t, html, part)
	}
	for _, m := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(html, -1) {
		require.Contains(t, html, `id="`+m[1]+`"`, "a link leads nowhere")
	}
}

func TestThePolicyKnowsTheStyleAndNothingElse(t *testing.T) {
	h := http.Header{}
	Headers(h)
	policy := h.Get("Content-Security-Policy")
	require.True(t, strings.HasPrefix(policy, "default-src 'none'"))
	require.NotContains(t, policy, "unsafe")
	require.NotContains(t, policy, "script-src")
}

func TestWhatIsNoDocumentIsAnError(t *testing.T) {
	for _, raw := range []string{"", "[]", "x"} {
		_, err := API([]byte(raw))
		require.Error(t, err, raw)
	}
	_, err := API([]byte("{}"))
	require.NoError(t, err)
}

func FuzzAPI(f *testing.F) {
	f.Add([]byte(one))
	f.Fuzz(func(_ *testing.T, raw []byte) { _, _ = API(raw) }) // any document ends, and none makes it fail
}
