// Package document describes a resource to machines: AsyncAPI 3.0 says how its events are published and delivered, OpenAPI 3.1
// (with webhooks) what an endpoint gets. Both are made from the catalogue and have its JSON Schemas inside.
package document

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Media types of the documents.
const (
	MediaAsyncAPI = "application/vnd.aai.asyncapi+json;version=3.0.0"
	MediaOpenAPI  = "application/vnd.oai.openapi+json;version=3.1"
)

// object is a JSON object; encoding/json sorts its members, so that equal catalogues make equal documents.
type object = map[string]any

// anyType stands for the types of a resource that lists none.
var anyType = contract.EventType{Name: "any", Description: "An event of any type: the catalogue lists none."}

// typesOf never returns none.
func typesOf(r contract.Resource) []contract.EventType {
	if len(r.Types) == 0 {
		return []contract.EventType{anyType}
	}
	return r.Types
}

// info has a version that changes with the catalogue.
func info(r contract.Resource, title, description string) object {
	raw, _ := json.Marshal([]any{r.Name, r.Types}) // came as JSON: never fails
	sum := sha256.Sum256(raw)
	return object{"title": title, "version": hex.EncodeToString(sum[:6]), "description": description}
}

// Names of components. A type's own name may be anything that another's is with a prefix, so each kind has one.
func eventName(t contract.EventType) string    { return "event." + t.Name }
func dataName(t contract.EventType) string     { return "data." + t.Name }
func callbackName(t contract.EventType) string { return "callback." + t.Name }

func ref(path string) object { return object{"$ref": "#/" + path} }

// envelope is the JSON Schema of a CloudEvent in the JSON format; data is the schema of its data.
func envelope(t contract.EventType, data any) object {
	text := object{"type": "string", "minLength": 1}
	kind := object{"const": t.Name}
	if t.Name == anyType.Name && t.Description == anyType.Description {
		kind = text
	}
	return object{
		"type": "object", "description": summary(t), "required": []string{"specversion", "id", "source", "type"},
		"properties": object{
			"specversion": object{"const": event.CloudEventsVersionV1}, "id": text, "source": object{"type": "string", "format": "uri-reference", "minLength": 1},
			"type": kind, "subject": text, "time": object{"type": "string", "format": "date-time"}, "datacontenttype": text,
			"dataschema": object{"type": "string", "format": "uri"}, "data": data, "data_base64": object{"type": "string", "contentEncoding": "base64"},
		},
	}
}

func summary(t contract.EventType) string {
	return cmp.Or(t.Description, "An event of type "+t.Name+".")
}

// dataSchema is the type's schema as a part of the document at base; any value where it has none.
func dataSchema(r contract.Resource, t contract.EventType, base string) (any, error) {
	if len(t.Schema) == 0 {
		return object{"description": "The catalogue has no schema of this data."}, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(t.Schema))
	decoder.UseNumber() // numbers stay as they were written
	var schema any
	if err := decoder.Decode(&schema); err != nil {
		return nil, fmt.Errorf("reading the schema of %s: %w", t.Name, err)
	}
	catalogue.Rebase(schema, base, "urn:webhook:"+r.Name+":"+t.Name)
	return schema, nil
}

// header of a callback, as every format has it or the binary one alone.
type header struct {
	name, description string
	schema            object
	always            bool
}

var headers = []header{
	{"webhook-id", "The delivery: the same in every attempt and replay.", object{"type": "string"}, true},
	{"webhook-timestamp", "When this attempt began, in seconds since 1970.", object{"type": "string", "pattern": "^[0-9]+$"}, true},
	{"webhook-signature", "Standard Webhooks 1.0: v1,… with base64 of the HMAC-SHA256; two of them, separated by a space, while a secret is rotated.", object{"type": "string"}, true},
	{"traceparent", "W3C Trace Context.", object{"type": "string"}, true},
	{"ce-specversion", "In the format cloudevents-binary.", object{"type": "string"}, false},
	{"ce-id", "In the format cloudevents-binary; with ce-source it names the event.", object{"type": "string"}, false},
	{"ce-source", "In the format cloudevents-binary.", object{"type": "string"}, false},
	{"ce-type", "In the format cloudevents-binary.", object{"type": "string"}, false},
	{"ce-subject", "In the format cloudevents-binary, if the event has one.", object{"type": "string"}, false},
	{"ce-time", "In the format cloudevents-binary, if the event has one.", object{"type": "string"}, false},
}
