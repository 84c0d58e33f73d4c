package catalogue

import (
	"fmt"
	"strings"
	"unicode"
)

// Fault is one place that is refused. Its text never repeats a value of the data.
type Fault struct {
	// At is a JSON pointer (RFC 6901) into a schema, or "data" and a pointer into an event's data, as in data/total.
	At string
	// Message says what is wrong and what would be right, in one line.
	Message string
}

// Faults is an error that names each place, ordered, up to MaxFaults of them.
type Faults struct {
	Places []Fault
	// More is how many further places are not named.
	More int
	// size marks data that is too long, whatever its schema says.
	size bool
}

// MaxFaults is how many places are named one by one.
const MaxFaults = 10

// Error names the first place.
func (f *Faults) Error() string {
	first := f.Places[0]
	text := strings.TrimSpace(first.At + " " + first.Message)
	if rest := len(f.Places) - 1 + f.More; rest > 0 {
		text += fmt.Sprintf(" (and %d more)", rest)
	}
	return text
}

func one(at, format string, args ...any) *Faults {
	return &Faults{Places: []Fault{{shown(at), fmt.Sprintf(format, args...)}}}
}

// pointer adds a step to a JSON pointer.
func pointer(at, step string) string { return at + "/" + escape.Replace(step) }

var escape = strings.NewReplacer("~", "~0", "/", "~1")

// shown makes a pointer fit for a line of text: foreign names may be long, and hold anything.
func shown(at string) string {
	if len(at) > maxPointer {
		at = at[:maxPointer] + "…"
	}
	return strings.Map(plain, strings.ToValidUTF8(at, "?"))
}

func plain(r rune) rune {
	if unicode.IsControl(r) {
		return '?'
	}
	return r
}

// maxPointer is how much of a pointer is shown, in bytes.
const maxPointer = 200
