package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http/httputil"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/extplugin"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/plugin"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/proxy"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/route"
)

// table is the routes of one version of apisix.yaml. It never changes.
type table struct {
	router  *route.Router
	ssls    []config.SSL
	routes  []*liveRoute
	unknown *liveRoute // for what no route matches: the global rules alone
}

// liveRoute is a route with everything a call needs.
type liveRoute struct {
	requestID *plugin.RequestID
	keyAuth   *plugin.KeyAuth
	keys      plugin.Keys
	remove    []string
	rewrites  bool // proxy-rewrite is on: the upstream gets the normalised path
	limiter   *plugin.Limiter
	ext       *extplugin.Conf
	status    *plugin.StatusCounter
	proxy     *httputil.ReverseProxy
	id, name  string
}

// builder makes tables and keeps what outlives them: connection pools, counters and metrics.
type builder struct {
	enabled    map[string]bool
	transports proxy.Transports
	limiters   map[limiterKey]*plugin.Limiter
	metrics    *plugin.Metrics
	now        func() time.Time
	closing    context.Context // ends with the gateway
	log        *zap.Logger
	version    int
}

type limiterKey struct {
	route string
	conf  plugin.LimitCount
}

func (b *builder) build(rules *config.Rules) (*table, error) {
	router, routerErr := route.New(rules.Routes)
	global, globalErr := b.global(rules.Global)
	keys, keysErr := plugin.NewKeys(rules.Consumers)
	b.version++
	t := &table{router: router, ssls: rules.SSLs}
	errs := []error{routerErr, globalErr, keysErr}
	limiters := map[limiterKey]*plugin.Limiter{}
	for i := range rules.Routes {
		if rules.Routes[i].Upstream.Secure && b.transports.Roots == nil {
			errs = append(errs, fmt.Errorf("apisix.yaml: routes[%d] has an upstream over TLS, which nobody verifies: put proxy_ssl_verify on into the snippet "+
				"of config.yaml, and its authority into apisix.ssl.ssl_trusted_certificate", i))
		}
		chain, err := plugin.Build(rules.Routes[i].Plugins, b.enabled)
		if err != nil {
			errs = append(errs, fmt.Errorf("apisix.yaml: %w", err))
			continue
		}
		live := b.route(&rules.Routes[i], chain, global, limiters)
		live.keyAuth, live.keys = chain.KeyAuth, keys
		t.routes = append(t.routes, live)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	b.limiters = limiters
	t.unknown = &liveRoute{requestID: global.RequestID, status: b.counter(global, "")}
	return t, nil
}

// global refuses what APISIX would run apart from the plugins of the route: devgateway merges them.
func (b *builder) global(list []config.Plugin) (*plugin.Chain, error) {
	c, err := plugin.Build(list, b.enabled)
	if err != nil {
		return c, fmt.Errorf("apisix.yaml: %w", err)
	}
	if c.KeyAuth != nil || c.ProxyRewrite != nil || c.LimitCount != nil || c.ExtPlugin != nil {
		return c, errors.New("apisix.yaml: global_rules: devgateway knows request-id and prometheus only")
	}
	return c, nil
}

func (b *builder) route(r *config.Route, own, global *plugin.Chain, limiters map[limiterKey]*plugin.Limiter) *liveRoute {
	live := &liveRoute{id: r.ID, name: r.Name, requestID: either(own.RequestID, global.RequestID)}
	if own.ProxyRewrite != nil {
		live.rewrites, live.remove = true, own.ProxyRewrite.Headers.Remove
	}
	if own.LimitCount != nil {
		live.limiter = b.limiter(limiterKey{r.ID, *own.LimitCount})
		limiters[limiterKey{r.ID, *own.LimitCount}] = live.limiter
	}
	if own.ExtPlugin != nil {
		// The version makes the key new with each file: the runner gives equal keys the old configuration.
		key := fmt.Sprintf("route#%s#%d#ext-plugin-post-req", r.ID, b.version)
		live.ext = extplugin.NewConf(key, own.ExtPlugin.Entries())
	}
	counting := &plugin.Chain{Prometheus: either(own.Prometheus, global.Prometheus)}
	live.status = b.counter(counting, label(r, counting.Prometheus))
	live.proxy = proxy.New(b.closing, r.Upstream, r.Timeout, b.transports.Get(r.Upstream, r.Timeout), b.log)
	return live
}

func either[T any](own, global *T) *T {
	if own != nil {
		return own
	}
	return global
}

func label(r *config.Route, p *plugin.Prometheus) string {
	if p != nil && p.PreferName && r.Name != "" {
		return r.Name
	}
	return r.ID
}

func (b *builder) counter(c *plugin.Chain, label string) *plugin.StatusCounter {
	if c.Prometheus == nil {
		return nil
	}
	return b.metrics.Route(label)
}

func (b *builder) limiter(key limiterKey) *plugin.Limiter {
	if l, ok := b.limiters[key]; ok {
		return l
	}
	return plugin.NewLimiter(key.conf, b.now)
}

// find returns the route of a call, never nil; matched is false where it is the one for all others.
func (t *table) find(method, path string) (r *liveRoute, matched bool) {
	if i, ok := t.router.Match(method, path); ok {
		return t.routes[i], true
	}
	return t.unknown, false
}
