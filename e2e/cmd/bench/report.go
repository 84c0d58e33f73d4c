package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is all that was found.
type report struct {
	Started time.Time `json:"started"`
	CPUs    int       `json:"cpus"`
	Go      string    `json:"go"`
	Tables  []table   `json:"tables"`
	Checks  []check   `json:"checks"`
}

func newReport() *report {
	return &report{Started: time.Now().UTC(), CPUs: runtime.NumCPU(), Go: runtime.Version()}
}

// table is one figure, or what explains it.
type table struct {
	Figure, Title string
	Columns       []string
	Rows          []row
	Notes         []string
}

// row has a value per column; NaN where nothing was measured.
type row struct {
	Name   string
	Values []float64
}

// MarshalJSON writes each row with its columns' names, and leaves out what was not measured, which JSON has no number for.
func (t table) MarshalJSON() ([]byte, error) {
	rows := make([]map[string]any, len(t.Rows))
	for i, r := range t.Rows {
		rows[i] = map[string]any{"name": strings.TrimSpace(r.Name)}
		for j, value := range r.Values {
			if !math.IsNaN(value) && !math.IsInf(value, 0) {
				rows[i][t.Columns[j]] = round(value)
			}
		}
	}
	return json.Marshal(map[string]any{"figure": t.Figure, "title": t.Title, "rows": rows, "notes": t.Notes})
}

// check compares a figure with what it must reach.
type check struct {
	Figure  string   `json:"figure"`
	What    string   `json:"what"`
	Value   *float64 `json:"value"` // nil: not measured
	Bound   string   `json:"bound"`
	Reached bool     `json:"reached"`
}

func (r *report) atLeast(figure, what string, value, bound float64) {
	r.check(check{Figure: figure, What: what, Bound: fmt.Sprintf("≥ %g", bound), Reached: value >= bound}, value)
}

func (r *report) atMost(figure, what string, value, bound float64) {
	r.check(check{Figure: figure, What: what, Bound: fmt.Sprintf("≤ %g", bound), Reached: value <= bound}, value)
}

func (r *report) check(c check, value float64) {
	if !math.IsNaN(value) && !math.IsInf(value, 0) {
		value = round(value)
		c.Value = &value
	}
	r.Checks = append(r.Checks, c)
}

// add shows a table at once and keeps it.
func (r *report) add(t table) {
	r.Tables = append(r.Tables, t)
	t.print(os.Stdout)
}

func (t table) print(to io.Writer) {
	_, _ = fmt.Fprintf(to, "\n(%s) %s\n", t.Figure, t.Title)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(w, "\t")
	for _, column := range t.Columns {
		_, _ = fmt.Fprintf(w, "%s\t", column)
	}
	_, _ = fmt.Fprintln(w)
	for _, row := range t.Rows {
		_, _ = fmt.Fprintf(w, "%s\t", row.Name)
		for _, value := range row.Values {
			_, _ = fmt.Fprintf(w, "%s\t", number(value))
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
	for _, note := range t.Notes {
		_, _ = fmt.Fprintf(to, "  %s\n", note)
	}
}

// verdicts shows what was to be reached.
func (r *report) verdicts(to io.Writer) {
	if len(r.Checks) == 0 {
		return
	}
	_, _ = fmt.Fprintln(to, "\nWhat is to be reached")
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		word := "reached"
		if !c.Reached {
			word = "MISSED"
		}
		value := math.NaN()
		if c.Value != nil {
			value = *c.Value
		}
		_, _ = fmt.Fprintf(w, "  (%s)\t%s\t%s\t%s\t%s\n", c.Figure, c.What, number(value), c.Bound, word)
	}
	_ = w.Flush()
}

func (r *report) save(path string) error {
	if path == "" {
		return nil
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, append(content, '\n'), 0o600)); err != nil {
		return fmt.Errorf("saving the figures: %w", err)
	}
	return nil
}

// number prints three figures or so, and a dash for what was not measured.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", round(v))
}

func round(v float64) float64 { return math.Round(v*1e4) / 1e4 }

// median of values; of an even count the mean of the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// percentile of latencies in milliseconds: the smallest that p of them do not exceed.
func percentile(latencies []int64, p float64) float64 {
	if len(latencies) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(latencies))
	at := int(math.Ceil(p*float64(len(sorted)))) - 1
	return float64(sorted[max(0, at)]) / 1e6
}
