package expr

import (
	"errors"
	"strings"

	"cel.dev/cel-go/interpreter"
)

// ErrEvaluation is what every failed evaluation wraps. The text names fields, and holds no values of the event.
var ErrEvaluation = errors.New("the expression can't be evaluated")

const noSuchKey = "no such key"

// saidAsIs are the failures that CEL describes without values.
var saidAsIs = []string{"no such overload", "division by zero", "modulus by zero", "integer overflow", "unsigned integer overflow",
	"duration overflow", "timestamp overflow", "type conversion error"}

// why describes a failure of an expression. CEL would quote values at times, such as a regular expression that is none.
func why(text string, err error) string {
	message := oneLine(err.Error())
	if cancelled := (interpreter.EvalCancelledError{}); errors.As(err, &cancelled) {
		return "it takes too much work"
	}
	if name, ok := strings.CutPrefix(message, noSuchKey+": "); ok {
		if strings.Contains(text, name) {
			return message
		}
		return noSuchKey // the key is a value of the event
	}
	for _, said := range saidAsIs {
		if strings.HasPrefix(message, said) {
			return said
		}
	}
	if strings.HasPrefix(message, "index out of bounds") || strings.HasPrefix(message, "index '") {
		return "index out of bounds"
	}
	return "a function does not take the value that it is given"
}
