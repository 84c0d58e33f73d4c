package browser

import (
	"context"
	"fmt"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// patience is how long a step waits for what it needs.
const patience = 15 * time.Second

// Look is how a page is shown.
type Look struct {
	// Width of the window in CSS pixels; 1280 unless it is set.
	Width int
	// Dark prefers the dark colours.
	Dark bool
}

// Tab is a window with cookies of its own. One goroutine at a time uses it.
type Tab struct {
	ctx   context.Context
	end   context.CancelFunc
	watch *watch

	noScript bool
}

// TabOptions of a tab.
type TabOptions struct {
	Look
	// NoScript is a browser without JavaScript.
	NoScript bool
}

// Tab opens a window. It ends with Close.
func (b *Browser) Tab(o TabOptions) (*Tab, error) {
	ctx, end := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t := &Tab{ctx: ctx, end: end, watch: newWatch(), noScript: o.NoScript}
	err := chromedp.Do(ctx) // opens the target
	if err == nil {
		err = chromedp.Listen(ctx, t.watch.see)
	}
	if err == nil {
		err = t.prepare(o)
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("opening a tab: %w", err)
	}
	return t, nil
}

func (t *Tab) prepare(o TabOptions) error {
	if _, err := chromedp.Call(t.ctx, accessibility.Enable, cdp.Empty{}); err != nil {
		return err
	}
	if err := t.Look(o.Look); err != nil {
		return err
	}
	return t.scripts(!o.NoScript)
}

// scripts says whether the page's own may run.
func (t *Tab) scripts(run bool) error {
	if _, err := chromedp.Call(t.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !run}); err != nil {
		return fmt.Errorf("switching JavaScript: %w", err)
	}
	return nil
}

// Look changes how the page is shown.
func (t *Tab) Look(l Look) error {
	if l.Width == 0 {
		l.Width = 1280
	}
	metrics := emulation.SetDeviceMetricsOverrideParams{Width: int64(l.Width), Height: 900, ScreenWidth: int64(l.Width), ScreenHeight: 900, DeviceScaleFactor: 1, Mobile: l.Width < 600}
	if _, err := chromedp.Call(t.ctx, emulation.SetDeviceMetricsOverride, metrics); err != nil {
		return fmt.Errorf("setting the window's size: %w", err)
	}
	scheme := "light"
	if l.Dark {
		scheme = "dark"
	}
	_, err := chromedp.Call(t.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	if err != nil {
		return fmt.Errorf("setting the colours: %w", err)
	}
	return nil
}

// Close ends the tab.
func (t *Tab) Close() { t.end() }

// Faults are what the browser complained of since the last call: errors on the console, breaches of the content security policy,
// uncaught exceptions, requests that failed or were refused. What Expect named is left out; what it named and did not come is a fault.
func (t *Tab) Faults() []string { return t.watch.take() }

// Expect takes an answer with a status for a page's part, by the end of its path, as no fault. It has to come.
func (t *Tab) Expect(status int, path string) { t.watch.expect(status, path) }
