package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// Prefixes of CloudEvents attributes among AMQP headers. The CloudEvents AMQP binding 1.0 (section 3.1) names both; the first
// is the one that we write.
const (
	AttributePrefix      = "cloudEvents_"
	attributePrefixColon = "cloudEvents:"
)

// MaxEvent is the longest body of an event, in bytes, whichever way it comes.
const MaxEvent = 10 << 20

const mediaStructured = event.ApplicationCloudEventsJSON

// ErrEvent is what every refused event wraps; the text names the attribute and the fix.
var ErrEvent = errors.New("not a CloudEvent")

// ErrJSON is the ErrEvent of a structured event whose body is not JSON at all.
var ErrJSON = fmt.Errorf("%w: the body is not valid JSON", ErrEvent)

// ParseEvent reads a CloudEvent 1.0 from an AMQP message: structured by its content type, binary otherwise. The bytes of
// the data are kept as they came.
func ParseEvent(contentType string, headers map[string]any, body []byte) (*event.Event, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		return nil, fmt.Errorf("%w: content-type %q cannot be read", ErrEvent, Printable(contentType))
	}
	if strings.HasPrefix(media, event.ApplicationCloudEventsBatchJSON) {
		return nil, fmt.Errorf("%w: a batch; publish one message per event", ErrEvent)
	}
	if media == mediaStructured {
		return ParseStructured(body)
	}
	if strings.HasPrefix(media, "application/cloudevents") {
		return nil, fmt.Errorf("%w: content-type %q; use %s, or the binary mode", ErrEvent, Printable(media), mediaStructured)
	}
	e, err := binaryEvent(contentType, headers, body)
	if err != nil {
		return nil, err
	}
	e.DataBase64 = needsBase64(e)
	return checked(e)
}

// ParseStructured reads one event in the JSON format of CloudEvents 1.0.
func ParseStructured(body []byte) (parsed *event.Event, err error) {
	if !json.Valid(body) {
		return nil, ErrJSON
	}
	if nameless(body) {
		return nil, fmt.Errorf("%w: an attribute has an empty name", ErrEvent)
	}
	// The SDK slices a data_base64 that is no string without looking; its panic is a bad event, not a crash of ours.
	defer func() {
		if r := recover(); r != nil {
			parsed, err = nil, fmt.Errorf("%w: data_base64 must be a string of base64", ErrEvent)
		}
	}()
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrEvent, unreadable(body, err))
	}
	return checked(&e)
}

// nameless finds an empty attribute name, at which the SDK stops reading and leaves out what follows.
func nameless(body []byte) bool {
	if !bytes.Contains(body, []byte(`""`)) {
		return false
	}
	var attributes map[string]json.RawMessage
	if json.Unmarshal(body, &attributes) != nil {
		return false // no object: the SDK says so
	}
	_, found := attributes[""]
	return found
}

// unreadable names the attribute that has no type of CloudEvents, which the SDK's error does not.
func unreadable(body []byte, err error) string {
	var attributes map[string]json.RawMessage
	if json.Unmarshal(body, &attributes) != nil {
		return "the body must be one JSON object"
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		value := attributes[name]
		if name != "data" && (value[0] == '{' || value[0] == '[') {
			return fmt.Sprintf("attribute %s must be a string, an integer or a boolean", Printable(name))
		}
	}
	return oneLine(err)
}

// binaryEvent reads the attributes from the headers and takes the body as data, without a look at the data.
func binaryEvent(contentType string, headers map[string]any, body []byte) (*event.Event, error) {
	e := event.New()
	found := false
	for name, value := range headers {
		attribute, ok := attributeName(name)
		if !ok {
			continue
		}
		found = true
		if spelledTwice(headers, name, attribute, value) {
			return nil, fmt.Errorf("%w: attribute %s is there as %s and as %s with another value", ErrEvent, Printable(attribute), AttributePrefix, attributePrefixColon)
		}
		if err := setAttribute(&e, attribute, value); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, fmt.Errorf("%w: send content-type %s, or the attributes as headers %sid, %ssource, %stype, %sspecversion",
			ErrEvent, mediaStructured, AttributePrefix, AttributePrefix, AttributePrefix, AttributePrefix)
	}
	if !hasAttribute(headers, "specversion") {
		return nil, fmt.Errorf("%w: specversion is missing: set it to 1.0", ErrEvent)
	}
	if contentType != "" {
		e.SetDataContentType(contentType)
	}
	if len(body) > 0 {
		e.DataEncoded = body
	}
	return &e, nil
}

// needsBase64 keeps bytes whole in the JSON format: what is neither JSON nor text travels as data_base64.
func needsBase64(e *event.Event) bool {
	switch media := e.DataMediaType(); {
	case len(e.DataEncoded) == 0, isJSON(media):
		return false
	case media == "":
		return !json.Valid(e.DataEncoded)
	case strings.HasPrefix(media, "text/"):
		return !utf8.Valid(e.DataEncoded)
	}
	return true
}

func isJSON(media string) bool {
	media = strings.ToLower(media)
	return media == event.ApplicationJSON || media == event.TextJSON || strings.HasSuffix(media, "+json")
}

func attributeName(header string) (string, bool) {
	for _, prefix := range []string{AttributePrefix, attributePrefixColon} {
		if name, ok := strings.CutPrefix(header, prefix); ok {
			return name, true
		}
	}
	return "", false
}

// spelledTwice: headers have no order, so of two values none is the right one.
func spelledTwice(headers map[string]any, name, attribute string, value any) bool {
	if !strings.HasPrefix(name, attributePrefixColon) {
		return false // found from the other side
	}
	other, twice := headers[AttributePrefix+attribute]
	return twice && fmt.Sprint(other) != fmt.Sprint(value)
}

func hasAttribute(headers map[string]any, attribute string) bool {
	_, one := headers[AttributePrefix+attribute]
	_, other := headers[attributePrefixColon+attribute]
	return one || other
}

func setAttribute(e *event.Event, name string, value any) error {
	text, err := types.Format(plain(value))
	if err != nil {
		return fmt.Errorf("%w: attribute %s has a type that CloudEvents does not know", ErrEvent, Printable(name))
	}
	switch name {
	case "specversion":
		if text != event.CloudEventsVersionV1 {
			return fmt.Errorf("%w: specversion %q: use 1.0", ErrEvent, Printable(text))
		}
	case "source":
		e.SetSource(text)
	case "id", "type", "subject":
		setText(e, name, text)
	case "dataschema":
		e.SetDataSchema(text)
	case "datacontenttype":
		e.SetDataContentType(text)
	case "time":
		at, err := types.ParseTime(text)
		if err != nil {
			return fmt.Errorf("%w: time %q: use RFC 3339, e.g. 2026-01-02T15:04:05Z", ErrEvent, Printable(text))
		}
		e.SetTime(at)
	default:
		if err := e.Context.SetExtension(name, plain(value)); err != nil {
			return fmt.Errorf("%w: extension %s: %s", ErrEvent, Printable(name), oneLine(err))
		}
	}
	if e.FieldErrors != nil {
		return fmt.Errorf("%w: %s", ErrEvent, fieldErrors(e.FieldErrors))
	}
	return nil
}

// setText does without the SDK's setters, which trim white space: an event must not change on its way.
func setText(e *event.Event, name, text string) {
	attributes, ok := e.Context.(*event.EventContextV1)
	switch {
	case !ok: // event.New makes no other
	case name == "id":
		attributes.ID = text
	case name == "type":
		attributes.Type = text
	case text != "":
		attributes.Subject = &text
	}
}

// plain turns AMQP's number types into those that CloudEvents has: a 32-bit integer, or its decimal text.
func plain(value any) any {
	switch v := value.(type) {
	case int8:
		return int32(v)
	case int16:
		return int32(v)
	case uint8:
		return int32(v)
	case uint16:
		return int32(v)
	case int64, uint32, uint64, int, uint:
		return fmt.Sprint(v)
	}
	return value
}

// checked is the last word on every event, whichever way it came.
func checked(e *event.Event) (*event.Event, error) {
	if e.FieldErrors != nil {
		return nil, fmt.Errorf("%w: %s", ErrEvent, fieldErrors(e.FieldErrors))
	}
	if e.SpecVersion() != event.CloudEventsVersionV1 {
		return nil, fmt.Errorf("%w: specversion %q: use 1.0", ErrEvent, Printable(e.SpecVersion()))
	}
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrEvent, oneLine(err))
	}
	if len(e.DataEncoded) > 0 && !e.DataBase64 && JSONData(e) && !json.Valid(e.DataEncoded) {
		return nil, fmt.Errorf("%w: data is not valid JSON though datacontenttype is %q", ErrEvent, e.DataContentType())
	}
	return e, nil
}

// JSONData reports whether the data is JSON. It follows CloudEvents JSON format 1.0, section 3.1.1: without a datacontenttype the data is JSON.
func JSONData(e *event.Event) bool {
	return e.DataContentType() == "" || isJSON(e.DataMediaType())
}

func fieldErrors(errs map[string]error) string {
	lines := make([]string, 0, len(errs))
	for field, err := range errs {
		text := oneLine(err)
		if text == "REQUIRED" { // all that the SDK says of a source
			text = "MUST be a non-empty URI-reference"
		}
		lines = append(lines, field+": "+text)
	}
	sort.Strings(lines)
	return strings.Join(lines, "; ")
}

// oneLine makes a library's error fit for a header: one line, bounded. A ValidationError is sorted by field.
func oneLine(err error) string {
	var fields event.ValidationError
	if errors.As(err, &fields) {
		return fieldErrors(fields)
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}

// EventHeaders returns the attributes of an event as AMQP headers of the binary mode.
func EventHeaders(e *event.Event) map[string]any {
	headers := map[string]any{
		AttributePrefix + "specversion": e.SpecVersion(),
		AttributePrefix + "id":          e.ID(),
		AttributePrefix + "source":      e.Source(),
		AttributePrefix + "type":        e.Type(),
	}
	optional := map[string]string{"subject": e.Subject(), "dataschema": e.DataSchema()}
	if at := e.Time(); !at.IsZero() {
		optional["time"] = at.UTC().Format(time.RFC3339Nano)
	}
	for name, value := range optional {
		if value != "" {
			headers[AttributePrefix+name] = value
		}
	}
	for name, value := range e.Extensions() {
		headers[AttributePrefix+name] = extensionValue(value)
	}
	return headers
}

// extensionValue keeps integers and booleans what they are, so that the JSON format shows them as such again.
func extensionValue(value any) any {
	switch v := value.(type) {
	case int32, bool, string:
		return v
	}
	text, err := types.Format(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return text
}
