package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// source is a struct of the code whose fields are read from the environment.
type source struct {
	// reader is the process, as the page names it.
	reader, folder, structure string
}

// everyService stands first, for it covers the ones after it.
const everyService = "every service"

var sources = []source{
	{everyService, "internal/service", "base"},
	{"subscription-service", "subscription-service/cmd/subscription-service", "config"},
	{"event-listener", "subscription-service/cmd/event-listener", "config"},
	{"callback-service", "callback-service", "config"},
	{"runner", "plugins", "environment"},
	{"runner", "plugins", "logging"},
	{"runner", "plugins", "spans"},
	{"rekey", "subscription-service/cmd/rekey", "config"},
}

// nested are the structs whose variables have their field's prefix.
var nested = map[string]source{
	"tlsconf.Files":       {"", "internal/tlsconf", "Files"},
	"tlsconf.ServerFiles": {"", "internal/tlsconf", "ServerFiles"},
	"tracing.Config":      {"", "internal/tracing", "Config"},
}

// variable is one variable as one process reads it.
type variable struct {
	name, reader, value, unset, about string
	required                          bool
}

// read returns the variables of a struct in the order of its fields. prefix and about are those of the field that it is in.
func (s source) read(root, prefix, about string) ([]variable, error) {
	fields, err := fieldsOf(filepath.Join(root, s.folder), s.structure)
	if err != nil {
		return nil, err
	}
	var all []variable
	for _, f := range fields {
		found, err := s.field(root, prefix, about, f)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (s source) field(root, prefix, about string, f *ast.Field) ([]variable, error) {
	if f.Tag == nil {
		return nil, nil // the tests' own
	}
	text, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return nil, fmt.Errorf("%s.%s: %w", s.folder, s.structure, err)
	}
	tag, kind := reflect.StructTag(text), typeName(f.Type)
	if inner, ok := tag.Lookup("envPrefix"); ok {
		of, known := nested[kind]
		if !known {
			return nil, fmt.Errorf("%s.%s: what %s is has to be said in nested", s.folder, s.structure, kind)
		}
		of.reader = s.reader
		return of.read(root, prefix+inner, comment(f))
	}
	name, options, _ := strings.Cut(tag.Get("env"), ",")
	return []variable{{
		prefix + name, s.reader, kind, tag.Get("envDefault"), strings.TrimSpace(about + " " + comment(f)),
		strings.Contains(options, "required"),
	}}, nil
}

// fieldsOf finds a struct in the files of a folder.
func fieldsOf(folder, structure string) ([]*ast.Field, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		if object := parsed.Scope.Lookup(structure); object != nil {
			if spec, ok := object.Decl.(*ast.TypeSpec); ok {
				if found, ok := spec.Type.(*ast.StructType); ok {
					return found.Fields.List, nil
				}
			}
		}
	}
	return nil, fmt.Errorf("there is no struct %s in %s", structure, folder)
}

func comment(f *ast.Field) string { return strings.Join(strings.Fields(f.Doc.Text()), " ") }

// typeName is a type as it is written.
func typeName(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.Ident:
		return t.Name
	case *ast.SelectorExpr:
		return typeName(t.X) + "." + t.Sel.Name
	case *ast.ArrayType:
		return "[]" + typeName(t.Elt)
	case *ast.StarExpr:
		return typeName(t.X)
	}
	return fmt.Sprintf("%T", t)
}

// valueOf says in words what a variable of a Go type may be.
func valueOf(goType string) string {
	switch strings.TrimPrefix(goType, "*") {
	case "string":
		return "text"
	case "bool":
		return "`true` or `false`"
	case "int", "int64":
		return "whole number"
	case "float64":
		return "number"
	case "time.Duration":
		return "duration, as `15s`"
	case "[]time.Duration":
		return "durations, by commas"
	case "[]string":
		return "list, by commas"
	case "zapcore.Level":
		return "level"
	}
	return goType
}

// substitution is how the files of the gateway name a variable: ${{NAME:=default}} or ${{NAME}}.
var substitution = regexp.MustCompile(`\$\{\{([A-Z][A-Z0-9_]*)(?::=([^}]*))?\}\}`)
