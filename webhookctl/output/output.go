// Package output writes what webhookctl has to say: tables and fields for people, JSON or YAML for programs.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"sigs.k8s.io/yaml"
)

// Format is how answers are written.
type Format string

// The formats.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// Formats are all of them.
var Formats = []string{string(Table), string(JSON), string(YAML)}

// Printer writes to somebody.
type Printer struct {
	Out    io.Writer
	Format Format
	// Colour makes states stand out, on terminals.
	Colour bool
	// Quiet writes no more than the name of what was made.
	Quiet bool
	// Now is the clock, for ages.
	Now func() time.Time
}

// Raw writes JSON in the printer's format; as JSON where that is a table.
func (p *Printer) Raw(body []byte) error {
	if p.Format == YAML {
		text, err := yaml.JSONToYAML(body)
		if err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
		return p.write(append([]byte("---\n"), text...))
	}
	var out bytes.Buffer
	if err := json.Indent(&out, body, "", "  "); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	out.WriteByte('\n')
	return p.write(out.Bytes())
}

// Value writes any value as JSON or YAML.
func (p *Printer) Value(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return p.Raw(body)
}

// Line writes a value on one line of JSON, or as a document of YAML: one of many.
func (p *Printer) Line(v any) error {
	if p.Format == YAML {
		return p.Value(v)
	}
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return p.write(append(body, '\n'))
}

func (p *Printer) write(text []byte) error {
	if _, err := p.Out.Write(text); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// Human reports whether people read it.
func (p *Printer) Human() bool { return p.Format == Table || p.Format == "" }

// Say writes a line for people.
func (p *Printer) Say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Out, format+"\n", args...) // a reader that is gone ends the process by itself
}

// Rows writes a table. Cells are cleaned.
func (p *Printer) Rows(header []string, rows [][]string) {
	if len(rows) == 0 {
		p.Say("none")
		return
	}
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options, style.Box.PaddingLeft, style.Box.PaddingRight = table.OptionsNoBordersAndSeparators, "", "  "
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(cells(header))
	for _, row := range rows {
		t.AppendRow(cells(row))
	}
	p.Say("%s", t.Render())
}

func cells(texts []string) table.Row {
	row := make(table.Row, len(texts))
	for i, text := range texts {
		row[i] = text
	}
	return row
}

// Field is a name and its value.
type Field struct{ Name, Value string }

// Fields writes one thing, a field to a line; empty ones are left out.
func (p *Printer) Fields(fields ...Field) {
	width := 0
	for _, f := range fields {
		if f.Value != "" {
			width = max(width, len(f.Name))
		}
	}
	for _, f := range fields {
		if f.Value != "" {
			p.Say("%-*s  %s", width, f.Name, strings.ReplaceAll(f.Value, "\n", "\n"+strings.Repeat(" ", width+2)))
		}
	}
}

// Clean takes what a terminal would obey out of foreign text; lines stay.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// OneLine is Clean on one line, cut to so many characters.
func OneLine(text string, most int) string {
	text = strings.Join(strings.Fields(Clean(text)), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
