package document

import (
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// OpenAPI describes the callbacks of a resource as an OpenAPI 3.1 document in JSON: one webhook for each type of event.
func OpenAPI(r contract.Resource) ([]byte, error) {
	webhooks, schemas := object{}, object{}
	for _, t := range typesOf(r) {
		data, err := dataSchema(r, t, "#/components/schemas/"+dataName(t))
		if err != nil {
			return nil, err
		}
		schemas[dataName(t)] = data
		schemas[eventName(t)] = envelope(t, ref("components/schemas/"+dataName(t)))
		webhooks[t.Name] = object{"post": webhook(t)}
	}
	raw, err := json.Marshal(object{
		"openapi":    "3.1.0",
		"info":       info(r, "Callbacks of "+r.Name, "What the endpoint of a subscription to "+r.Name+" gets."),
		"webhooks":   webhooks,
		"components": object{"schemas": schemas, "parameters": parameters()},
	})
	if err != nil {
		return nil, fmt.Errorf("rendering OpenAPI: %w", err)
	}
	return raw, nil
}

func webhook(t contract.EventType) object {
	var sent []object
	for _, h := range headers {
		sent = append(sent, ref("components/parameters/"+h.name))
	}
	return object{
		"operationId": t.Name, "summary": summary(t), "parameters": sent, "requestBody": requestBody(t),
		"responses": object{
			"2XX":     object{"description": "The event is taken."},
			"410":     object{"description": "The endpoint is gone: the subscription is disabled."},
			"429":     object{"description": "Too fast: the next attempt comes after Retry-After, or on the schedule."},
			"503":     object{"description": "Not now: the next attempt comes after Retry-After, or on the schedule."},
			"default": object{"description": "The next attempt comes on the schedule. Redirects are not followed."},
		},
	}
}

// requestBody has a content for each format; data that is not JSON comes as what it is.
func requestBody(t contract.EventType) object {
	data := object{"schema": ref("components/schemas/" + dataName(t))}
	content := object{
		event.ApplicationCloudEventsJSON: object{"schema": ref("components/schemas/" + eventName(t))},
		event.ApplicationJSON:            data,
	}
	if len(t.Schema) == 0 {
		content["*/*"] = object{}
	}
	return object{
		"description": "The format of the subscription says which: cloudevents-structured is " + event.ApplicationCloudEventsJSON +
			"; cloudevents-binary and data are the data alone, byte for byte.",
		"content": content,
	}
}

func parameters() object {
	all := object{}
	for _, h := range headers {
		all[h.name] = object{"name": h.name, "in": "header", "required": h.always, "description": h.description, "schema": h.schema}
	}
	return all
}
