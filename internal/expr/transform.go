package expr

import (
	"fmt"

	"cel.dev/cel-go/cel"
)

// MaxBody is the longest result of a transform, in bytes.
const MaxBody = 1 << 20

// Transform makes a JSON value of an event. It is safe for concurrent use.
type Transform struct {
	text    string
	program cel.Program
}

// CompileTransform checks a transform. With data, it is checked against that too; nil means that nothing is known of the data.
// What it refuses is an *Error.
func CompileTransform(text string, data *Data) (*Transform, error) {
	program, _, err := compile(text, data)
	if err != nil {
		return nil, err
	}
	return &Transform{text, program}, nil
}

// Apply returns compact JSON with sorted keys. Errors are those of Filter.Match, a result that JSON can't say, and one that is
// longer than MaxBody.
func (t *Transform) Apply(v *Vars) ([]byte, error) {
	value, _, err := t.program.Eval(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrEvaluation, why(t.text, err))
	}
	body, err := appendJSON(nil, value)
	if err != nil {
		return nil, fmt.Errorf("%w: the result %w", ErrEvaluation, err)
	}
	return body, nil
}
