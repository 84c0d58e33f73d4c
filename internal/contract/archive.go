package contract

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"google.golang.org/protobuf/encoding/protowire"
)

// MediaPack is the content type of a pack.
const MediaPack = "application/x-webhook-pack"

const (
	// MaxPack bounds the events of a pack, so that an event's place in its pack fits into Replay.Next.
	MaxPack = 1000
	// packBytes is about how long a pack may get; an event that is longer has one to itself.
	packBytes = 1 << 20
)

// ErrPack is what every refused pack wraps.
var ErrPack = errors.New("not a pack of archived events")

// Archived is an event as the archive keeps it.
type Archived struct {
	Resource string
	// Taken is when the listener took the event; milliseconds count. Its deliveries came to be then.
	Taken       time.Time
	ContentType string
	// Headers are what EventHeaders gives.
	Headers map[string]any
	// Base64 says that the data travels as data_base64 in the JSON format.
	Base64 bool
	// Body is the data, byte for byte.
	Body []byte
}

// Archive is an event as it goes into the archive. The body shares the event's bytes.
func Archive(e *event.Event, resource string, taken time.Time) Archived {
	return Archived{
		Resource: resource, Taken: taken, ContentType: e.DataContentType(), Headers: EventHeaders(e), Base64: e.DataBase64, Body: e.DataEncoded,
	}
}

// Type is the event's, without a look at the rest.
func (a Archived) Type() string { return text(a.Headers, AttributePrefix+"type") }

// ID is the event's id.
func (a Archived) ID() string { return text(a.Headers, AttributePrefix+"id") }

// Source is the event's source.
func (a Archived) Source() string { return text(a.Headers, AttributePrefix+"source") }

// Event is the event again; an error wraps ErrEvent.
func (a Archived) Event() (*event.Event, error) {
	e, err := binaryEvent(a.ContentType, a.Headers, a.Body)
	if err != nil {
		return nil, err
	}
	e.DataBase64 = a.Base64
	return checked(e)
}

// size is about what the event takes in a pack.
func (a Archived) size() int {
	n := 64 + len(a.Resource) + len(a.ContentType) + len(a.Body)
	for name, value := range a.Headers {
		n += len(name) + 8
		if s, ok := value.(string); ok {
			n += len(s)
		}
	}
	return n
}

// Packs splits events, in order, into what is to be a pack each.
func Packs(events []Archived) iter.Seq[[]Archived] {
	return func(yield func([]Archived) bool) {
		begin, size := 0, 0
		for i, a := range events {
			n := a.size()
			if i > begin && (size+n > packBytes || i-begin == MaxPack) {
				if !yield(events[begin:i]) {
					return
				}
				begin, size = i, 0
			}
			size += n
		}
		if begin < len(events) {
			yield(events[begin:])
		}
	}
}

// A pack is a protocol buffer, so that any tool can read one, and fields may be added:
//
//	message Pack   { repeated Event events = 1; }
//	message Event  { string resource = 1; int64 taken_ms = 2; string content_type = 3; repeated Header headers = 4; bool base64 = 5; bytes body = 6; }
//	message Header { string name = 1; oneof value { string text = 2; bool truth = 3; sint32 small = 4; sint64 wide = 5; bytes raw = 6; bytes time = 7; } }
const (
	packEvents protowire.Number = 1

	eventResource protowire.Number = 1
	eventTaken    protowire.Number = 2
	eventType     protowire.Number = 3
	eventHeaders  protowire.Number = 4
	eventBase64   protowire.Number = 5
	eventBody     protowire.Number = 6

	headerName  protowire.Number = 1
	headerText  protowire.Number = 2
	headerTruth protowire.Number = 3
	headerSmall protowire.Number = 4
	headerWide  protowire.Number = 5
	headerRaw   protowire.Number = 6
	headerTime  protowire.Number = 7 // as time.Time marshals itself
)

// EncodePack returns what DecodePack reads. The same events give the same bytes.
func EncodePack(events []Archived) ([]byte, error) {
	if len(events) == 0 || len(events) > MaxPack {
		return nil, fmt.Errorf("a pack of %d events: 1 to %d are allowed", len(events), MaxPack)
	}
	total := 0
	for _, a := range events {
		total += a.size()
	}
	var e packer
	out := make([]byte, 0, total)
	for _, a := range events {
		if err := e.event(a); err != nil {
			return nil, err
		}
		out = appendBytes(out, packEvents, e.out)
	}
	return out, nil
}

// packer keeps its buffers from event to event.
type packer struct {
	out, header []byte
	names       []string
}

func (p *packer) event(a Archived) error {
	p.out = appendText(p.out[:0], eventResource, a.Resource)
	p.out = appendNumber(p.out, eventTaken, uint64(a.Taken.UnixMilli()))
	p.out = appendText(p.out, eventType, a.ContentType)
	p.names = slices.AppendSeq(p.names[:0], maps.Keys(a.Headers))
	slices.Sort(p.names)
	for _, name := range p.names {
		p.header = appendText(p.header[:0], headerName, name)
		if err := p.value(a.Headers[name]); err != nil {
			return fmt.Errorf("header %s: %w", Printable(name), err)
		}
		p.out = appendBytes(p.out, eventHeaders, p.header)
	}
	if a.Base64 {
		p.out = appendNumber(p.out, eventBase64, 1)
	}
	if len(a.Body) > 0 {
		p.out = appendBytes(p.out, eventBody, a.Body)
	}
	return nil
}

func (p *packer) value(value any) error {
	switch v := value.(type) {
	case string:
		p.header = appendText(p.header, headerText, v)
	case bool:
		p.header = appendNumber(p.header, headerTruth, protowire.EncodeBool(v))
	case int32:
		p.header = appendNumber(p.header, headerSmall, protowire.EncodeZigZag(int64(v)))
	case int64:
		p.header = appendNumber(p.header, headerWide, protowire.EncodeZigZag(v))
	case []byte:
		p.header = appendBytes(p.header, headerRaw, v)
	case time.Time:
		raw, err := v.MarshalBinary()
		p.header = appendBytes(p.header, headerTime, raw)
		return err
	default:
		return fmt.Errorf("values of type %T can't be packed", value)
	}
	return nil
}

func appendText(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func appendNumber(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

// DecodePack reads what EncodePack wrote, or returns an error that wraps ErrPack. The bodies share the pack's bytes.
func DecodePack(contentType string, body []byte) ([]Archived, error) {
	if contentType != MediaPack {
		return nil, fmt.Errorf("%w: content-type %q", ErrPack, Printable(contentType))
	}
	var events []Archived
	err := fields(body, func(n protowire.Number, raw []byte, _ uint64) (err error) {
		if n != packEvents {
			return nil
		}
		if len(events) == MaxPack {
			return fmt.Errorf("more than %d events", MaxPack)
		}
		events = append(events, Archived{})
		return events[len(events)-1].unpack(raw)
	})
	if err == nil && len(events) == 0 {
		err = errors.New("no events")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrPack, oneLine(err))
	}
	return events, nil
}

// fields calls take with each field of a message: its bytes, or its number where it is one.
func fields(message []byte, take func(n protowire.Number, raw []byte, number uint64) error) error {
	for len(message) > 0 {
		n, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return protowire.ParseError(length)
		}
		message = message[length:]
		var raw []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			raw, length = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			number, length = protowire.ConsumeVarint(message)
		default: // none of ours
			length = protowire.ConsumeFieldValue(n, kind, message)
		}
		if length < 0 {
			return protowire.ParseError(length)
		}
		message = message[length:]
		if err := take(n, raw, number); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archived) unpack(message []byte) error {
	a.Taken, a.Headers = time.UnixMilli(0).UTC(), make(map[string]any, 8)
	return fields(message, func(n protowire.Number, raw []byte, number uint64) error {
		switch n {
		case eventResource:
			a.Resource = string(raw)
		case eventTaken:
			a.Taken = time.UnixMilli(int64(number)).UTC() // #nosec G115 -- as it was packed, from an int64
		case eventType:
			a.ContentType = string(raw)
		case eventHeaders:
			return a.unpackHeader(raw)
		case eventBase64:
			a.Base64 = protowire.DecodeBool(number)
		case eventBody:
			if len(raw) > 0 {
				a.Body = raw
			}
		}
		return nil
	})
}

func (a *Archived) unpackHeader(message []byte) error {
	var name string
	var value any
	err := fields(message, func(n protowire.Number, raw []byte, number uint64) (err error) {
		if n == headerName {
			name = string(raw)
			return nil
		}
		value, err = headerValue(n, raw, number)
		return err
	})
	if err == nil && value == nil {
		err = errors.New("no value")
	}
	if err != nil {
		return fmt.Errorf("header %s: %w", Printable(name), err)
	}
	a.Headers[name] = value
	return nil
}

func headerValue(n protowire.Number, raw []byte, number uint64) (any, error) {
	switch n {
	case headerText:
		return string(raw), nil
	case headerTruth:
		return protowire.DecodeBool(number), nil
	case headerSmall:
		return int32(protowire.DecodeZigZag(number)), nil // #nosec G115 -- as it was packed, from an int32
	case headerWide:
		return protowire.DecodeZigZag(number), nil
	case headerRaw:
		return append([]byte{}, raw...), nil
	case headerTime:
		var at time.Time
		err := at.UnmarshalBinary(raw)
		return at, err
	}
	return nil, fmt.Errorf("its kind %d is not known", n)
}
