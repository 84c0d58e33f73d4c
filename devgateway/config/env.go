package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// variable is `${{NAME}}` or `${{NAME:=default}}`, spaces allowed inside the braces, as APISIX reads it.
var variable = regexp.MustCompile(`(?s)\$\{\{\s*([A-Za-z0-9_]+[:=]?.*?)\s*\}\}`)

// Environment replaces `${{NAME:=default}}` and remembers the names it used: APISIX exports those to its runner.
type Environment struct {
	lookup func(string) (string, bool)
	used   []string
}

// NewEnvironment reads variables through lookup, which is os.LookupEnv in main.
func NewEnvironment(lookup func(string) (string, bool)) *Environment {
	return &Environment{lookup: lookup}
}

// Used lists the variables that were replaced, in the order of their first use.
func (e *Environment) Used() []string { return e.used }

// Lookup reads one variable of the environment.
func (e *Environment) Lookup(name string) (string, bool) { return e.lookup(name) }

// Text replaces every variable in text. A variable that is neither set nor has a default is an error.
func (e *Environment) Text(text string) (string, error) {
	out, _, err := e.replace(text)
	return out, err
}

// Tree replaces variables in a parsed document, in keys and values. A value that held a variable turns into a
// number or a boolean when it reads as one.
func (e *Environment) Tree(node any) (any, error) {
	switch v := node.(type) {
	case map[string]any:
		return e.mapping(v)
	case []any:
		return e.sequence(v)
	case string:
		return e.scalar(v)
	default:
		return node, nil
	}
}

func (e *Environment) mapping(in map[string]any) (any, error) {
	out := make(map[string]any, len(in))
	for key, val := range in {
		k, err := e.Text(key)
		if err != nil {
			return nil, err
		}
		if out[k], err = e.Tree(val); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (e *Environment) sequence(in []any) (any, error) {
	out := make([]any, len(in))
	for i, val := range in {
		var err error
		if out[i], err = e.Tree(val); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (e *Environment) scalar(in string) (any, error) {
	out, replaced, err := e.replace(in)
	if err != nil || !replaced {
		return out, err
	}
	return coerce(out), nil
}

func coerce(s string) any {
	trimmed := strings.TrimSpace(s)
	if n, err := strconv.Atoi(trimmed); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(trimmed, 64); err == nil {
		return f
	}
	switch s {
	case "true":
		return true
	case "false":
		return false
	}
	return s
}

func (e *Environment) replace(text string) (string, bool, error) {
	var missing []string
	replaced := false
	out := variable.ReplaceAllStringFunc(text, func(match string) string {
		name, fallback, hasDefault := strings.Cut(variable.FindStringSubmatch(match)[1], ":=")
		value, set := e.lookup(name)
		switch {
		case set:
		case hasDefault:
			value = strings.TrimSpace(fallback)
		default:
			missing = append(missing, name)
			return ""
		}
		replaced = true
		e.remember(name)
		return value
	})
	if len(missing) > 0 {
		return "", false, fmt.Errorf("the environment variable %s is not set and has no default: set it or write ${{%s:=default}}",
			strings.Join(missing, ", "), missing[0])
	}
	return out, replaced, nil
}

func (e *Environment) remember(name string) {
	for _, known := range e.used {
		if known == name {
			return
		}
	}
	e.used = append(e.used, name)
}
