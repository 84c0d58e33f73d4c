package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// pollEvery is how often a step looks whether what it waits for is there.
const pollEvery = 20 * time.Millisecond

var errNotYet = errors.New("not there")

// until polls, for a page changes when it likes.
func (t *Tab) until(what string, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-ticker.C:
		}
	}
}

// settled waits until nothing is under way that would change the page.
func (t *Tab) settled() error {
	return t.until("waiting for the page", func(context.Context) error {
		if !t.watch.quiet() {
			return fmt.Errorf("%w: %s", errNotYet, t.watch.underWay())
		}
		return nil
	})
}

// Role of what a step is about, as ARIA names it.
type Role string

// The roles that the pages use.
const (
	Button   Role = "button"
	Link     Role = "link"
	Textbox  Role = "textbox"
	Checkbox Role = "checkbox"
	Radio    Role = "radio"
	Select   Role = "combobox"
	Heading  Role = "heading"
	Table    Role = "table"
	Summary  Role = "DisclosureTriangle"
	Number   Role = "spinbutton"
	Search   Role = "searchbox"
)

// find returns the node that a screen reader tells by a role and a name, which is the exact one or, behind a "~", a part of it.
func (t *Tab) find(ctx context.Context, role Role, name string) (cdp.BackendNodeID, error) {
	document, err := chromedp.Call(ctx, dom.GetDocument, dom.GetDocumentParams{})
	if err != nil {
		return 0, err
	}
	query := accessibility.QueryAXTreeParams{NodeID: document.Root.NodeID, Role: string(role)}
	part, inexact := strings.CutPrefix(name, "~")
	if !inexact {
		query.AccessibleName = name
	}
	found, err := chromedp.Call(ctx, accessibility.QueryAXTree, query)
	if err != nil {
		return 0, err
	}
	for _, node := range found.Nodes {
		if !node.Ignored && (!inexact || strings.Contains(textOf(node.Name), part)) {
			return node.BackendDOMNodeID, nil
		}
	}
	return 0, fmt.Errorf("%w: no %s %q", errNotYet, role, name)
}

func textOf(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var text string
	_ = json.Unmarshal(v.Value, &text) // no text is none
	return text
}

// center scrolls a node into view and returns the middle of it.
func center(ctx context.Context, node cdp.BackendNodeID) (x, y float64, err error) {
	if _, err = chromedp.Call(ctx, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{BackendNodeID: node}); err != nil {
		return 0, 0, err
	}
	quads, err := chromedp.Call(ctx, dom.GetContentQuads, dom.GetContentQuadsParams{BackendNodeID: node})
	if err != nil {
		return 0, 0, err
	}
	if len(quads.Quads) == 0 {
		return 0, 0, fmt.Errorf("%w: it has no place on the page", errNotYet)
	}
	for i, v := range quads.Quads[0] {
		if i%2 == 0 {
			x += v / 4
		} else {
			y += v / 4
		}
	}
	return x, y, nil
}

// evaluate runs a script beside the page's own, where its content security policy has no say, and reads what it returns.
func evaluate[T any](ctx context.Context, script string) (result T, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tree, err := chromedp.Call(ctx, page.GetFrameTree, cdp.Empty{})
	if err != nil {
		return result, err
	}
	world, err := chromedp.Call(ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: tree.FrameTree.Frame.ID, WorldName: "test"})
	if err != nil {
		return result, err
	}
	yes := true
	got, err := chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: script, ContextID: world.ExecutionContextID, ReturnByValue: &yes, AwaitPromise: &yes})
	switch {
	case err != nil:
		return result, err
	case got.ExceptionDetails != nil:
		return result, fmt.Errorf("a script of the test: %s", thrown(got.ExceptionDetails))
	}
	if err := json.Unmarshal(got.Result.Value, &result); err != nil {
		return result, fmt.Errorf("reading a script's result: %w", err)
	}
	return result, nil
}
