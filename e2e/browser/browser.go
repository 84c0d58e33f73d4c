// Package browser drives one headless Chromium the way a user does: it finds things by their role and name, as a screen reader
// tells them, clicks and types where they are, and keeps what the browser complains of.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// ErrNone says that there is no Chromium on this machine.
var ErrNone = errors.New("there is no Chromium here: install Debian's package chromium, or name one in CHROMIUM")

// startTimeout bounds the start of a browser on a busy machine.
const startTimeout = 60 * time.Second

// Browser is one process of Chromium with a profile of its own, which goes with it.
type Browser struct {
	ctx  context.Context
	ends []context.CancelFunc
}

// Find returns the path of the Chromium to use, or ErrNone.
func Find() (string, error) {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNone
}

// Open starts a browser. It ends with Close.
func Open() (*Browser, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), flags(path)...)
	ctx, endBrowser := chromedp.NewContext(allocator)
	b := &Browser{ctx: ctx, ends: []context.CancelFunc{endBrowser, endAllocator}}
	starting := time.AfterFunc(startTimeout, b.Close)
	defer starting.Stop()
	if _, err := chromedp.CallBrowser(ctx, browser.GetVersion, cdp.Empty{}); err != nil {
		b.Close()
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	return b, nil
}

// flags keep the browser from asking anybody on the network anything but the pages.
func flags(path string) []chromedp.ExecAllocatorOption {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.DisableGPU, chromedp.WSURLReadTimeout(startTimeout),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("font-render-hinting", "none"),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to be root's otherwise
	}
	return options
}

// Close ends the browser with all its tabs.
func (b *Browser) Close() {
	for _, end := range b.ends {
		end()
	}
}
