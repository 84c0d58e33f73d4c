package browser

import (
	"context"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Path is the page's path with its query; "" if it can't be told.
func (t *Tab) Path() string {
	path, _ := evaluate[string](t.ctx, `location.pathname + location.search`) // for messages and polls
	return path
}

// Text is what a user reads on the page; "" if it can't be told.
func (t *Tab) Text() string {
	read, _ := text(t.ctx)
	return read
}

func text(ctx context.Context) (string, error) {
	return evaluate[string](ctx, `document.body ? document.body.innerText : ""`)
}

// Value is what stands in the field that has a role and a name.
func (t *Tab) Value(role Role, name string) (value string, err error) {
	if err := t.focus(role, name); err != nil {
		return "", err
	}
	return evaluate[string](t.ctx, `document.activeElement.value`)
}

// TextOf is the text of the first element that a CSS selector finds; "" if there is none.
func (t *Tab) TextOf(selector string) (string, error) {
	return evaluate[string](t.ctx, `(document.querySelector(`+quoted(selector)+`) || {innerText: ""}).innerText`)
}

// HTML is the page as it stands, with what scripts made of it.
func (t *Tab) HTML() (string, error) {
	return evaluate[string](t.ctx, `document.documentElement.outerHTML`)
}

// Cookies are the names of the cookies that a script of the page can read.
func (t *Tab) Cookies() (string, error) { return evaluate[string](t.ctx, `document.cookie`) }

// focused is the node that has the focus.
func (t *Tab) focused() (cdp.BackendNodeID, error) {
	tree, err := chromedp.Call(t.ctx, page.GetFrameTree, cdp.Empty{})
	if err != nil {
		return 0, err
	}
	world, err := chromedp.Call(t.ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: tree.FrameTree.Frame.ID, WorldName: "test"})
	if err != nil {
		return 0, err
	}
	at, err := chromedp.Call(t.ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: `document.activeElement`, ContextID: world.ExecutionContextID})
	if err != nil || at.Result == nil || at.Result.ObjectID == "" {
		return 0, err
	}
	node, err := chromedp.Call(t.ctx, dom.DescribeNode, dom.DescribeNodeParams{ObjectID: at.Result.ObjectID})
	if err != nil {
		return 0, err
	}
	return node.Node.BackendNodeID, nil
}
