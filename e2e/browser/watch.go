package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
)

// watch keeps what the browser tells of a tab.
type watch struct {
	mu       sync.Mutex
	faults   []string
	expected []expectation
	loading  map[network.RequestID]string // what is under way, and would change the page
	moving   bool                         // a navigation was asked for and has not begun
	moves    int
}

type expectation struct {
	status int
	path   string
}

func newWatch() *watch { return &watch{loading: map[network.RequestID]string{}} }

// see takes one event of the browser.
func (w *watch) see(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			w.faults = append(w.faults, "console: "+arguments(e.Args))
		}
	case *runtime.EventExceptionThrown:
		w.faults = append(w.faults, "exception: "+thrown(e.ExceptionDetails))
	case *log.EventEntryAdded:
		w.entry(e.Entry)
	default:
		w.traffic(event)
	}
}

// traffic follows requests. One that was cancelled went with its page; an event stream never ends, and would not be waited for.
func (w *watch) traffic(event any) {
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		switch e.Type {
		case network.ResourceTypeDocument, network.ResourceTypeXHR, network.ResourceTypeFetch, network.ResourceTypeScript, network.ResourceTypeStylesheet:
			w.loading[e.RequestID] = e.Request.URL
		}
	case *network.EventResponseReceived:
		if strings.HasPrefix(e.Response.MimeType, "text/event-stream") {
			delete(w.loading, e.RequestID)
		}
		if e.Response.Status >= http.StatusBadRequest && !w.wanted(int(e.Response.Status), e.Response.URL) {
			w.faults = append(w.faults, fmt.Sprintf("answer: %d for %s", e.Response.Status, e.Response.URL))
		}
	case *network.EventLoadingFinished:
		delete(w.loading, e.RequestID)
	case *network.EventLoadingFailed:
		if !e.Canceled && e.ErrorText != "net::ERR_ABORTED" {
			w.faults = append(w.faults, fmt.Sprintf("request: %s %s of a %s %s", e.ErrorText, e.BlockedReason, e.Type, w.loading[e.RequestID]))
		}
		delete(w.loading, e.RequestID)
	case *page.EventFrameRequestedNavigation, *page.EventFrameStartedNavigating:
		w.moving = true
	case *page.EventFrameStoppedLoading:
		w.moving, w.moves = false, w.moves+1
	}
}

// entry takes a line of the browser's log. Answers are told by their requests.
func (w *watch) entry(e *log.Entry) {
	if e.Level != log.EntryLevelError || e.Source == log.EntrySourceNetwork {
		return
	}
	w.faults = append(w.faults, fmt.Sprintf("%s: %s %s", e.Source, e.Text, e.URL))
}

func (w *watch) expect(status int, path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expected = append(w.expected, expectation{status, path})
}

// wanted takes an expected answer off the list.
func (w *watch) wanted(status int, address string) bool {
	parsed, err := url.Parse(address)
	at := slices.IndexFunc(w.expected, func(e expectation) bool {
		return err == nil && e.status == status && strings.HasSuffix(parsed.Path, e.path)
	})
	if at < 0 {
		return false
	}
	w.expected = slices.Delete(w.expected, at, at+1)
	return true
}

func (w *watch) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	faults := w.faults
	for _, e := range w.expected {
		faults = append(faults, fmt.Sprintf("missing: no answer %d came for %s", e.status, e.path))
	}
	w.faults, w.expected = nil, nil
	return faults
}

// quiet reports whether nothing is under way that would change the page.
func (w *watch) quiet() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.loading) == 0 && !w.moving
}

// underWay names it, for the error of who waited too long.
func (w *watch) underWay() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("moving=%t loading=%v", w.moving, w.loading)
}

func arguments(args []*runtime.RemoteObject) string {
	texts := make([]string, len(args))
	for i, a := range args {
		if texts[i] = a.Description; texts[i] != "" {
			continue
		}
		if json.Unmarshal(a.Value, &texts[i]) != nil {
			texts[i] = string(a.Value) // no string
		}
	}
	return strings.Join(texts, " ")
}

func thrown(d *runtime.ExceptionDetails) string {
	if d.Exception != nil && d.Exception.Description != "" {
		return d.Exception.Description
	}
	return d.Text
}
