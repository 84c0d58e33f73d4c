package doctor

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
)

// route is a call without a credential, and what the plugin answers to it.
type route struct {
	name, method, path string
	want               int
}

// routes are those of apisix-conf/apisix.yaml, by a call or two on each.
var routes = []route{
	{"subscribe", http.MethodPost, "/orders/subscribe", http.StatusUnauthorized},
	{"subscribe", http.MethodGet, "/orders/subscribe/sub_x/deliveries", http.StatusUnauthorized},
	{"stream", http.MethodGet, "/orders/subscribe/sub_x/stream", http.StatusUnauthorized},
	{"stream", http.MethodGet, "/orders/subscribe/sub_x/deliveries/live", http.StatusUnauthorized},
	{"events", http.MethodPost, "/orders/events", http.StatusUnauthorized},
	{"events", http.MethodGet, "/orders/events/types", http.StatusUnauthorized},
	{"portal", http.MethodPost, contract.PathPortalLinks, http.StatusUnauthorized},
	{"webhook-keys", http.MethodGet, contract.PathWebhookKeys + "?subscription=none", http.StatusNotFound},
	{"consent", http.MethodGet, contract.ConsentPath + "/none", http.StatusForbidden},
	{"callback", http.MethodPost, contract.CallbackPath, http.StatusForbidden},
}

const routesFile = "apisix-conf/apisix.yaml"

// gateway looks whether each route is there, and answered by our plugin.
func gateway(ctx context.Context, p Patient, e *examination) {
	if p.GatewayURL == "" {
		e.skip("reachable", "set GATEWAY_URL to the gateway's address")
		return
	}
	c := p.client(p.GatewayURL, nil)
	answer, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: "/"})
	if err != nil {
		e.fault("reachable", err.Error(), "start the gateway, or mend GATEWAY_URL")
		return
	}
	e.fine("reachable", p.GatewayURL)
	clock(p, e, answer.Header)
	plain(p.GatewayURL, e)
	for _, r := range routes {
		e.route(ctx, c, r)
	}
	e.closed(ctx, c)
	e.credential(ctx, p)
}

// plain warns of credentials that go over a network in the clear.
func plain(url string, e *examination) {
	if strings.HasPrefix(url, "http://") && !loopback(url) {
		e.warn("encryption", url+" has no TLS: credentials go over the network in the clear", "give the gateway TLS and use its https address")
	}
}

// route judges one answer.
func (e *examination) route(ctx context.Context, c *client.Client, r route) {
	name := "route " + r.name + ": " + r.method + " " + strings.SplitN(r.path, "?", 2)[0]
	answer, err := c.Do(ctx, client.Request{Method: r.method, Path: r.path})
	if err != nil {
		e.fault(name, err.Error(), "look at the gateway's error log")
		return
	}
	media, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch ours := media == contract.MediaProblem; {
	case ours && answer.Status == r.want:
		e.fine(name, fmt.Sprintf("answered by the plugin: %d", answer.Status))
	case ours && answer.Status == http.StatusServiceUnavailable:
		e.fault(name, "the plugin can't work now: "+excerpt(answer.Body), "look at Redis as the gateway's machine sees it, and at the gateway's error log")
	case ours && answer.Status == http.StatusTooManyRequests:
		e.warn(name, "the route's limit is used up", "wait, or raise limit-count of the route in "+routesFile)
	case ours:
		e.fault(name, fmt.Sprintf("the plugin answers %d and not %d: %s", answer.Status, r.want, excerpt(answer.Body)), "compare the route "+r.name+" with "+routesFile+"; versions of gateway and runner may differ")
	default:
		e.foreign(name, r, answer)
	}
}

// foreign judges an answer that is not of our plugin.
func (e *examination) foreign(name string, r route, answer client.Answer) {
	said := fmt.Sprintf("%d, not by our plugin: %s", answer.Status, excerpt(answer.Body))
	switch answer.Status {
	case http.StatusNotFound:
		e.fault(name, said, "the gateway has no such route: take the route "+r.name+" over from "+routesFile)
	case http.StatusUnauthorized, http.StatusForbidden:
		e.warn(name, said, "another plugin answers first: fine if the route has key-auth or the like on purpose, with apisix_consumers on")
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		e.fault(name, said, "the gateway can't reach the subscription service: look whether it runs, and at its node in "+routesFile)
	case http.StatusServiceUnavailable, http.StatusInternalServerError:
		e.fault(name, said, "the plugin runner does not answer: look at ext-plugin.cmd in config.yaml and at the gateway's error log")
	case http.StatusTooManyRequests:
		e.warn(name, said, "wait, or raise limit-count of the route in "+routesFile)
	default:
		e.fault(name, said, "the call passed without our plugin: put plugin_config_id: webhook on the route "+r.name+", as in "+routesFile)
	}
}

// closed looks whether what must not be at the gateway is not there.
func (e *examination) closed(ctx context.Context, c *client.Client) {
	answer, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: "/admin/v1/resources"})
	switch {
	case err != nil:
		e.fault("the admin API is not routed", err.Error(), "look at the gateway's error log")
	case answer.Status == http.StatusNotFound:
		e.fine("the admin API is not routed", "")
	default:
		e.fault("the admin API is not routed", fmt.Sprintf("the gateway answers %d to /admin/v1/resources", answer.Status), "take the route that leads there off the gateway")
	}
}

// credential tries the consumer's credential, if there is one. No call needs a grant for that: 401 alone says that it is refused.
func (e *examination) credential(ctx context.Context, p Patient) {
	if len(p.Credential) == 0 {
		e.skip("credential", "set WEBHOOK_API_KEY or WEBHOOK_TOKEN to have a consumer's credential tried")
		return
	}
	answer, err := p.client(p.GatewayURL, p.Credential).Do(ctx, client.Request{Method: http.MethodGet, Path: "/orders/events/types"})
	switch {
	case err != nil:
		e.fault("credential", err.Error(), "look at the gateway's error log")
	case answer.Status == http.StatusUnauthorized:
		e.fault("credential", excerpt(answer.Body), "make a new key: webhookctl keys create")
	case answer.Status >= 500:
		e.fault("credential", excerpt(answer.Body), "look at the checks of Redis and of the subscription service")
	default:
		e.fine("credential", "accepted")
	}
}

// excerpt is the beginning of an answer on one line.
func excerpt(body []byte) string { return client.Excerpt(body, 160) }
