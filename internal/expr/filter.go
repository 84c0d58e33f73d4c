package expr

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"github.com/cloudevents/sdk-go/v2/event"
)

// Filter chooses events. It is safe for concurrent use.
type Filter struct {
	text    string
	program cel.Program
}

// CompileFilter checks a filter. With data, it is checked against that too; nil means that nothing is known of the data. What it
// refuses is an *Error.
func CompileFilter(text string, data *Data) (*Filter, error) {
	program, result, err := compile(text, data)
	if err != nil {
		return nil, err
	}
	if !result.IsExactType(cel.BoolType) && !result.IsExactType(cel.DynType) {
		return nil, &Error{1, 1, fmt.Sprintf("is of type %s: a filter is true or false", cel.FormatCELType(result))}
	}
	return &Filter{text, program}, nil
}

// Match tells whether the filter is true of an event. An error means that it can't be said: a field that is not there, a type
// that does not fit, or too much work. It wraps ErrEvaluation.
func (f *Filter) Match(v *Vars) (bool, error) {
	value, _, err := f.program.Eval(v)
	if err != nil {
		return false, fmt.Errorf("%w: %s", ErrEvaluation, why(f.text, err))
	}
	is, ok := value.(types.Bool)
	if !ok {
		return false, fmt.Errorf("%w: the result is of type %s, not true or false", ErrEvaluation, value.Type().TypeName())
	}
	return bool(is), nil
}

// Passes compiles a filter and puts it to one event, for who asks once. The error wraps ErrEvaluation, or else is an *Error: the
// text is no filter.
func Passes(text string, e *event.Event) (bool, error) {
	filter, err := CompileFilter(text, nil)
	if err != nil {
		return false, err
	}
	return filter.Match(NewVars(e))
}
