// Command screenshots takes pictures of the portal's main pages for the documents, over a running stack, with what happens on it.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/browser"
	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

func main() {
	env := flag.String("env", cmp.Or(os.Getenv("E2E_ENV_FILE"), ".run/env"), "the env file that make up wrote")
	to := flag.String("to", "docs/images", "the folder of the pictures")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *env, *to); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to release
	}
}

// mostBytes of a picture: documents are read on telephones, too.
const mostBytes = 150 << 10

// pages to take, in their order: those of the consumer, then those of the admin.
func (s *shoot) pages() []picture {
	subscription := "/portal/resources/orders/subscriptions/" + s.billing
	return []picture{
		{name: "subscriptions", path: "/portal/resources/orders/", ready: browser.See("Billing", "disabled")},
		{name: "subscribe", path: "/portal/resources/orders/new", ready: browser.See("Callback URL"), then: []browser.Step{
			browser.Fill(browser.Textbox, "Callback URL", "https://hooks.example.com/orders"), browser.Click(browser.Checkbox, "~order.created"),
			browser.Fill(browser.Textbox, "Filter (CEL)", "data.total > 100.0"),
			browser.Fill(browser.Textbox, "Event to try it on", `{"specversion": "1.0", "id": "4711", "source": "/shop", "type": "order.created", "data": {"order": "4711", "total": 129.9}}`),
			browser.See("The subscription gets this event."), browser.Click(browser.Summary, "The callback"),
		}},
		{name: "subscription", path: subscription, ready: browser.See("Newest deliveries")},
		{name: "stats", path: subscription + "?range=1+hour", ready: browser.See("Success and latency")},
		{name: "deliveries", path: subscription + "/deliveries", ready: browser.See("Live")},
		{name: "delivery", path: subscription + "/deliveries/" + s.failed, ready: browser.See("Attempt 3"), then: []browser.Step{browser.Click(browser.Summary, "Request")}},
		{name: "delivery-dark", path: subscription + "/deliveries/" + s.failed, look: browser.Look{Dark: true}, ready: browser.See("Attempt 3")},
		{name: "admin-overview", admin: true, path: "/portal/admin/", ready: browser.See("webhook.events")},
		{name: "admin-resource", admin: true, path: "/portal/admin/resources/orders", ready: browser.See("Policy")},
		{name: "admin-dead-letters", admin: true, path: "/portal/admin/dead-letters/", ready: browser.See("given up after")},
		{name: "admin-breakers", admin: true, path: "/portal/admin/breakers/", ready: browser.See("500")},
		{name: "admin-audit", admin: true, path: "/portal/admin/audit/", ready: browser.See("put-resource")},
	}
}

// picture is one page, as it is to be seen.
type picture struct {
	name, path string
	admin      bool
	look       browser.Look
	ready      browser.Step
	then       []browser.Step
}

func run(ctx context.Context, env, to string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	stack, err := world.ReadStack(env)
	if err != nil {
		return err
	}
	s := &shoot{Stack: stack}
	defer s.close()
	if err := s.set(ctx); err != nil {
		return err
	}
	b, err := browser.Open()
	if err != nil {
		return err
	}
	defer b.Close()
	if err := os.MkdirAll(to, 0o755); err != nil { // #nosec G301 -- documents
		return fmt.Errorf("making the folder: %w", err)
	}
	return s.takeAll(ctx, b, to)
}

func (s *shoot) takeAll(ctx context.Context, b *browser.Browser, to string) error {
	consumer, err := s.signIn(ctx, b, s.consumer, "/portal/links")
	if err != nil {
		return err
	}
	admin, err := s.signIn(ctx, b, s.Admin(), "/admin/v1/portal-links")
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range s.pages() {
		tab, base := consumer, s.GatewayURL
		if p.admin {
			tab, base = admin, s.AdminURL
		}
		errs = append(errs, take(tab, base, p, filepath.Join(to, "portal-"+p.name+".png")))
	}
	return errors.Join(errs...)
}

// take writes one picture.
func take(tab *browser.Tab, base string, p picture, file string) error {
	if err := tab.Look(p.look); err != nil {
		return err
	}
	if err := tab.Do(append([]browser.Step{browser.Go(base + p.path), p.ready}, p.then...)...); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	if faults := tab.Faults(); len(faults) > 0 {
		return fmt.Errorf("%s: the browser complains: %q", p.name, faults)
	}
	picture, err := tab.Shot(1600)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	if len(picture) > mostBytes {
		return fmt.Errorf("%s: the picture has %d bytes, at most %d are wanted", p.name, len(picture), mostBytes)
	}
	fmt.Printf("%s: %d KiB\n", file, len(picture)>>10)
	if err := os.WriteFile(file, picture, 0o644); err != nil { // #nosec G306 -- documents
		return fmt.Errorf("writing a picture: %w", err)
	}
	return nil
}
