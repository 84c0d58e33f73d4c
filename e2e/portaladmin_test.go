package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/browser"
	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

func TestAnAdminsPagesDoEverythingThatAnAdminDoes(t *testing.T) {
	s, b := setScene(t), openBrowser(t)
	p := newPage(t, b, browser.TabOptions{})
	p.does(browser.Go(s.AdminURL+"/portal/"), browser.See("Sign in with a link"))
	p.isFitForAll()
	p.signsIn(s.adminLink(t))
	p.does(browser.Have(browser.Heading, "Overview"), browser.See("webhook.events", "Dead letters:", "Open circuit breakers:"))
	p.isFitForAll()
	t.Run("a resource with a schema and a policy", func(t *testing.T) { p.keepsAResource(t, s.resource+"-made") })
	t.Run("a consumer with keys", func(t *testing.T) { p.keepsAConsumer(t, s) })
	t.Run("the audit log", func(t *testing.T) { p.findsWhatItDid(t, s.resource+"-made") })
	p.does(browser.Click(browser.Link, "Breakers"), browser.Have(browser.Heading, "Open circuit breakers"))
	p.isFitForAll()
	p.does(browser.Click(browser.Button, "Sign out"), browser.See("Sign in with a link"))
	p.Expect(http.StatusUnauthorized, "/portal/admin/")
	p.does(browser.Go(s.AdminURL+"/portal/admin/"), browser.See("Sign in with a link"))
}

func (p *page) keepsAResource(t *testing.T, name string) {
	p.t = t
	p.does(browser.Click(browser.Link, "Resources"), browser.Have(browser.Heading, "Resources"))
	p.isFitForAll()
	p.does(browser.Click(browser.Link, "New resource"), browser.Have(browser.Heading, "New resource"))
	p.isFitForAll()
	p.Expect(http.StatusUnprocessableEntity, "/portal/admin/new-resource")
	p.does(browser.Fill(browser.Textbox, "Name", name), browser.Fill(browser.Textbox, "Type", "order.created"),
		browser.Fill(browser.Textbox, "JSON Schema of the data", "{\n \"type\": }"), browser.Fill(browser.Textbox, "Timeout of all of it", "soon"),
		browser.Click(browser.Button, "Save"), browser.See("is no JSON: line 2"))
	p.isFitForAll()
	p.Expect(http.StatusUnprocessableEntity, "/portal/admin/new-resource")
	p.does(browser.Fill(browser.Textbox, "JSON Schema of the data", `{"type": "object", "required": ["total"]}`), browser.Choose("What breaks its schema", "is refused"),
		browser.Click(browser.Button, "Save"), browser.See("What is wrong stands at each field"))
	p.does(browser.Fill(browser.Textbox, "Timeout of all of it", "20s"), browser.Click(browser.Button, "One more type"), browser.See("Another type"))
	p.does(browser.Click(browser.Checkbox, "https"), browser.Click(browser.Button, "Save"), browser.See("It is there now."), browser.At("/portal/admin/resources/"+name))
	p.isFitForAll()
	p.does(browser.Fill(browser.Textbox, "Description", "Somebody ordered."), browser.Click(browser.Button, "Save"), browser.See("It is saved."))
	mode, err := p.Value(browser.Select, "What breaks its schema")
	require.NoError(t, err)
	require.Equal(t, "reject", mode)
	p.does(browser.Click(browser.Link, "Resources"), browser.Fill(browser.Textbox, "A part of the name", name), browser.Click(browser.Button, "Search"),
		browser.See(name, "order.created", "schema_mode", "timeouts", "callback_schemes"))
	p.does(browser.Click(browser.Link, name), browser.Click(browser.Link, "Throughput"), browser.Have(browser.Heading, "Throughput of "+name), browser.See("Events published in this time: 0"))
	p.isFitForAll()
}

func (p *page) keepsAConsumer(t *testing.T, s *scene) {
	p.t = t
	p.does(browser.Click(browser.Link, "Consumers"), browser.Have(browser.Heading, "Consumers"))
	p.isFitForAll()
	p.does(browser.Click(browser.Link, "New consumer"), browser.Fill(browser.Textbox, "Name", "by hand "+s.resource))
	p.isFitForAll()
	p.Expect(http.StatusUnprocessableEntity, "/portal/admin/new-consumer")
	p.does(browser.Fill(browser.Textbox, "Resource", s.resource), browser.Click(browser.Button, "Save"), browser.See("choose what may be done with it"))
	p.does(browser.Click(browser.Checkbox, "subscribe"), browser.Fill(browser.Textbox, "Subscriptions", "7"),
		browser.Click(browser.Button, "Save"), browser.See("It is there now.", "max_subscriptions", "subscribe "+s.resource))
	p.isFitForAll()
	p.does(browser.Click(browser.Button, "Make a key"), browser.See("It is shown this one time"))
	p.isFitForAll()
	key, err := p.TextOf("#secret")
	require.NoError(t, err)
	_, err = s.Stack.Consumer(key).Want(ctx(t), http.StatusOK, "GET", s.path(), nil)
	require.NoError(t, err, "the key opens the gateway")
	p.does(browser.Click(browser.Link, "To the consumer"), browser.Have(browser.Table, ""))
	require.NotContains(t, p.Text(), key)
	p.does(browser.Click(browser.Button, "Make a link to sign in"), browser.See("hand it on as you would a password"))
	link, err := p.TextOf("#secret")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(link, s.GatewayURL+"/portal/sign-in/"), link)
	p.does(browser.Click(browser.Link, "To the consumer"), browser.Click(browser.Link, "Change"), browser.Fill(browser.Textbox, "Calls per second", "50"),
		browser.Click(browser.Button, "Save"), browser.See("It is saved.", "requests_per_second"))
	p.does(browser.Click(browser.Button, "~Revoke"), browser.See("The key is revoked", "There is none."))
	p.does(browser.Click(browser.Link, "Delete"), browser.See("Its keys are refused"))
	p.isFitForAll()
	p.does(browser.Click(browser.Button, "Delete it"), browser.See("It is deleted."))
}

func (p *page) findsWhatItDid(t *testing.T, resource string) {
	p.t = t
	p.does(browser.Click(browser.Link, "Audit log"), browser.Have(browser.Heading, "Audit log"), browser.Fill(browser.Textbox, "On what", resource),
		browser.Click(browser.Button, "Search"), browser.See("put-resource", "types, policy", "/admin/v1/resources/"+resource))
	p.isFitForAll()
	p.does(browser.Fill(browser.Textbox, "Who", "nobody"), browser.Click(browser.Button, "Search"), browser.See("There is no entry like that"))
}

// deadOf makes a dead event and a dead delivery of the scene, and returns the switch that makes its endpoint work.
func (s *scene) deadOf(t *testing.T) (works func()) {
	t.Helper()
	healthy := make(chan struct{})
	r := receiver(t, func(int, world.Callback) int {
		select {
		case <-healthy:
			return http.StatusNoContent
		default:
			return http.StatusInternalServerError
		}
	})
	s.subscribe(t, r.URL, map[string]any{"retry_schedule": []string{}})
	bad := rabbit.NamesFor("").ToEvents(s.resource+".bad", rabbit.Message{ContentType: "application/cloudevents+json", Body: []byte("{not JSON " + s.resource)})
	require.NoError(t, s.producer.Publish(ctx(t), bad))
	s.publish(t, "dead-one")
	eventually(t, "both are dead letters", func() bool {
		found, err := s.Admin().Want(ctx(t), http.StatusOK, "GET", "/admin/v1/dead-letters?resource="+s.resource, nil)
		require.NoError(t, err)
		return strings.Count(string(found.Body), `"kind"`) == 2
	})
	return func() { close(healthy) }
}

// deadLetters is how many of the scene's are listed, and of which kinds.
func (s *scene) deadLetters(t *testing.T) (kinds []string) {
	t.Helper()
	found, err := s.Admin().Want(ctx(t), http.StatusOK, "GET", "/admin/v1/dead-letters?resource="+s.resource, nil)
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`"kind":"(\w+)"`).FindAllStringSubmatch(string(found.Body), -1) {
		kinds = append(kinds, m[1])
	}
	return kinds
}

func TestDeadLettersAreTriedAgainOnTheirPageByKeyboard(t *testing.T) {
	s, b := setScene(t), openBrowser(t)
	works := s.deadOf(t)
	p := newPage(t, b, browser.TabOptions{})
	p.signsIn(s.adminLink(t))
	p.does(browser.TabTo(browser.Link, "Dead letters"), browser.Press(kb.Enter), browser.Have(browser.Heading, "Dead letters"),
		browser.TabTo(browser.Textbox, "Resource"), browser.Press(s.resource), browser.Press(kb.Enter), browser.See("given up after 1 attempt", s.resource+".bad"))
	p.isFitForAll()
	p.Expect(http.StatusUnprocessableEntity, "/portal/admin/dead-letters/")
	p.does(browser.TabTo(browser.Button, "Try the chosen again"), browser.Press(kb.Enter), browser.See("Tick the dead letters"))
	works()
	p.does(browser.Go(s.AdminURL+"/portal/admin/dead-letters/?kind=delivery&resource="+s.resource), browser.TabTo(browser.Button, "Try all that were found again"),
		browser.Press(kb.Enter), browser.See("All was looked at."))
	p.isFitForAll()
	eventually(t, "the delivery is delivered and no dead letter any more", func() bool { return len(s.deadLetters(t)) == 1 })
	require.Equal(t, []string{"event"}, s.deadLetters(t))
	p.does(browser.Go(s.AdminURL+"/portal/admin/dead-letters/?resource="+s.resource), browser.TabTo(browser.Checkbox, "~event"), browser.Press(" "),
		browser.TabTo(browser.Button, "Try the chosen again"), browser.Press(kb.Enter), browser.See("All was looked at.", "Events published anew\n1"))
	eventually(t, "the bad event is published anew, and is a dead letter anew", func() bool { return len(s.deadLetters(t)) == 1 })
}

func TestAnAdminsPagesWorkWithoutJavaScript(t *testing.T) {
	s, b := setScene(t), openBrowser(t)
	works := s.deadOf(t)
	works()
	p := newPage(t, b, browser.TabOptions{NoScript: true})
	p.signsIn(s.adminLink(t))
	p.does(browser.Click(browser.Link, "Consumers"), browser.Click(browser.Link, "New consumer"), browser.Fill(browser.Textbox, "Name", "no script "+s.resource),
		browser.Fill(browser.Textbox, "Resource", s.resource), browser.Click(browser.Checkbox, "publish"), browser.Click(browser.Button, "Save"), browser.See("It is there now."),
		browser.Click(browser.Button, "Make a key"), browser.See("It is shown this one time"))
	p.does(browser.Click(browser.Link, "Dead letters"), browser.Fill(browser.Textbox, "Resource", s.resource), browser.Choose("Kind", "deliveries"), browser.Click(browser.Button, "Search"),
		browser.See("given up after 1 attempt"), browser.Click(browser.Button, "Try all that were found again"), browser.See("Replays begun"))
	eventually(t, "the delivery is delivered", func() bool { return len(s.deadLetters(t)) == 1 })
}
