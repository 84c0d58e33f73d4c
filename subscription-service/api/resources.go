package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// resources are the admins' calls on what events are about.
type resources struct {
	store     *store.Store
	catalogue *catalogue.Catalogue
}

const (
	pathResources = "/admin/v1/resources"
	pathResource  = pathResources + "/{resource}"
)

func (s resources) register(api huma.API) {
	put := operation("put-resource", http.MethodPut, pathResource, "Create or replace a resource",
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	register(api, put, s.put)
	responses := api.OpenAPI().Paths[pathResource].Put.Responses
	responses["201"] = &huma.Response{Description: "It is new", Content: responses["200"].Content}
	register(api, operation("list-resources", http.MethodGet, pathResources, "List all resources"), s.list)
	register(api, operation("get-resource", http.MethodGet, pathResource, "Get one resource", http.StatusNotFound), s.get)
	register(api, operation("change-resource", http.MethodPatch, pathResource, "Change a resource", http.StatusBadRequest,
		http.StatusNotFound, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType), s.change)
	register(api, operation("delete-resource", http.MethodDelete, pathResource, "Delete a resource that has no subscriptions",
		http.StatusNotFound, http.StatusConflict), s.remove)
}

// typeBody is one type of event, as it is sent and as it is shown.
type typeBody struct {
	Name        string  `json:"name" minLength:"1" maxLength:"150" example:"order.created"`
	Description string  `json:"description,omitempty" maxLength:"500"`
	Schema      *object `json:"schema,omitempty" doc:"JSON Schema of the data, draft 2020-12, without references to other documents; the policy's schema_mode says what it does"`
}

// resourceBody describes a resource.
type resourceBody struct {
	Types  []typeBody      `json:"types,omitempty" maxItems:"200" doc:"the types of events that producers publish"`
	Policy *resourcePolicy `json:"policy,omitempty"`
}

// resourcePatch changes a resource: absent fields stay, null takes a field away.
type resourcePatch struct {
	Types  optional[[]typeBody]     `json:"types,omitzero" maxItems:"200"`
	Policy optional[resourcePolicy] `json:"policy,omitzero" doc:"replaces all; null: none"`
}

// resourceView is a resource as it is shown.
type resourceView struct {
	Name   string          `json:"name"`
	Types  []typeBody      `json:"types" nullable:"false"`
	Policy *resourcePolicy `json:"policy,omitempty"`
}

// Resolve checks what the schema can't say.
func (b *resourceBody) Resolve(_ huma.Context, prefix *huma.PathBuffer) []error {
	at := prefix.With("")
	return append(eventTypeFaults(at, b.Types), b.Policy.faults(at+"policy.")...)
}

// Resolve checks what the schema can't say.
func (p *resourcePatch) Resolve(_ huma.Context, prefix *huma.PathBuffer) []error {
	at := prefix.With("")
	errs := p.Policy.Value.faults(at + "policy.")
	if p.Types.Value == nil {
		return errs
	}
	return append(errs, eventTypeFaults(at, *p.Types.Value)...)
}

func eventTypeFaults(at string, types []typeBody) []error {
	var errs []error
	seen := map[string]bool{}
	for i, t := range types {
		location := fmt.Sprintf("%stypes[%d].name", at, i)
		switch {
		case t.Name == "": // the schema names it
		case seen[t.Name]:
			errs = append(errs, fault(location, "is there twice"))
		case contract.ValidateTypePattern(t.Name) != nil, slices.Contains([]byte(t.Name), '*'):
			errs = append(errs, fault(location, "is not an event type: separate segments of letters, digits, _ or - by dots"))
		}
		seen[t.Name] = true
		if message := schemaFault(t.Schema.raw()); message != "" {
			errs = append(errs, fault(fmt.Sprintf("%stypes[%d].schema", at, i), message))
		}
	}
	return errs
}

// schemaFault leaves what is no object to the API's own schema.
func schemaFault(schema json.RawMessage) string {
	if len(schema) == 0 || schema[0] != '{' {
		return ""
	}
	if _, err := catalogue.Compile(schema); err != nil {
		return err.Error()
	}
	return ""
}

func typesOf(bodies []typeBody) []contract.EventType {
	var types []contract.EventType
	for _, b := range bodies {
		types = append(types, contract.EventType{Name: b.Name, Description: b.Description, Schema: b.Schema.raw()})
	}
	return types
}

func viewOfResource(r contract.Resource) resourceView {
	view := resourceView{Name: r.Name, Types: viewOfTypes(r.Types)}
	if r.Policy != nil {
		view.Policy = &resourcePolicy{RawMessage: r.Policy}
	}
	return view
}

func viewOfTypes(types []contract.EventType) []typeBody {
	views := make([]typeBody, len(types))
	for i, t := range types {
		views[i] = typeBody{t.Name, t.Description, objectOf(t.Schema)}
	}
	return views
}

// ResourceName is the path of one resource.
type ResourceName struct {
	Resource string `path:"resource" maxLength:"63"`
}

type putResourceRequest struct {
	ResourceName
	Body resourceBody
}

type putResourceAnswer struct {
	Status int
	Body   resourceView
}

type resourceAnswer struct{ Body resourceView }

func (s resources) put(ctx context.Context, in *putResourceRequest) (*putResourceAnswer, error) {
	if err := contract.ValidateResource(in.Resource); err != nil {
		return nil, unprocessable(fault("path.resource", err.Error()))
	}
	resource := contract.Resource{Name: in.Resource, Types: typesOf(in.Body.Types), Policy: in.Body.Policy.raw()}
	created, err := s.store.PutResource(ctx, resource)
	if err != nil {
		return nil, err
	}
	s.refresh(ctx)
	answer := &putResourceAnswer{Status: http.StatusOK, Body: viewOfResource(resource)}
	if created {
		answer.Status = http.StatusCreated
	}
	return answer, nil
}

// refresh makes a change hold for the next call to this process. For others it holds within a second, and so it does here if
// this fails.
func (s resources) refresh(ctx context.Context) { _ = s.catalogue.Refresh(ctx) }

func (s resources) list(ctx context.Context, _ *struct{}) (*listAnswer[resourceView], error) {
	all, err := s.store.Resources(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]resourceView, len(all))
	for i, r := range all {
		views[i] = viewOfResource(r)
	}
	return &listAnswer[resourceView]{listBody[resourceView]{Items: views}}, nil
}

func (s resources) get(ctx context.Context, in *ResourceName) (*resourceAnswer, error) {
	resource, err := s.store.Resource(ctx, in.Resource)
	if err != nil {
		return nil, err
	}
	return &resourceAnswer{viewOfResource(resource)}, nil
}

type changeResourceRequest struct {
	ResourceName
	Body resourcePatch
}

func (s resources) change(ctx context.Context, in *changeResourceRequest) (*resourceAnswer, error) {
	resource, err := s.store.ChangeResource(ctx, in.Resource, func(r *contract.Resource) {
		if types := in.Body.Types; types.Sent {
			var bodies []typeBody
			types.apply(&bodies)
			r.Types = typesOf(bodies)
		}
		if policy := in.Body.Policy; policy.Sent {
			r.Policy = policy.Value.raw()
		}
	})
	if err != nil {
		return nil, err
	}
	s.refresh(ctx)
	return &resourceAnswer{viewOfResource(resource)}, nil
}

func (s resources) remove(ctx context.Context, in *ResourceName) (*struct{}, error) {
	return nil, s.store.DeleteResource(ctx, in.Resource)
}
