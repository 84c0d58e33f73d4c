package api

import (
	"context"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// Expressions choose events and make bodies of them, in CEL. An absent field stays as it is; null takes it away.
type Expressions struct {
	Filter    optional[string] `json:"filter,omitzero" minLength:"1" maxLength:"4096" doc:"CEL over id, source, type, subject, time, extensions, data and the other attributes of an event; true for the events that are wanted. Where the catalogue has a schema, data is of its type; dyn(data) is of any" example:"data.total > 100.0"`
	Transform optional[string] `json:"transform,omitzero" minLength:"1" maxLength:"4096" doc:"CEL that makes the body of the callback, as JSON; with format data alone" example:"{\"id\": data.id, \"total\": data.total}"`
}

// faults are those that can be told without a schema.
func (x *Expressions) faults(at string) []error {
	return expressionFaults(at, deref(x.Filter.Value), deref(x.Transform.Value), nil, "")
}

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func (x *Expressions) apply(sub *contract.Subscription) {
	x.Filter.apply(&sub.Filter)
	x.Transform.apply(&sub.Transform)
}

// rewrites tells whether a patch changes what the expressions are, or what they are checked against.
func (p *subscriptionPatch) rewrites() bool {
	return p.Filter.Sent || p.Transform.Sent || p.Types.Sent || p.Format.Sent
}

// expressionFaults compiles what is there. whose is what the data is known by.
func expressionFaults(at, filter, transform string, data *expr.Data, whose string) []error {
	var errs []error
	add := func(field string, err error) {
		switch {
		case err != nil && whose != "":
			errs = append(errs, fault(at+field, whose+": "+err.Error()))
		case err != nil:
			errs = append(errs, fault(at+field, err.Error()))
		}
	}
	if filter != "" {
		_, err := expr.CompileFilter(filter, data)
		add("filter", err)
	}
	if transform != "" {
		_, err := expr.CompileTransform(transform, data)
		add("transform", err)
	}
	return errs
}

// fits refuses expressions that can't work for the subscription as it would be: in its format, and with the data that its types
// have by the catalogue.
func fits(ctx context.Context, from *store.Store, sub contract.Subscription, at string) error {
	if sub.Transform != "" && sub.Format != contract.FormatData {
		return unprocessable(fault(at+"transform", "makes the body of format data: set format to data, or take transform away"))
	}
	if sub.Filter == "" && sub.Transform == "" {
		return nil
	}
	resource, err := from.Resource(ctx, sub.Resource)
	if err != nil {
		return err
	}
	for _, t := range resource.Types {
		if !contract.MatchesType(sub.Types, t.Name) {
			continue
		}
		if errs := schemaFaults(at, sub, t); len(errs) > 0 {
			return unprocessable(errs...) // other types would say much the same
		}
	}
	return nil
}

// schemaFaults checks against the schema of one type. One that can't be read is the admin's to mend, and forbids nothing.
func schemaFaults(at string, sub contract.Subscription, t contract.EventType) []error {
	if len(t.Schema) == 0 {
		return nil
	}
	data, err := expr.DataOf(t.Schema)
	if err != nil {
		return nil
	}
	return expressionFaults(at, sub.Filter, sub.Transform, data, "by the schema of "+t.Name)
}
