package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Bounds of a mailbox where its resource's policy has none, and of what a policy can say.
const (
	DefaultMailboxBytes = 16 << 20
	DefaultMailboxAge   = 7 * 24 * time.Hour
	MinMailboxBytes     = 64 << 10
	MaxMailboxBytes     = 1 << 30
	MinMailboxAge       = time.Second
	MaxMailboxAge       = DefaultMailboxAge // as long as events and records are kept
	// MaxLetters is how many deliveries wait in one mailbox, whatever they weigh.
	MaxLetters = 50_000
)

// MailboxPolicy bounds one mailbox. A zero field is the default.
type MailboxPolicy struct {
	// MaxBytes bounds what waits; what comes then waits at the broker.
	MaxBytes int64 `json:"max_bytes,omitempty"`
	// MaxAge is for how long a delivery waits to be collected before it is given up.
	MaxAge Duration `json:"max_age,omitempty"`
}

// Age is MaxAge or its default.
func (p MailboxPolicy) Age() time.Duration {
	if p.MaxAge > 0 {
		return time.Duration(p.MaxAge)
	}
	return DefaultMailboxAge
}

func (p MailboxPolicy) check() []*FieldError {
	var faults []*FieldError
	if p.MaxBytes != 0 && (p.MaxBytes < MinMailboxBytes || p.MaxBytes > MaxMailboxBytes) {
		faults = append(faults, &FieldError{"mailbox.max_bytes", fmt.Sprintf("must be %d to %d", MinMailboxBytes, MaxMailboxBytes)})
	}
	if d := time.Duration(p.MaxAge); d != 0 && (d < MinMailboxAge || d > MaxMailboxAge) {
		faults = append(faults, &FieldError{"mailbox.max_age", "must be 1s to 168h"})
	}
	return faults
}

// ReasonWaits is the reason of a delivery that is pending since nobody has collected it yet.
const ReasonWaits = "waits to be collected"

// Letter is a delivery in a mailbox: what its consumer gets but for the signature, which is made when it is collected, and the
// command that it came of. There is no secret in it.
type Letter struct {
	Command Command
	// Header are those of the event's format, names in lower case.
	Header map[string]string
	Body   []byte
}

// ErrLetter is wrapped by the refusal of bytes that are no letter.
var ErrLetter = errors.New("not a letter")

// Where the event's data is.
const (
	dataIsBody  = "body"       // the body is the data
	dataInBody  = "structured" // the body is the event in the JSON format
	dataFollows = "apart"      // after the body
)

type letterHead struct {
	Type    string         `json:"type,omitempty"`
	Headers map[string]any `json:"headers"`
}

type letterContent struct {
	Header map[string]string `json:"header"`
	Body   int               `json:"body"` // bytes
	Data   string            `json:"data"`
}

// Encode returns the two parts of a letter: the head, which says whose delivery it is and of which event, and all the rest.
func (l Letter) Encode() (head, content []byte) {
	contentType, headers, data := l.Command.Encode()
	head, _ = json.Marshal(letterHead{contentType, headers}) // texts and numbers: never fails
	meta := letterContent{l.Header, len(l.Body), dataFollows}
	switch {
	case bytes.Equal(data, l.Body):
		meta.Data, data = dataIsBody, nil
	case strings.HasPrefix(l.Header["content-type"], mediaStructured):
		meta.Data, data = dataInBody, nil
	}
	content, _ = json.Marshal(meta)
	content = append(append(content, '\n'), l.Body...)
	return head, append(content, data...)
}

// DecodeLetterHead reads the command of a letter, without the event's data.
func DecodeLetterHead(head []byte) (Command, error) { return decodeHead(head, nil) }

func decodeHead(head, data []byte) (Command, error) {
	var h letterHead
	if err := json.Unmarshal(head, &h); err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrLetter, err)
	}
	for name, value := range h.Headers {
		if n, ok := value.(float64); ok {
			h.Headers[name] = integer(name, n)
		}
	}
	c, err := DecodeCommand(h.Type, h.Headers, data)
	if err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrLetter, err)
	}
	return c, nil
}

// integer makes of JSON's number what Encode had: an attribute's is of CloudEvents' Integer, which has 32 bits.
func integer(name string, n float64) any {
	if strings.HasPrefix(name, AttributePrefix) && n >= math.MinInt32 && n <= math.MaxInt32 {
		return int32(n)
	}
	return int64(n)
}

// DecodeLetter reads what Encode wrote, or returns an error that wraps ErrLetter.
func DecodeLetter(head, content []byte) (Letter, error) {
	first, rest, _ := bytes.Cut(content, []byte("\n"))
	var meta letterContent
	if err := json.Unmarshal(first, &meta); err != nil {
		return Letter{}, fmt.Errorf("%w: %w", ErrLetter, err)
	}
	if meta.Body < 0 || meta.Body > len(rest) {
		return Letter{}, fmt.Errorf("%w: a part of it is missing", ErrLetter)
	}
	body, data := rest[:meta.Body:meta.Body], rest[meta.Body:]
	switch meta.Data {
	case dataIsBody:
		data = body
	case dataInBody:
		e, err := ParseStructured(body)
		if err != nil {
			return Letter{}, fmt.Errorf("%w: %w", ErrLetter, err)
		}
		data = e.Data()
	}
	c, err := decodeHead(head, data)
	return Letter{c, meta.Header, body}, err
}
