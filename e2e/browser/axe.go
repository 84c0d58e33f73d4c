package browser

import (
	_ "embed" // axe
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

//go:embed axe/axe.min.js
var axe string

// violation of axe's rules.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		Target         []any
		FailureSummary string
	}
}

func (v violation) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s (%s): %s", v.ID, v.Impact, v.Help)
	for _, n := range v.Nodes {
		fmt.Fprintf(&text, "\n  %v: %s", n.Target, strings.ReplaceAll(n.FailureSummary, "\n", " "))
	}
	return text.String()
}

// check asks axe for what is serious or critical.
const check = `
;axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations
	.filter(v => v.impact === "serious" || v.impact === "critical")
	.map(v => ({ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.map(n => ({Target: n.target, FailureSummary: n.failureSummary}))})))`

// tooWide names the elements for which the page is wider than its screen, if it is.
const tooWide = `document.documentElement.scrollWidth <= screen.width ? [] : ["a page of " + document.documentElement.scrollWidth].concat(
	[...document.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > screen.width && !e.closest(".wide") && !e.closest("pre"))
		.map(e => e.tagName + "#" + e.id + "." + e.className + " " + Math.round(e.getBoundingClientRect().right)).slice(0, 20))`

// looks are those in which every page is checked.
var looks = []Look{{Width: 1280}, {Width: 1280, Dark: true}, {Width: 360}, {Width: 360, Dark: true}}

// Barriers are what keeps people from using the page, each in words: what axe finds serious or critical, in light and dark, on a
// large screen and a telephone's, and a page that is wider than a telephone.
func (t *Tab) Barriers() (found []string, err error) {
	if err := t.scripts(true); err != nil { // axe is one
		return nil, err
	}
	defer func() {
		if back := errors.Join(t.Look(Look{}), t.scripts(!t.noScript)); err == nil {
			err = back
		}
	}()
	for _, look := range looks {
		if err := t.Look(look); err != nil {
			return nil, err
		}
		violations, err := evaluate[[]violation](t.ctx, axe+check)
		if err != nil {
			return nil, fmt.Errorf("asking axe: %w", err)
		}
		for _, v := range violations {
			found = append(found, fmt.Sprintf("%s, %d pixels wide, dark %t: %s", t.Path(), look.Width, look.Dark, v))
		}
		wide, err := evaluate[[]string](t.ctx, tooWide)
		if err != nil {
			return nil, err
		}
		if len(wide) > 0 {
			found = append(found, fmt.Sprintf("%s, %d pixels wide: has to be scrolled sideways, for %v", t.Path(), look.Width, wide))
		}
	}
	return found, nil
}

func quoted(text string) string {
	raw, _ := json.Marshal(text) // text: never fails
	return string(raw)
}
