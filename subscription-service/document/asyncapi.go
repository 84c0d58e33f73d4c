package document

import (
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// schemaFormat of the payloads. AsyncAPI's own is a superset of draft 07, which the catalogue's schemas are not in.
const schemaFormat = "application/schema+json;version=2020-12"

// AsyncAPI describes a resource as an AsyncAPI 3.0 document in JSON: what is published on the broker's exchange, and what is
// sent to the callback URLs.
func AsyncAPI(r contract.Resource, exchange string) ([]byte, error) {
	messages, schemas := object{}, object{}
	for _, t := range typesOf(r) {
		data, err := dataSchema(r, t, "#/components/schemas/"+eventName(t)+"/schema/properties/data")
		if err != nil {
			return nil, err
		}
		schemas[eventName(t)] = object{"schemaFormat": schemaFormat, "schema": envelope(t, data)}
		messages[eventName(t)] = message(t)
		messages[callbackName(t)] = message(t)
		messages[callbackName(t)].(object)["traits"] = []object{ref("components/messageTraits/callback")}
	}
	raw, err := json.Marshal(object{
		"asyncapi":           "3.0.0",
		"info":               info(r, "Events of "+r.Name, "Published once on RabbitMQ as CloudEvents, delivered to whoever subscribed as signed callbacks."),
		"defaultContentType": event.ApplicationCloudEventsJSON,
		"channels":           object{"published": published(r, exchange), "callbacks": callbacks(r)},
		"operations":         operations(),
		"components":         object{"messages": messages, "schemas": schemas, "messageTraits": object{"callback": trait()}},
	})
	if err != nil {
		return nil, fmt.Errorf("rendering AsyncAPI: %w", err)
	}
	return raw, nil
}

func message(t contract.EventType) object {
	return object{
		"name": t.Name, "title": t.Name, "summary": summary(t), "contentType": event.ApplicationCloudEventsJSON,
		"payload": ref("components/schemas/" + eventName(t)),
	}
}

func published(r contract.Resource, exchange string) object {
	kind := object{"description": "The type of the event, or anything else: what counts is what stands before it."}
	messages := object{}
	var names []string
	for _, t := range typesOf(r) {
		messages[t.Name] = ref("components/messages/" + eventName(t))
		names = append(names, t.Name)
	}
	if len(r.Types) > 0 {
		kind["examples"] = names
	}
	return object{
		"address": r.Name + ".{type}", "parameters": object{"type": kind}, "messages": messages,
		"description": "CloudEvents 1.0, structured or binary. Publish persistent messages and wait for the broker's confirm.",
		"bindings": object{"amqp": object{
			"is": "routingKey", "bindingVersion": "0.3.0",
			"exchange": object{"name": exchange, "type": "topic", "durable": true, "autoDelete": false},
		}},
	}
}

func callbacks(r contract.Resource) object {
	messages := object{}
	for _, t := range typesOf(r) {
		messages[t.Name] = ref("components/messages/" + callbackName(t))
	}
	return object{"address": nil, "messages": messages, "description": "The callback URL of each subscription; or its mailbox, where it collects by itself (mode pull). Shown is the format cloudevents-structured."}
}

// operations are those of the webhook service.
func operations() object {
	return object{
		"takeEvent": object{"action": "receive", "channel": ref("channels/published"), "summary": "Takes an event that a producer publishes."},
		"sendCallback": object{
			"action": "send", "channel": ref("channels/callbacks"), "summary": "Sends an event to a subscription; any 2xx is success.",
			"bindings": object{"http": object{"method": "POST", "bindingVersion": "0.3.0"}},
		},
	}
}

// trait has the headers of every callback in the format that is shown.
func trait() object {
	properties := object{}
	var required []string
	for _, h := range headers {
		if h.always {
			properties[h.name] = object{"type": h.schema["type"], "description": h.description}
			required = append(required, h.name)
		}
	}
	return object{"headers": object{"type": "object", "properties": properties, "required": required}}
}
