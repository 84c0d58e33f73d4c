package e2e

import (
	"testing"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/browser"
)

// The pages of the API and of a resource's events, in a real browser: nothing to complain of and no barrier, dark and light, on a phone.
func TestThePagesOfTheDocumentsAreFitForAll(t *testing.T) {
	s, b := setScene(t), openBrowser(t)
	p := newPage(t, b, browser.TabOptions{})
	// The template is that of the smaller page below, on which axe is asked: of this one's thousands of cells it takes half a minute.
	p.does(browser.Go(s.AdminURL+"/docs"), browser.See("Consumers, through the gateway", "/{resource}/subscribe", "SubscriptionBody"))
	p.signsIn(s.consumerLink(t))
	p.does(browser.Go(s.GatewayURL+"/portal/resources/"+s.resource+"/events/docs"), browser.See("What an endpoint gets", "webhook.events", "An event of type"))
	p.isFitForAll()
	for _, look := range []browser.Look{{Dark: true}, {Width: 360}} {
		if err := p.Look(look); err != nil {
			t.Fatal(err)
		}
		p.does(browser.Go(s.GatewayURL + "/portal/resources/" + s.resource + "/events/docs"))
		p.isFitForAll()
	}
}
