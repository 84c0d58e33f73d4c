package expr

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"github.com/cloudevents/sdk-go/v2/event"
)

// Value is what a part of an expression is of one event.
type Value struct {
	Expression string `json:"expression"`
	// JSON is the value, shortened; empty if it is not there.
	JSON string `json:"value,omitempty"`
}

// noEvent has all the variables that an event has.
var noEvent = func() *event.Event { e := event.New(); return &e }()

// mostValues and mostValue bound what Values returns: how many, and the bytes of each.
const mostValues, mostValue = 20, 200

// Values returns the fields that a filter or transform looks at, each once, and what they are of an event: so that one can see
// why it said what it said. It is for people, not for each event.
func Values(text string, v *Vars) []Value {
	env, err := untyped()
	if err != nil {
		return nil
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil
	}
	native, values := checked.NativeRep(), []Value{}
	for _, e := range ast.MatchDescendants(ast.NavigateAST(native), isField) {
		field, err := cel.ExprToString(e, native.SourceInfo())
		known := slices.ContainsFunc(values, func(v Value) bool { return v.Expression == field })
		if err == nil && !known && len(values) < mostValues {
			values = append(values, Value{field, valueOf(field, v)})
		}
	}
	return values
}

// isField: the whole of data.order.total, and not each of its parts.
func isField(e ast.NavigableExpr) bool {
	if parent, ok := e.Parent(); ok && parent.Kind() == ast.SelectKind && !parent.AsSelect().IsTestOnly() {
		return false
	}
	switch e.Kind() {
	case ast.SelectKind:
		return !e.AsSelect().IsTestOnly() && rooted(e.AsSelect().Operand())
	case ast.IdentKind:
		return rooted(e)
	}
	return false
}

// rooted: it begins with one of the event's variables, and not with one of a loop.
func rooted(e ast.Expr) bool {
	for e.Kind() == ast.SelectKind {
		e = e.AsSelect().Operand()
	}
	_, known := (&Vars{event: noEvent, data: func() any { return nil }}).ResolveName(nameOf(e))
	return known
}

func nameOf(e ast.Expr) string {
	if e.Kind() == ast.IdentKind {
		return e.AsIdent()
	}
	return ""
}

func valueOf(field string, v *Vars) string {
	program, _, err := compile(field, nil)
	if err != nil {
		return ""
	}
	value, _, err := program.Eval(v)
	if err != nil {
		return ""
	}
	text, err := appendJSON(nil, value)
	if err != nil {
		return ""
	}
	if len(text) > mostValue {
		return string(text[:mostValue]) + "…"
	}
	return string(text)
}
