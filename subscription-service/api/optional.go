package api

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// optional is a field of a JSON Merge Patch (RFC 7396): absent leaves what is there, null takes it away.
type optional[T any] struct {
	Sent  bool
	Value *T
}

// UnmarshalJSON is called only for a field that is there.
func (o *optional[T]) UnmarshalJSON(raw []byte) error {
	o.Sent = true
	if err := json.Unmarshal(raw, &o.Value); err != nil {
		return fmt.Errorf("reading an optional field: %w", err)
	}
	return nil
}

// Schema describes the field as its value.
func (o optional[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// apply changes a field if it was sent; null makes it empty.
func (o optional[T]) apply(to *T) {
	switch {
	case !o.Sent:
	case o.Value == nil:
		*to = *new(T)
	default:
		*to = *o.Value
	}
}

// object is a JSON object that is kept as it came.
type object struct{ json.RawMessage }

// Schema allows any object.
func (object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// raw is nil for an absent or null object.
func (o *object) raw() json.RawMessage {
	if o == nil || string(o.RawMessage) == "null" {
		return nil
	}
	return o.RawMessage
}

func objectOf(raw json.RawMessage) *object {
	if raw == nil {
		return nil
	}
	return &object{raw}
}
