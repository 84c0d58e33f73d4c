package contract

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
)

// MaxBatch is the most events of one batch.
const MaxBatch = 1000

// ErrJSON is the ErrEvent of a structured event or a batch whose body is not JSON at all.
var ErrJSON = fmt.Errorf("%w: the body is not valid JSON in UTF-8", ErrEvent)

const (
	memberData   = "data"
	memberBase64 = "data_base64"
)

// ParseStructured reads one event in the JSON format of CloudEvents 1.0. It does without the SDK's reader, which takes what
// the format forbids (empty and numeric attributes, data twice), refuses what it allows (null, an escaped data_base64), and
// names no attribute. JSON data stays byte for byte as it came.
func ParseStructured(body []byte) (*event.Event, error) {
	members, err := readMembers(body)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(members, func(name string, value json.RawMessage) bool { // null is as good as left out, says section 2.2
		return name != memberData && isNull(value)
	})
	e := event.New()
	if err := setMembers(&e, members); err != nil {
		return nil, err
	}
	if err := setData(&e, members); err != nil {
		return nil, err
	}
	return checked(&e)
}

// readMembers also asks for UTF-8, without which the event could not go on in this format (RFC 8259, section 8.1).
func readMembers(body []byte) (members map[string]json.RawMessage, err error) {
	err = json.Unmarshal(body, &members)
	var broken *json.SyntaxError
	switch {
	case errors.As(err, &broken), !utf8.Valid(body):
		return nil, ErrJSON
	case err != nil, members == nil:
		return nil, refuse("", "the body must be one JSON object")
	}
	return members, nil
}

func isNull(value json.RawMessage) bool { return string(value) == "null" }

// setMembers sets the attributes, and returns what is wrong with any of them.
func setMembers(e *event.Event, members map[string]json.RawMessage) error {
	var faults []Fault
	for name, fix := range required {
		if members[name] == nil {
			faults = append(faults, Fault{name, fix})
		}
	}
	for name, raw := range members {
		if name == memberData || name == memberBase64 {
			continue
		}
		value, err := memberValue(name, raw)
		if err == nil {
			err = setAttribute(e, name, value)
		}
		faults = append(faults, faultsOf(err)...)
	}
	if faults == nil {
		return nil
	}
	slices.SortFunc(faults, func(a, b Fault) int { return strings.Compare(a.Field, b.Field) }) // a map has no order
	return &EventError{faults}
}

// required are the attributes that every event has, and what to say where one is missing.
var required = map[string]string{
	"specversion": "is missing: set it to 1.0",
	"id":          "is missing: set it to a non-empty string",
	"source":      "is missing: set it to a non-empty URI-reference",
	"type":        "is missing: set it to a non-empty string",
}

func faultsOf(err error) []Fault {
	var bad *EventError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad):
		return bad.Faults
	}
	return []Fault{{"", oneLine(err)}}
}

// core are the attributes that CloudEvents 1.0 defines; all of them are strings in JSON.
var core = map[string]bool{
	"specversion": true, "id": true, "source": true, "type": true,
	"subject": true, "time": true, "dataschema": true, "datacontenttype": true,
}

// memberValue reads an attribute's value as a type of CloudEvents (JSON format 1.0, section 2.2).
func memberValue(name string, raw json.RawMessage) (any, error) {
	switch first := raw[0]; {
	case first == '"':
		return jsonText(raw), nil
	case core[name]:
		return nil, refuse(name, "must be a string")
	case first == 't', first == 'f':
		return first == 't', nil
	case first == '{', first == '[':
		return nil, refuse(Printable(name), "must be a string, an integer or a boolean")
	}
	number, err := strconv.ParseInt(string(raw), 10, 32)
	if err != nil {
		return nil, refuse(Printable(name), "must be an integer of 32 bits: send other numbers as strings")
	}
	return int32(number), nil
}

// jsonText is the text of a JSON string that is known to be valid.
func jsonText(raw json.RawMessage) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var text string
	_ = json.Unmarshal(raw, &text) // it was validated with the whole
	return text
}

// setData reads either of the two members of data (JSON format 1.0, section 3.1).
func setData(e *event.Event, members map[string]json.RawMessage) error {
	data, plain := members[memberData]
	encoded, binary := members[memberBase64]
	switch {
	case plain && binary:
		return refuse(memberBase64, "is there beside data: send one of the two")
	case binary:
		return setBase64(e, encoded)
	case plain && JSONData(e):
		e.DataEncoded = data
	case plain && data[0] == '"':
		e.DataEncoded = []byte(jsonText(data))
	case plain && !isNull(data):
		return refuse(memberData, "must be a string where datacontenttype is %q: JSON needs a type of JSON", Printable(e.DataContentType()))
	}
	return nil
}

func setBase64(e *event.Event, raw json.RawMessage) (err error) {
	if raw[0] == '"' {
		e.DataEncoded, err = base64.StdEncoding.DecodeString(jsonText(raw))
	}
	if raw[0] != '"' || err != nil {
		return refuse(memberBase64, "must be a string of base64")
	}
	e.DataBase64 = len(e.DataEncoded) > 0 // no bytes need no form
	return nil
}

// WriteStructured is the event in the JSON format of CloudEvents 1.0. JSON data is written byte for byte: json.Marshal would
// compact it, and the SDK writes that of a +json type as a string.
func WriteStructured(e *event.Event) ([]byte, error) {
	attributes := *e
	attributes.DataEncoded = nil
	var body bytes.Buffer
	body.Grow(len(e.DataEncoded) + 512)
	if err := event.WriteJson(&attributes, &body); err != nil {
		return nil, fmt.Errorf("writing the event's attributes: %w", err)
	}
	if len(e.DataEncoded) == 0 {
		return body.Bytes(), nil
	}
	body.Truncate(body.Len() - 1) // opens the object again
	name, value := dataMember(e)
	body.WriteString(`,"` + name + `":`)
	body.Write(value)
	body.WriteByte('}')
	return body.Bytes(), nil
}

func dataMember(e *event.Event) (name string, value []byte) {
	switch {
	case e.DataBase64:
		return memberBase64, strconv.AppendQuote(nil, base64.StdEncoding.EncodeToString(e.DataEncoded))
	case JSONData(e):
		return memberData, e.DataEncoded
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(string(e.DataEncoded)) // a string always can be
	return memberData, bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// ParseBatch reads events in the JSON batch format of CloudEvents 1.0, section 4: all of them, or none and an EventError that
// names what is wrong with each.
func ParseBatch(body []byte) ([]*event.Event, error) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, ErrJSON
	}
	parts, err := split(body)
	if err != nil {
		return nil, err
	}
	events := make([]*event.Event, len(parts))
	var faults []Fault
	for i, part := range parts {
		events[i], err = ParseStructured(part)
		for _, f := range faultsOf(err) {
			faults = append(faults, Fault{InBatch(i, f.Field), f.Message})
		}
	}
	if faults != nil {
		return nil, &EventError{faults}
	}
	return events, nil
}

// InBatch is the place of a field in a batch: [2].source, or [2] for the event as a whole.
func InBatch(index int, field string) string {
	if field == "" {
		return fmt.Sprintf("[%d]", index)
	}
	return fmt.Sprintf("[%d].%s", index, field)
}

// split takes an array apart; the parts keep their bytes. It stops at MaxBatch, not after millions of zeros.
func split(body []byte) ([]json.RawMessage, error) {
	parts := []json.RawMessage{}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if open, _ := decoder.Token(); open != json.Delim('[') {
		return nil, refuse("", "the body must be a JSON array of events")
	}
	for decoder.More() {
		if len(parts) == MaxBatch {
			return nil, refuse("", "the batch has more than %d events: send several", MaxBatch)
		}
		var part json.RawMessage
		if err := decoder.Decode(&part); err != nil {
			return nil, ErrJSON // it was validated before: nothing else can happen
		}
		parts = append(parts, part)
	}
	return parts, nil
}
