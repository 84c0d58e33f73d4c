package expr

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

// MaxText is the longest filter or transform, in bytes.
const MaxText = 4096

// Bounds of what an expression may be, and of one evaluation.
const (
	mostNodes    = 2000 // after macros are expanded
	mostNesting  = 50
	mostLoops    = 3         // comprehensions in one another
	mostRegexp   = 1000      // instructions of a compiled regular expression
	mostCost     = 100_000   // CEL's own unit, about one for each step
	mostElements = 4_000_000 // in one value that an evaluation makes
)

// Error is why a text is no filter or transform. Line and Column count from 1, the column in characters.
type Error struct {
	Line, Column int
	Message      string
}

// Error names the place first.
func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// untyped knows nothing of data. It is what expressions run in, whatever schema they were checked against: values are plain
// maps then.
var untyped = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(append(settings(), cel.Variable("data", cel.DynType))...)
})

// settings are what all environments have: every variable but data, and the bounds.
func settings() []cel.EnvOption {
	return []cel.EnvOption{
		cel.Variable("id", cel.StringType), cel.Variable("source", cel.StringType), cel.Variable("type", cel.StringType),
		cel.Variable("subject", cel.StringType), cel.Variable("specversion", cel.StringType),
		cel.Variable("datacontenttype", cel.StringType), cel.Variable("dataschema", cel.StringType),
		cel.Variable("time", cel.TimestampType), cel.Variable("extensions", cel.MapType(cel.StringType, cel.DynType)),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true), cel.EnableIdentifierEscapeSyntax(),
		cel.ParserExpressionSizeLimit(MaxText), cel.ParserRecursionLimit(mostNesting), cel.ExpressionNodeLimit(mostNodes),
		cel.RegexProgramSizeLimit(mostRegexp),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(mostLoops)),
	}
}

// compile checks a text against data, if that is given, and makes it run.
func compile(text string, data *Data) (cel.Program, *cel.Type, error) {
	if len(text) > MaxText {
		return nil, nil, &Error{1, 1, fmt.Sprintf("is longer than %d bytes", MaxText)}
	}
	env, err := untyped()
	if err != nil {
		return nil, nil, fmt.Errorf("preparing CEL: %w", err)
	}
	ast, issues := env.Compile(text)
	if err := firstIssue(issues); err != nil {
		return nil, nil, err
	}
	result := ast.OutputType()
	if data != nil {
		checked, issues := data.env.Compile(text)
		if err := firstIssue(issues); err != nil {
			return nil, nil, err
		}
		result = checked.OutputType()
	}
	program, err := env.Program(ast, programOptions(ast)...)
	if err != nil {
		return nil, nil, &Error{1, 1, err.Error()}
	}
	return program, result, nil
}

// firstIssue is the first in the text: those after it often follow from it.
func firstIssue(issues *cel.Issues) error {
	if issues == nil || len(issues.Errors()) == 0 {
		return nil
	}
	var first *Error
	for _, issue := range issues.Errors() {
		e := &Error{max(1, issue.Location.Line()), max(1, issue.Location.Column()+1), oneLine(issue.Message)}
		if first == nil || e.Line < first.Line || e.Line == first.Line && e.Column < first.Column {
			first = e
		}
	}
	return first
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// programOptions bound an evaluation. Values are counted only where lists are made in loops, for only they grow beyond what text
// and data hold, and beyond what the cost says: a list of lists costs as much as a short one.
func programOptions(checked *cel.Ast) []cel.ProgramOption {
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CostLimit(mostCost)}
	if makesLists(checked.NativeRep()) {
		options = append(options, cel.MemoryLimit(mostElements))
	}
	return options
}

func makesLists(checked *ast.AST) bool {
	loops := ast.MatchDescendants(ast.NavigateAST(checked), ast.KindMatcher(ast.ComprehensionKind))
	for _, loop := range loops {
		if loop.AsComprehension().AccuInit().Kind() == ast.ListKind {
			return true
		}
	}
	return false
}
