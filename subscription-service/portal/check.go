package portal

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// check says what a subscription would do with an event.
type check struct {
	// Problem is why that can't be said; nil if it can.
	Problem *problem
	Faults  []string
	Preview *contract.PreviewView
	Body    string
}

// checkNew and checkEdit try what was typed on an event. A script gets the answer alone, a browser without one the whole form.
func checkNew(v *visit) error { return v.check(nil) }

func checkEdit(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	return v.check(&sub)
}

func (v *visit) check(sub *subscription) error {
	f, err := v.form(v.r.PostForm, sub)
	if err != nil {
		return err
	}
	if strings.TrimSpace(f.Get("event")) == "" || f.Get("do") == "sample" {
		f.Set("event", sampleEvent(f, v.Now()))
	}
	if f.Check, err = v.try(f); err != nil {
		return err
	}
	if v.r.Header.Get("Hx-Request") != "" {
		return v.fragment("form", "check", f)
	}
	return v.showForm(f)
}

// try asks the API. Where callbacks go does not matter for it, nor the credential that they carry.
func (v *visit) try(f *form) (*check, error) {
	event := json.RawMessage(f.Get("event"))
	if !json.Valid(event) {
		return &check{Problem: &problem{Detail: "the event is no JSON"}}, nil
	}
	asked := f.asked()
	f.faults = nil // of headers that are half typed
	delete(asked, "auth")
	delete(asked, "headers")
	if !f.Pull() {
		asked["callback_url"] = "https://endpoint.example/"
	}
	c := &check{}
	_, err := v.api.send(v.r.Context(), http.MethodPost, "/"+v.resource()+"/subscribe/preview", map[string]any{"subscription": asked, "event": event}, &c.Preview)
	if err != nil {
		failed := &form{}
		if err := failed.refused(err); err != nil {
			return nil, err
		}
		c.Preview, c.Problem = nil, failed.Problem
		for _, e := range failed.Problem.Errors {
			c.Faults = append(c.Faults, fieldOf(e.Location)+" "+e.Message)
		}
		slices.Sort(c.Faults)
		return c, nil
	}
	if c.Preview.Request != nil {
		c.Body = pretty(c.Preview.Request.Body)
	}
	return c, nil
}

// pretty indents JSON, and leaves what is none as it is.
func pretty(text string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if !json.Valid([]byte(text)) || encoder.Encode(json.RawMessage(text)) != nil {
		return text
	}
	return strings.TrimSpace(b.String())
}
