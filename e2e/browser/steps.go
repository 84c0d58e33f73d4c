package browser

import (
	"context"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Step is one thing that a user does or looks for. It waits until it can.
type Step struct {
	what string
	do   func(t *Tab) error
}

// Do takes steps one after the other and stops at the first that can't be taken; its error shows the page's text.
func (t *Tab) Do(steps ...Step) error {
	for i, s := range steps {
		err := s.do(t)
		if err == nil {
			err = t.settled()
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w; the page %s reads:\n%s", i+1, s.what, err, t.Path(), t.Text())
		}
	}
	return nil
}

// Go opens an address.
func Go(address string) Step {
	return Step{"going to " + address, func(t *Tab) error {
		went, err := chromedp.Call(t.ctx, page.Navigate, page.NavigateParams{URL: address})
		if err == nil && went.ErrorText != "" {
			return fmt.Errorf("going there: %s", went.ErrorText)
		}
		return err
	}}
}

// Click clicks with the mouse what has the role and the name; a name behind "~" is a part of it.
func Click(role Role, name string) Step {
	return Step{fmt.Sprintf("clicking the %s %q", role, name), func(t *Tab) error {
		return t.until("clicking", func(ctx context.Context) error {
			node, err := t.find(ctx, role, name)
			if err != nil {
				return err
			}
			return click(ctx, node)
		})
	}}
}

func click(ctx context.Context, node cdp.BackendNodeID) error {
	x, y, err := center(ctx, node)
	if err != nil {
		return err
	}
	event := input.DispatchMouseEventParams{X: x, Y: y, Button: input.MouseButtonLeft, ClickCount: 1}
	for _, event.Type = range []input.DispatchMouseEventType{input.DispatchMouseEventTypeMouseMoved, input.DispatchMouseEventTypeMousePressed, input.DispatchMouseEventTypeMouseReleased} {
		if _, err := chromedp.Call(ctx, input.DispatchMouseEvent, event); err != nil {
			return err
		}
	}
	return nil
}

// Fill types a text into a field in the place of what is there.
func Fill(role Role, name, text string) Step {
	return Step{fmt.Sprintf("filling the %s %q", role, name), func(t *Tab) error {
		if err := t.focus(role, name); err != nil {
			return err
		}
		all := kb.Encode('a')[0]
		all.Modifiers, all.Text, all.UnmodifiedText, all.Commands = int64(kb.ModifierCtrl), "", "", []string{"selectAll"}
		if _, err := chromedp.Call(t.ctx, input.DispatchKeyEvent, *all); err != nil {
			return err
		}
		if text == "" {
			return t.press(kb.Delete)
		}
		_, err := chromedp.Call(t.ctx, input.InsertText, input.InsertTextParams{Text: text})
		return err
	}}
}

func (t *Tab) focus(role Role, name string) error {
	return t.until("going into it", func(ctx context.Context) error {
		node, err := t.find(ctx, role, name)
		if err != nil {
			return err
		}
		_, err = chromedp.Call(ctx, dom.Focus, dom.FocusParams{BackendNodeID: node})
		return err
	})
}

// Choose takes an option of a select by typing the beginning of its text, as its keyboard users do.
func Choose(name, option string) Step {
	return Step{fmt.Sprintf("choosing %q in %q", option, name), func(t *Tab) error {
		if err := t.focus(Select, name); err != nil {
			return err
		}
		return t.press(option)
	}}
}

// Press types keys where the focus is; see package kb for those without a letter.
func Press(keys string) Step {
	return Step{fmt.Sprintf("pressing %q", keys), func(t *Tab) error { return t.press(keys) }}
}

func (t *Tab) press(keys string) error {
	for _, key := range keys {
		for _, event := range kb.Encode(key) {
			if _, err := chromedp.Call(t.ctx, input.DispatchKeyEvent, *event); err != nil {
				return err
			}
		}
	}
	return nil
}

// mostTabs is how far away a user looks for something with the tabulator.
const mostTabs = 150

// TabTo presses the tabulator until the focus is on what has the role and the name.
func TabTo(role Role, name string) Step {
	return Step{fmt.Sprintf("tabbing to the %s %q", role, name), func(t *Tab) error {
		wanted, err := cdp.BackendNodeID(0), error(nil)
		if err = t.until("looking for it", func(ctx context.Context) error { wanted, err = t.find(ctx, role, name); return err }); err != nil {
			return err
		}
		for range mostTabs {
			if err := t.press(kb.Tab); err != nil {
				return err
			}
			if at, err := t.focused(); err != nil || at == wanted {
				return err
			}
		}
		return fmt.Errorf("the focus never came there in %d steps", mostTabs)
	}}
}

// See waits until the page's text has each of the parts.
func See(parts ...string) Step {
	return Step{fmt.Sprintf("seeing %q", parts), func(t *Tab) error {
		return t.until("looking for it", func(ctx context.Context) error {
			text, err := text(ctx)
			for _, part := range parts {
				if err == nil && !strings.Contains(text, part) {
					err = fmt.Errorf("%w: %q", errNotYet, part)
				}
			}
			return err
		})
	}}
}

// Have waits for what has the role and the name.
func Have(role Role, name string) Step {
	return Step{fmt.Sprintf("finding the %s %q", role, name), func(t *Tab) error {
		return t.until("looking for it", func(ctx context.Context) error {
			_, err := t.find(ctx, role, name)
			return err
		})
	}}
}

// Gone waits until the page's text does not have a part.
func Gone(part string) Step {
	return Step{fmt.Sprintf("seeing %q go", part), func(t *Tab) error {
		return t.until("waiting", func(ctx context.Context) error {
			text, err := text(ctx)
			if err == nil && strings.Contains(text, part) {
				err = fmt.Errorf("it is still there")
			}
			return err
		})
	}}
}

// At waits until the address's path has a part.
func At(part string) Step {
	return Step{fmt.Sprintf("getting to %q", part), func(t *Tab) error {
		return t.until("waiting", func(context.Context) error {
			if path := t.Path(); !strings.Contains(path, part) {
				return fmt.Errorf("%w: the page is %s", errNotYet, path)
			}
			return nil
		})
	}}
}
