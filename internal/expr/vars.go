package expr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"github.com/cloudevents/sdk-go/v2/event"
	cetypes "github.com/cloudevents/sdk-go/v2/types"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Vars are what expressions see of one event. The data is decoded once, when the first expression asks for it. They are safe
// for concurrent use as long as nobody changes the event.
type Vars struct {
	event *event.Event
	data  func() any
}

// NewVars reads nothing yet.
func NewVars(e *event.Event) *Vars {
	return &Vars{event: e, data: sync.OnceValue(func() any { return decodeData(e) })}
}

// ResolveName makes Vars a cel.Activation.
func (v *Vars) ResolveName(name string) (any, bool) {
	switch name {
	case "data":
		return v.data(), true
	case "id":
		return v.event.ID(), true
	case "source":
		return v.event.Source(), true
	case "type":
		return v.event.Type(), true
	case "subject":
		return v.event.Subject(), true
	case "specversion":
		return v.event.SpecVersion(), true
	case "datacontenttype":
		return v.event.DataContentType(), true
	case "dataschema":
		return v.event.DataSchema(), true
	case "time":
		return v.time(), true
	case "extensions":
		return v.extensions(), true
	}
	return nil, false
}

// Parent makes Vars a cel.Activation.
func (*Vars) Parent() cel.Activation { return nil }

func (v *Vars) time() any {
	at := v.event.Time()
	if at.IsZero() {
		return nil
	}
	return at
}

// extensions have CloudEvents' own types: integers, booleans, and the text of all else.
func (v *Vars) extensions() map[string]any {
	all := make(map[string]any, len(v.event.Extensions()))
	for name, value := range v.event.Extensions() {
		switch value.(type) {
		case string, bool, int32, []byte:
			all[name] = value
		default:
			text, err := cetypes.Format(value)
			if err != nil {
				text = fmt.Sprint(value)
			}
			all[name] = text
		}
	}
	return all
}

func decodeData(e *event.Event) any {
	raw := e.Data()
	if len(raw) == 0 {
		return nil
	}
	if contract.JSONData(e) {
		var decoded any
		if json.Unmarshal(raw, &decoded) == nil {
			return decoded
		}
	}
	if strings.HasPrefix(e.DataMediaType(), "text/") && utf8.Valid(raw) {
		return string(raw)
	}
	return types.Bytes(bytes.Clone(raw))
}
