package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/docpages"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/document"
)

// descriptions are the calls that tell what events a resource has: to read them, either grant on it will do.
type descriptions struct {
	store *store.Store
	names rabbit.Names
}

func (d descriptions) register(api huma.API) {
	register(api, operation("list-event-types", http.MethodGet, pathEvents+"/types", "List the types of events that the resource has", http.StatusNotFound), d.types)
	for _, below := range []struct{ path, id, whom string }{{pathEvents, "", "the resource"}, {pathResource, "resource-", "a resource"}} {
		register(api, rendered(below.path+"/asyncapi.json", below.id+"asyncapi", "AsyncAPI 3.0 of "+below.whom+": what is published and what is delivered", document.MediaAsyncAPI), d.asyncAPI)
		register(api, rendered(below.path+"/openapi.json", below.id+"openapi", "OpenAPI 3.1 of "+below.whom+"'s callbacks, as webhooks", document.MediaOpenAPI), d.openAPI)
		register(api, rendered(below.path+"/docs", below.id+"docs", "The events of "+below.whom+" as a page to read: how to publish them, what callbacks have", docpages.Media), d.page)
	}
}

// rendered is an operation that answers with a document of a media type of its own.
func rendered(path, id, summary, media string) huma.Operation {
	op := operation(id, http.MethodGet, path, summary, http.StatusNotFound)
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The document", Content: map[string]*huma.MediaType{media: {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}},
	}}
	return op
}

func (d descriptions) types(ctx context.Context, in *ResourceName) (*listAnswer[typeBody], error) {
	resource, err := d.store.Resource(ctx, in.Resource)
	if err != nil {
		return nil, err
	}
	return &listAnswer[typeBody]{listBody[typeBody]{Items: viewOfTypes(resource.Types)}}, nil
}

type documentAnswer struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

type pageAnswer struct {
	ContentType string `header:"Content-Type"`
	Policy      string `header:"Content-Security-Policy"`
	Referrer    string `header:"Referrer-Policy"`
	Sniffing    string `header:"X-Content-Type-Options"`
	Body        []byte
}

// page shows both documents of a resource.
func (d descriptions) page(ctx context.Context, in *ResourceName) (*pageAnswer, error) {
	answer, err := d.render(ctx, in.Resource, docpages.Media, func(r contract.Resource) ([]byte, error) {
		openAPI, err := document.OpenAPI(r)
		if err != nil {
			return nil, err
		}
		asyncAPI, err := document.AsyncAPI(r, d.names.Events)
		if err != nil {
			return nil, err
		}
		return docpages.Resource(openAPI, asyncAPI)
	})
	if err != nil {
		return nil, err
	}
	return &pageAnswer{docpages.Media, docpages.Policy, "no-referrer", "nosniff", answer.Body}, nil
}

func (d descriptions) asyncAPI(ctx context.Context, in *ResourceName) (*documentAnswer, error) {
	return d.render(ctx, in.Resource, document.MediaAsyncAPI, func(r contract.Resource) ([]byte, error) {
		return document.AsyncAPI(r, d.names.Events)
	})
}

func (d descriptions) openAPI(ctx context.Context, in *ResourceName) (*documentAnswer, error) {
	return d.render(ctx, in.Resource, document.MediaOpenAPI, document.OpenAPI)
}

func (d descriptions) render(ctx context.Context, name, media string, of func(contract.Resource) ([]byte, error)) (*documentAnswer, error) {
	resource, err := d.store.Resource(ctx, name)
	if err != nil {
		return nil, err
	}
	body, err := of(resource)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrDamaged, err)
	}
	return &documentAnswer{media, body}, nil
}
