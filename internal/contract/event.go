package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
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

// EventError is the ErrEvent that knows what is wrong.
type EventError struct{ Faults []Fault }

// Fault is one thing that is wrong with an event.
type Fault struct {
	// Field is the attribute or "data"; "" is the event as a whole. In a batch the event's index is before it: [2].source.
	Field string
	// Message says what to do about it, in one line.
	Message string
}

func (e *EventError) Error() string { return ErrEvent.Error() + ": " + lines(e.Faults) }

// Unwrap makes it an ErrEvent.
func (e *EventError) Unwrap() error { return ErrEvent }

func lines(faults []Fault) string {
	texts := make([]string, len(faults))
	for i, f := range faults {
		texts[i] = strings.TrimPrefix(f.Field+": "+f.Message, ": ")
	}
	return strings.Join(texts, "; ")
}

func refuse(field, format string, args ...any) error {
	return &EventError{[]Fault{{field, fmt.Sprintf(format, args...)}}}
}

// ParseEvent reads a CloudEvent 1.0 from an AMQP message: structured by its content type, binary otherwise. The bytes of
// the data are kept as they came.
func ParseEvent(contentType string, headers map[string]any, body []byte) (*event.Event, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		return nil, refuse("datacontenttype", "content-type %q cannot be read", Printable(contentType))
	}
	if strings.HasPrefix(media, event.ApplicationCloudEventsBatchJSON) {
		return nil, refuse("", "a batch; publish one message per event")
	}
	if media == mediaStructured {
		return ParseStructured(body)
	}
	if strings.HasPrefix(media, "application/cloudevents") {
		return nil, refuse("", "content-type %q; use %s, or the binary mode", Printable(media), mediaStructured)
	}
	e, err := binaryEvent(contentType, headers, body)
	if err != nil {
		return nil, err
	}
	e.DataBase64 = needsBase64(e)
	return checked(e)
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
			return nil, refuse(Printable(attribute), "is there as %s and as %s with another value", AttributePrefix, attributePrefixColon)
		}
		if err := setAttribute(&e, attribute, value); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, refuse("", "send content-type %s, or the attributes as headers %sid, %ssource, %stype, %sspecversion",
			mediaStructured, AttributePrefix, AttributePrefix, AttributePrefix, AttributePrefix)
	}
	if !hasAttribute(headers, "specversion") {
		return nil, refuse("specversion", "is missing: set it to 1.0")
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
	case len(e.DataEncoded) == 0:
		return false
	case isJSON(media):
		return !utf8.Valid(e.DataEncoded) // RFC 8259 forbids it, but few readers mind
	case media == "":
		return !utf8.Valid(e.DataEncoded) || !json.Valid(e.DataEncoded)
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
	switch {
	case err != nil:
		return refuse(Printable(name), "has a type that CloudEvents does not know: use a string, an integer or a boolean")
	case !utf8.ValidString(text):
		return refuse(Printable(name), "is not UTF-8")
	case text == "" && optional[name]:
		return refuse(name, "is empty: leave it out")
	}
	switch name {
	case "specversion":
		if text != event.CloudEventsVersionV1 {
			return refuse(name, "%q is not known: use 1.0", Printable(text))
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
		return setTime(e, text)
	default:
		return setExtension(e, name, plain(value))
	}
	return setError(e)
}

// optional are the attributes that may be missing but not empty (CloudEvents 1.0, section 3.1.2).
var optional = map[string]bool{"subject": true, "dataschema": true, "datacontenttype": true, "time": true}

// setError is what the SDK's setters noted, and clears it: the next attribute is not to blame.
func setError(e *event.Event) error {
	if len(e.FieldErrors) == 0 {
		return nil
	}
	faults := fieldFaults(e.FieldErrors)
	e.FieldErrors = nil
	return &EventError{faults}
}

func setTime(e *event.Event, text string) error {
	at, err := types.ParseTime(text)
	if err != nil {
		return refuse("time", "%q cannot be read: use RFC 3339, e.g. 2026-01-02T15:04:05Z", Printable(text))
	}
	e.SetTime(at)
	return setError(e)
}

func setExtension(e *event.Event, name string, value any) error {
	switch {
	case name == "":
		return refuse("", "an attribute has an empty name")
	case name == memberData:
		return refuse(name, "is no attribute: the body is the data")
	case strings.Trim(name, nameLetters) != "":
		return refuse(Printable(name), "is no name of an attribute: use a to z and 0 to 9")
	}
	if err := e.Context.SetExtension(name, value); err != nil {
		return refuse(name, "%s", oneLine(err))
	}
	return nil
}

// nameLetters are all that a name may have (CloudEvents 1.0, section 3.1); the SDK takes capitals too.
const nameLetters = "abcdefghijklmnopqrstuvwxyz0123456789"

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
	if err := setError(e); err != nil {
		return nil, err
	}
	var invalid event.ValidationError
	if err := e.Validate(); errors.As(err, &invalid) {
		return nil, &EventError{fieldFaults(invalid)}
	} else if err != nil {
		return nil, refuse("", "%s", oneLine(err))
	}
	if contentType := e.DataContentType(); contentType != "" && !strings.Contains(e.DataMediaType(), "/") {
		return nil, refuse("datacontenttype", "%q is no media type: use one of RFC 2046, e.g. application/json", Printable(contentType))
	}
	if mustBeJSON(e) && !json.Valid(e.DataEncoded) {
		return nil, refuse("data", "is not valid JSON though datacontenttype is %q", Printable(e.DataContentType()))
	}
	return e, nil
}

// mustBeJSON: what is said to be JSON is so even as data_base64, which a way in the binary mode would not remember.
func mustBeJSON(e *event.Event) bool {
	return len(e.DataEncoded) > 0 && (isJSON(e.DataMediaType()) || e.DataContentType() == "" && !e.DataBase64)
}

// JSONData reports whether the data is JSON. It follows CloudEvents JSON format 1.0, section 3.1.1: without a datacontenttype
// the data is JSON.
func JSONData(e *event.Event) bool {
	return e.DataContentType() == "" || isJSON(e.DataMediaType())
}

// fieldFaults turns the SDK's errors of fields into faults, sorted by field.
func fieldFaults(errs map[string]error) []Fault {
	faults := make([]Fault, 0, len(errs))
	for _, field := range slices.Sorted(maps.Keys(errs)) {
		text := oneLine(errs[field])
		if text == "REQUIRED" { // all that the SDK says of a source
			text = "MUST be a non-empty URI-reference"
		}
		faults = append(faults, Fault{field, text})
	}
	return faults
}

// oneLine makes a library's error fit for a header: one line, bounded.
func oneLine(err error) string {
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
