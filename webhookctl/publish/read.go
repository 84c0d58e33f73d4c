// Package publish reads events and sends them, over AMQP or HTTP, in batches that are confirmed one by one.
package publish

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

// Template makes an event of data, and fills in nothing where there is an event.
type Template struct {
	Type, Source, Subject string
	// ID is the event's; with Numbered it is the beginning of the ids of many: ID-1, ID-2, …
	ID       string
	Numbered bool
	// ContentType is that of the data.
	ContentType string
	// Extensions are further attributes.
	Extensions map[string]string
	// Time is when the events happened.
	Time time.Time
}

// Item is an event on its way out.
type Item struct {
	Event *event.Event
	// Number counts the items from 1; Line is where in the input it ends, and End its last byte's place there.
	Number, Line int
	End          int64
}

// Values are the JSON values of a stream: those of an array, or one after the other, as with NDJSON.
type Values struct {
	decoder *json.Decoder
	lines   *lineCounter
	array   bool // between its brackets
	closed  bool // after them
	begun   bool
}

// NewValues reads JSON values.
func NewValues(from io.Reader) *Values {
	lines := &lineCounter{from: from}
	return &Values{decoder: json.NewDecoder(lines), lines: lines}
}

// Next returns a value, the line on which it ends and the place after it; io.EOF after the last one. Of one that is no JSON the line is
// where it begins.
func (v *Values) Next() (raw json.RawMessage, line int, end int64, err error) {
	if err := v.begin(); err != nil {
		return nil, 1, 0, err
	}
	if v.array && !v.decoder.More() {
		if _, err := v.decoder.Token(); err != nil {
			return nil, v.place(), 0, errors.New("the array has no end")
		}
		v.array, v.closed = false, true
	}
	err = v.decoder.Decode(&raw)
	switch {
	case err == nil && v.closed:
		return nil, v.place(), 0, errors.New("there is something after the array")
	case errors.Is(err, io.EOF) && !v.array:
		return nil, 0, 0, io.EOF
	case errors.Is(err, io.EOF):
		return nil, v.place(), 0, errors.New("the array has no end")
	case err != nil:
		return nil, v.place(), 0, fmt.Errorf("it is not JSON: %w", err)
	}
	end = v.decoder.InputOffset()
	return raw, v.lines.lineAt(end), end, nil
}

// place is the line on which the value begins that could not be read.
func (v *Values) place() int {
	at := v.decoder.InputOffset()
	rest, _ := io.ReadAll(v.decoder.Buffered()) // in memory: never fails
	for _, b := range rest {
		if bytes.IndexByte([]byte(" \t\r\n,"), b) < 0 {
			break
		}
		at++
	}
	return v.lines.lineAt(at)
}

// begin finds out whether the values stand in an array.
func (v *Values) begin() error {
	if v.begun {
		return nil
	}
	v.begun = true
	peeked := bufio.NewReader(v.lines.from)
	for {
		first, err := peeked.ReadByte()
		if err != nil {
			return err
		}
		if bytes.IndexByte([]byte(" \t\r\n"), first) < 0 {
			v.array = first == '['
			_ = peeked.UnreadByte() // it was just read
			break
		}
		v.lines.skipped(first)
	}
	v.lines.from = peeked
	if v.array {
		_, err := v.decoder.Token()
		return err
	}
	return nil
}

// lineCounter remembers where lines end, until they have been asked for.
type lineCounter struct {
	from  io.Reader
	at    int64   // bytes that were read
	ends  []int64 // of lines that were read and not asked for
	lines int     // that ended before those
}

func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.ends = append(c.ends, c.at+int64(i))
		}
	}
	c.at += int64(n)
	return n, err
}

// skipped counts what was read past the reader.
func (c *lineCounter) skipped(b byte) {
	if b == '\n' {
		c.lines++
	}
}

// lineAt is the line, from 1, in which a place lies. Places come in order.
func (c *lineCounter) lineAt(place int64) int {
	for len(c.ends) > 0 && c.ends[0] < place {
		c.ends = c.ends[1:]
		c.lines++
	}
	return c.lines + 1
}

// Items makes events of the values: of a CloudEvent in the JSON format itself, of anything else by the template. It leaves out the
// first skip of them, and ends at the first fault.
func Items(values *Values, t Template, skip int) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for number := 1; ; number++ {
			raw, line, end, err := values.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			item := Item{Number: number, Line: line, End: end}
			if err == nil && number > skip {
				item.Event, err = t.event(raw, number)
			}
			if err != nil {
				yield(item, fault(item, err))
				return
			}
			if number > skip && !yield(item, nil) {
				return
			}
		}
	}
}

func fault(at Item, err error) error {
	return exit.With(exit.Invalid, fmt.Errorf("event %d, line %d: %w", at.Number, at.Line, err))
}

// event is what a value means.
func (t Template) event(raw json.RawMessage, number int) (*event.Event, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) == nil && members["specversion"] != nil {
		return contract.ParseStructured(raw)
	}
	return t.Of(raw, number)
}

// ErrNoType is for data without a type to publish it as.
var ErrNoType = errors.New("it is no CloudEvent, which has a specversion; to publish it as the data of one, give --type")

// Of makes an event whose data are these bytes.
func (t Template) Of(data []byte, number int) (*event.Event, error) {
	if t.Type == "" {
		return nil, ErrNoType
	}
	e := event.New()
	e.SetID(t.ID)
	if t.Numbered {
		e.SetID(fmt.Sprintf("%s-%d", t.ID, number))
	}
	e.SetType(t.Type)
	e.SetSource(t.Source)
	e.SetTime(t.Time)
	if t.Subject != "" {
		e.SetSubject(t.Subject)
	}
	for name, value := range t.Extensions {
		e.SetExtension(name, value)
	}
	if len(data) > 0 {
		e.SetDataContentType(t.ContentType)
		e.DataEncoded = data
	}
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("the event's attributes: %w", err)
	}
	return &e, nil
}
