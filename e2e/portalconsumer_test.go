package e2e

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/browser"
	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// mendable is a receiver of the test that works or does not, as it is told.
func mendable(t *testing.T) (r *world.Receiver, works *atomic.Bool) {
	t.Helper()
	works = &atomic.Bool{}
	works.Store(true)
	return receiver(t, func(int, world.Callback) int {
		if works.Load() {
			return http.StatusNoContent
		}
		return http.StatusInternalServerError
	}), works
}

func TestAConsumersPagesDoEverythingThatAConsumerDoes(t *testing.T) {
	s, b := setScene(t), openBrowser(t)
	r, works := mendable(t)
	p := newPage(t, b, browser.TabOptions{})
	p.does(browser.Go(s.GatewayURL+"/portal/"), browser.See("Sign in with a link"))
	p.isFitForAll()
	p.signsIn(s.consumerLink(t))
	p.does(browser.See("You have no subscription to "+s.resource), browser.Click(browser.Link, "New subscription"))
	p.isFitForAll()

	t.Run("subscribing with a live check", func(t *testing.T) { p.subscribes(t, s, r) })
	t.Run("a test event, seen attempt by attempt", func(t *testing.T) { p.testsAndLooks(t, r) })
	t.Run("deliveries live, and what failed sent again", func(t *testing.T) { p.watchesAndReplays(t, s, works) })
	t.Run("why an event did not arrive", func(t *testing.T) { p.isExplainedTo(t, s) })
	t.Run("changing, pausing, a new secret, the end", func(t *testing.T) { p.changesAndLeaves(t) })
	p.does(browser.Click(browser.Button, "Sign out"), browser.See("Sign in with a link"))
}

func (p *page) subscribes(t *testing.T, s *scene, r *world.Receiver) {
	p.t = t
	p.does(browser.Fill(browser.Textbox, "Callback URL", r.URL), browser.Fill(browser.Textbox, "Filter (CEL)", "data.id =="), browser.See("line 1"))
	p.isFitForAll()
	p.does(browser.Fill(browser.Textbox, "Filter (CEL)", `data.id != "unwanted"`), browser.Fill(browser.Textbox, "Event to try it on",
		`{"specversion":"1.0","id":"1","source":"/x","type":"order.created","data":{"id":"unwanted"}}`), browser.See("not wanted"))
	p.does(browser.Fill(browser.Textbox, "Event to try it on", `{"specversion":"1.0","id":"1","source":"/x","type":"order.created","data":{"id":"7"}}`), browser.See("The subscription gets this event."))
	p.isFitForAll()
	p.Expect(http.StatusUnprocessableEntity, "/new")
	p.does(browser.Fill(browser.Textbox, "Callback URL", "https://user@host.example/"), browser.Click(browser.Button, "Subscribe"), browser.See("What is wrong stands at each field"))
	p.isFitForAll()
	p.does(browser.Click(browser.Summary, "Order, pace, retries and signatures"), browser.Fill(browser.Textbox, "Waits between attempts", "250ms, 250ms"))
	p.does(browser.Fill(browser.Textbox, "Callback URL", r.URL), browser.Fill(browser.Textbox, "Description", "By hand"),
		browser.Click(browser.Button, "Subscribe"), browser.See("It is shown this one time"))
	p.isFitForAll()
	secret, err := p.TextOf("#secret")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(secret, "whsec_"))
	p.does(browser.Click(browser.Link, "To the subscription"), browser.Have(browser.Heading, "By hand"))
	require.NotContains(t, p.Text(), secret)
	p.isFitForAll()
}

func (p *page) testsAndLooks(t *testing.T, r *world.Receiver) {
	p.t = t
	p.does(browser.Click(browser.Button, "Send a test event"), browser.See("succeeded"), browser.See("Attempt 1"))
	p.isFitForAll()
	p.does(browser.Click(browser.Summary, "Request"), browser.See("Webhook-Signature"), browser.Click(browser.Summary, "Repeat it with curl"), browser.See("curl "))
	p.isFitForAll()
	got, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	require.Contains(t, p.Text(), got[0].ID())
}

func (p *page) watchesAndReplays(t *testing.T, s *scene, works *atomic.Bool) {
	p.t = t
	p.does(browser.Click(browser.Link, "~Deliveries of"), browser.Have(browser.Heading, "Deliveries"), browser.See("Live."))
	s.publish(t, "seen-live")
	p.does(browser.See("seen-live", "Live: 1 new."))
	p.isFitForAll()
	works.Store(false)
	s.publish(t, "fails")
	p.does(browser.See("fails", "given up after 3 attempts"))
	works.Store(true)
	p.does(browser.Choose("Status", "failed"), browser.Click(browser.Button, "Search"), browser.Gone("seen-live"), browser.See("given up after"))
	p.isFitForAll()
	p.does(browser.Click(browser.Link, "~UTC"), browser.See("Attempt 3"), browser.Click(browser.Button, "Send it again"), browser.See("done"))
	p.isFitForAll()
	p.does(browser.Click(browser.Link, "By hand"), browser.Click(browser.Link, "Send deliveries again"), browser.Have(browser.Heading, "Send deliveries again"))
	p.isFitForAll()
	p.does(browser.Click(browser.Button, "Send again"), browser.See("done"), browser.Click(browser.Link, "By hand"))
}

func (p *page) isExplainedTo(t *testing.T, s *scene) {
	p.t = t
	s.publish(t, "unwanted")
	eventually(t, "the event was looked at", func() bool {
		return p.Do(browser.Click(browser.Link, "Why did an event not arrive?"), browser.Fill(browser.Textbox, "Event id", "unwanted"), browser.Fill(browser.Textbox, "Source", "/e2e"),
			browser.Click(browser.Button, "Explain"), browser.See("What the filter looked at")) == nil
	})
	p.isFitForAll()
	require.Contains(t, p.Text(), "data.id")
	p.does(browser.Click(browser.Link, "By hand"))
}

func (p *page) changesAndLeaves(t *testing.T) {
	p.t = t
	p.does(browser.Click(browser.Link, "Change"), browser.Fill(browser.Textbox, "Description", "By hand, changed"), browser.Click(browser.Button, "Save"), browser.See("The subscription is changed."))
	p.does(browser.Click(browser.Button, "Pause"), browser.See("The subscription is paused"), browser.Click(browser.Button, "Resume"), browser.See("The subscription is active again."))
	p.does(browser.Click(browser.Button, "Make a new secret"), browser.See("The new secret", "signs for 24 hours more"), browser.Click(browser.Link, "To the subscription"))
	p.does(browser.Click(browser.Link, "Delete"), browser.Have(browser.Heading, "Delete this subscription?"))
	p.isFitForAll()
	p.does(browser.Click(browser.Button, "Delete it"), browser.See("The subscription is deleted."))
}

func TestAConsumerSubscribesByKeyboardAlone(t *testing.T) {
	s, b := setScene(t), openBrowser(t)
	r, _ := mendable(t)
	p := newPage(t, b, browser.TabOptions{})
	p.signsIn(s.consumerLink(t))
	p.does(browser.TabTo(browser.Link, "New subscription"), browser.Press(kb.Enter), browser.TabTo(browser.Textbox, "Callback URL"), browser.Press(r.URL),
		browser.TabTo(browser.Checkbox, "~order.paid"), browser.Press(" "), browser.TabTo(browser.Button, "Subscribe"), browser.Press(kb.Enter), browser.See("It is shown this one time"))
	p.does(browser.TabTo(browser.Link, "To the subscription"), browser.Press(kb.Enter), browser.See("order.paid"),
		browser.TabTo(browser.Button, "Send a test event"), browser.Press(kb.Enter), browser.See("Attempt 1", "succeeded"))
}

func TestAConsumersPagesWorkWithoutJavaScript(t *testing.T) {
	s, b := setScene(t), openBrowser(t)
	r, _ := mendable(t)
	p := newPage(t, b, browser.TabOptions{NoScript: true})
	p.signsIn(s.consumerLink(t))
	p.does(browser.Click(browser.Link, "New subscription"), browser.Fill(browser.Textbox, "Callback URL", r.URL), browser.Fill(browser.Textbox, "Filter (CEL)", "data.id =="),
		browser.Click(browser.Button, "Check"), browser.See("line 1"))
	p.does(browser.Fill(browser.Textbox, "Filter (CEL)", ""), browser.Click(browser.Button, "Subscribe"), browser.See("It is shown this one time"), browser.Click(browser.Link, "To the subscription"))
	p.does(browser.Click(browser.Button, "Send a test event"), browser.See("Delivery of"), browser.Click(browser.Link, "~Deliveries of"))
	deliveries := p.Path()
	s.publish(t, "without-script")
	_, err := r.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	eventually(t, "the delivery has succeeded", func() bool {
		return p.Do(browser.Go(s.GatewayURL+deliveries+"?event_id=without-script"), browser.Have(browser.Heading, "Deliveries")) == nil && strings.Contains(p.Text(), "order.created")
	})
	p.does(browser.Click(browser.Link, "~UTC"), browser.Have(browser.Heading, "Attempts"))
	p.isFitForAll()
	p.does(browser.Click(browser.Button, "Send it again"), browser.See("Sending one delivery again"))
	_, err = r.WaitFor(ctx(t), 3)
	require.NoError(t, err)
}

func TestNobodysPageIsAnothers(t *testing.T) {
	s, b := setScene(t), openBrowser(t)
	r, _ := mendable(t)
	id, _ := s.subscribe(t, r.URL, nil)
	other, err := s.NewConsumer(ctx(t), "other "+s.resource, world.Grant{Resource: s.resource, Actions: []string{"subscribe"}})
	require.NoError(t, err)
	link, err := other.Want(ctx(t), http.StatusCreated, "POST", "/portal/links", nil)
	require.NoError(t, err)
	p := newPage(t, b, browser.TabOptions{})
	p.signsIn(link.Field("url"))
	for _, path := range []string{"/portal/resources/" + s.resource + "/subscriptions/" + id, "/portal/admin/"} {
		p.Expect(http.StatusNotFound, path)
		p.does(browser.Go(s.GatewayURL+path), browser.See("To the first page"))
		p.isFitForAll()
	}
	p.Expect(http.StatusGone, "")
	p.does(browser.Go(link.Field("url")), browser.See("This link does not hold any more"))
}
