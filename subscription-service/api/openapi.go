package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/docpages"
)

// Names of the security schemes.
const (
	schemeKey    = "apikey"
	schemeBearer = "bearer"
	schemeAdmin  = "admin"
)

// Tags group the operations by who calls them.
const (
	tagConsumer = "Consumers, through the gateway"
	tagProducer = "Producers, through the gateway"
	tagAnybody  = "Anybody, through the gateway"
	tagAdmin    = "Admins, on the service's own listener"
)

var (
	byConsumer = []map[string][]string{{schemeKey: {}}, {schemeBearer: {}}}
	byAdmin    = []map[string][]string{{schemeAdmin: {}}}
)

// maxJSON is the longest JSON body, in bytes.
const maxJSON = 64 << 10

func init() {
	// The only switch there is for it: a field's name in another case is another field, hence an unknown one.
	huma.ValidateStrictCasing = true
}

func configuration() huma.Config {
	c := huma.DefaultConfig("apisix-webhooks", "1.0.0")
	c.Info.Description = "Subscriptions to events, delivered as webhooks (Standard Webhooks, CloudEvents)."
	// No page from a CDN, no $schema field in answers, and a document that is made once: see serveDocument.
	c.DocsPath, c.OpenAPIPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.Transformers = []huma.Transformer{tidy}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		schemeKey:    {Type: "apiKey", In: "header", Name: "apikey", Description: "an API key of a consumer"},
		schemeBearer: {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "a JWT of a consumer"},
		schemeAdmin:  {Type: "http", Scheme: "bearer", Description: "the admin token"},
	}
	return c
}

// operation fills in what all operations share.
func operation(id, method, path, summary string, errors ...int) huma.Operation {
	op := huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, MaxBodyBytes: maxJSON + 1, // huma refuses at the limit itself
		Errors: append(errors, http.StatusUnauthorized, http.StatusServiceUnavailable), Security: byConsumer, Tags: []string{tagConsumer},
	}
	if isAdmin(method + " " + path) {
		op.Security, op.Tags = byAdmin, []string{tagAdmin}
	}
	return op
}

// describeProblems says of the type of a problem what it can be: huma's own words are about any API.
func describeProblems(document *huma.OpenAPI) {
	problems := document.Components.Schemas.Map()["ErrorModel"]
	if problems == nil {
		return
	}
	of := problems.Properties["type"]
	of.Description, of.Default, of.Examples, of.Enum = "The kind of problem: its address in the catalogue of errors.", nil, []any{contract.KindInvalid.URL()}, nil
	for _, info := range contract.Kinds {
		of.Enum = append(of.Enum, info.Kind.URL())
	}
}

// serveDocument renders the OpenAPI document once, for tools and as a page to read, and serves it without a token.
func serveDocument(mux *http.ServeMux, document *huma.OpenAPI) error {
	asJSON, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("rendering the OpenAPI document: %w", err)
	}
	asYAML, err := document.YAML()
	if err != nil {
		return fmt.Errorf("rendering the OpenAPI document: %w", err)
	}
	page, err := docpages.API(asJSON, "openapi.json", "openapi.yaml")
	if err != nil {
		return err
	}
	mux.HandleFunc("GET /docs", func(w http.ResponseWriter, _ *http.Request) {
		docpages.Headers(w.Header())
		_, _ = w.Write(page) // the client hung up: nobody left to tell
	})
	mux.HandleFunc("GET /openapi.json", static("application/vnd.oai.openapi+json;version=3.1", asJSON))
	mux.HandleFunc("GET /openapi.yaml", static("application/vnd.oai.openapi;version=3.1", asYAML))
	return nil
}

func static(mediaType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(body) // the client hung up: nobody left to tell
	}
}
