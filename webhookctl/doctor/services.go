package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
)

func loopback(address string) bool { return settings.Loopback(address) }

// admin looks at the admins' listener and the token.
func admin(ctx context.Context, p Patient, e *examination) {
	if p.AdminURL == "" {
		e.skip("reachable", "set ADMIN_URL to the admin listener's address")
		return
	}
	answer, err := p.client(p.AdminURL, nil).Do(ctx, client.Request{Method: http.MethodGet, Path: "/admin/v1/resources"})
	if err != nil {
		e.fault("reachable", err.Error(), "start the subscription service, or mend ADMIN_URL; its WEBHOOK_ADMIN_LISTEN says where it listens")
		return
	}
	e.fine("reachable", p.AdminURL)
	clock(p, e, answer.Header)
	if answer.Status != http.StatusUnauthorized {
		e.fault("closed without a token", fmt.Sprintf("answers %d: %s", answer.Status, excerpt(answer.Body)), "this is not the admin listener of the subscription service: mend ADMIN_URL")
		return
	}
	e.fine("closed without a token", "")
	adminToken(ctx, p, e)
}

func adminToken(ctx context.Context, p Patient, e *examination) {
	if p.AdminToken == "" {
		e.skip("token", "set ADMIN_TOKEN to have the token tried")
		return
	}
	answer, err := p.client(p.AdminURL, http.Header{"Authorization": {"Bearer " + p.AdminToken}}).Do(ctx, client.Request{Method: http.MethodGet, Path: "/admin/v1/resources"})
	switch {
	case err != nil:
		e.fault("token", err.Error(), "look at the subscription service's log")
	case answer.Status == http.StatusUnauthorized:
		e.fault("token", "refused", "ADMIN_TOKEN must be the service's WEBHOOK_ADMIN_TOKEN, or a token of its WEBHOOK_ADMIN_TOKENS")
	case answer.Status != http.StatusOK:
		e.fault("token", fmt.Sprintf("%d: %s", answer.Status, excerpt(answer.Body)), "look at the checks of Redis")
	default:
		e.fine("token", "accepted")
		resources(answer, e)
	}
}

func resources(answer client.Answer, e *examination) {
	var list client.List
	if answer.Decode(&list) == nil && len(list.Items) == 0 {
		e.warn("resources", "there is none: nothing can be subscribed to", "make one: webhookctl resources put NAME --type TYPE")
		return
	}
	e.fine("resources", fmt.Sprint(len(list.Items)))
}

// services asks each one whether it is ready, and what is missing.
func services(ctx context.Context, p Patient, e *examination) {
	for _, s := range p.Services {
		if s.URL == "" {
			e.skip(s.Name, "set "+s.Variable+" to have its readiness looked at")
			continue
		}
		ready(ctx, p, s, e)
	}
}

func ready(ctx context.Context, p Patient, s Service, e *examination) {
	base, err := url.Parse(s.URL)
	if err != nil || base.Host == "" {
		e.fault(s.Name, s.Variable+" is no address", "write it as http://host:port/metrics")
		return
	}
	answer, err := p.client(base.Scheme+"://"+base.Host, nil).Do(ctx, client.Request{Method: http.MethodGet, Path: "/readyz"})
	if err != nil {
		e.fault(s.Name, err.Error(), "start it, or mend "+s.Variable)
		return
	}
	var parts map[string]string
	if json.Unmarshal(answer.Body, &parts) != nil || parts["process"] == "" {
		e.fault(s.Name, fmt.Sprintf("answers %d to /readyz: %s", answer.Status, excerpt(answer.Body)), "that is not one of the services: mend "+s.Variable)
		return
	}
	if answer.Status == http.StatusOK {
		e.fine(s.Name, "ready: "+strings.Join(slices.Sorted(maps.Keys(parts)), ", "))
		return
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if parts[part] != "ok" {
			e.fault(s.Name, part+": "+parts[part], "look at the checks of "+part+", as that service's machine sees it, and at its log")
		}
	}
}

// The clocks of two parts may be contract.StatementLeeway apart; the Date header has whole seconds.
const clockWarning = 2 * time.Second

// clock compares a server's Date header with this machine's clock.
func clock(p Patient, e *examination, header http.Header) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		e.skip("clock", "the answer has no Date header to compare with this machine's clock")
		return
	}
	e.clock(date.Add(500 * time.Millisecond).Sub(p.Now()))
}

func (e *examination) clock(ahead time.Duration) {
	detail := fmt.Sprintf("differs from this machine's by about %s", ahead.Abs().Round(100*time.Millisecond))
	const fix = "let NTP set the clocks of all machines: statements between the parts hold for seconds, and callbacks are refused by their timestamps"
	switch {
	case ahead.Abs() > contract.StatementLeeway:
		e.fault("clock", detail, fix)
	case ahead.Abs() > clockWarning:
		e.warn("clock", detail, fix)
	default:
		e.fine("clock", detail)
	}
}
