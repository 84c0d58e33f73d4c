// Package api is the HTTP API of subscription-service: the consumers' calls, which come through the gateway, and the
// admins' calls, which do not. Both are described in one OpenAPI 3.1 document.
package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/stats"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/explain"
)

// Publisher hands messages to the broker and returns once they are confirmed.
type Publisher interface {
	Publish(ctx context.Context, messages ...rabbit.Message) error
}

// Options are what the API stands on. All are needed.
type Options struct {
	Store     *store.Store
	Publisher Publisher
	// Archive has the events of the past.
	Archive explain.Archive
	// Queues has what waits at the broker.
	Queues Queues
	// Names are those of the broker's exchanges.
	Names rabbit.Names
	// Catalogue checks the events that are published; it is kept up by the caller.
	Catalogue *catalogue.Catalogue
	// Signer checks the statement of the gateway about the caller.
	Signer *contract.Signer
	// Policy says where callbacks may go.
	Policy *guard.Policy
	// Resolver looks up the hosts of callback URLs.
	Resolver guard.Resolver
	// Origin names this installation to endpoints.
	Origin string
	// Admins may call the admin API: at least one.
	Admins Admins
	// Portal says where the links to the portal lead.
	Portal PortalOptions
	// Limits are those of a consumer that has none of its own; DefaultLimits where they are zero. The store has MaxSubscriptions.
	Limits contract.Limits
	// Streams bound the answers that stay open; DefaultStreams where they are zero.
	Streams StreamBounds
	Log     *zap.Logger
	Metrics prometheus.Registerer
	// Now is the clock.
	Now func() time.Time
	// Trace makes spans of requests; nil makes none.
	Trace *tracing.Tracer
}

// API holds the two listeners' handlers.
type API struct {
	// Gateway serves the calls that come through the gateway, under contract.GatewayPrefix.
	Gateway http.Handler
	// Admin serves /admin/v1, the OpenAPI document, and what else the mux given to New serves.
	Admin http.Handler

	pages [2]http.Handler // see Mount
	doors doors
	open  *streams
	news  *mailNews
	tails *tails
	stats *stats.Counter
}

// Run tends the answers that stay open, until the context ends. Without it each ends after a moment.
func (a *API) Run(ctx context.Context) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return a.open.run(ctx) })
	both.Go(func() error { return a.news.run(ctx) })
	both.Go(func() error { return a.tails.run(ctx) })
	both.Go(func() error { return a.stats.Run(ctx) })
	return both.Wait()
}

// New builds the API. What admin serves already (health, metrics) stays open; all else on it asks for the admin token.
func New(o Options, admin *http.ServeMux) (*API, error) {
	if len(o.Admins) == 0 {
		return nil, errors.New("there is no admin token")
	}
	muxes := &routes{gateway: http.NewServeMux(), admin: http.NewServeMux()}
	description := humago.New(muxes, configuration())
	trail, meter, open := newTrail(o), newMeter(o), newStreams(o)
	description.UseMiddleware(mediaTypes(description), trail.begin(description))

	reach := reach{o.Policy, o.Resolver}
	subscriptions{o.Store, reach, o.Origin, o.Now}.register(description)
	newConsents(o).register(description)
	webhookKeys{o.Store, o.Now}.register(description)
	deliveries{o.Store}.register(description)
	news, counter := newMailNews(o), stats.New(o.Store, o.Log, o.Now)
	newMail(o, open, news, counter).register(description)
	tails := newTails(o.Store)
	live{o.Store, tails, open}.register(description)
	statistics{o.Store, o.Now}.register(description)
	replays{o.Store, o.Publisher, o.Names, o.Now}.register(description)
	testEvents{o.Store, reach, o.Publisher, o.Names, o.Now}.register(description)
	explanations{o.Store, o.Archive, o.Names, o.Now, semaphore.NewWeighted(mostSearches)}.register(description)
	events{o.Publisher, o.Names, o.Catalogue, catalogue.NewViolations(o.Metrics), meter, newAccepted(o.Metrics), o.Trace, o.Now}.register(description)
	descriptions{o.Store, o.Names}.register(description)
	resources{o.Store, o.Catalogue}.register(description)
	consumers{o.Store, o.Now, meter}.register(description)
	portalLinks{o.Store, o.Portal, o.Now}.register(description)
	audits{o.Store}.register(description)
	deadLetters{o.Store, o.Queues, replays{o.Store, o.Publisher, o.Names, o.Now}, o.Now}.register(description)
	state{o.Store, o.Queues, o.Names}.register(description)
	trail.learn(description.OpenAPI())
	describeProblems(description.OpenAPI())
	if err := serveDocument(admin, description.OpenAPI()); err != nil {
		return nil, err
	}
	admin.Handle("/", trail.watch(muxes.admin, "", bearer(o.Admins, routed(muxes.admin))))

	a, watch := &API{open: open, news: news, tails: tails, stats: counter}, newObserver(o.Log, o.Trace, o.Metrics, o.Now)
	inside, checked := meter.metered(beside(&a.pages[0], routed(muxes.gateway))), checks{o.Policy, o.Now}
	a.Gateway = watch.observe(withChecks(checked, trail.watch(muxes.gateway, contract.GatewayPrefix, newGate(o.Signer, o.Store, o.Metrics).vouched(inside))))
	a.Admin = watch.observe(beside(&a.pages[1], routed(admin)))
	a.doors = doors{
		consumer: watch.observe(withChecks(checked, trail.watch(muxes.gateway, "", entitled(o.Store, inside)))),
		admin:    watch.observe(trail.watch(muxes.admin, "", listed(o.Admins, routed(muxes.admin)))),
	}
	return a, nil
}

// Mount adds the portal's pages, which ask by themselves who calls, to both listeners. Do it before anything is served.
func (a *API) Mount(gateway, admin http.Handler) { a.pages = [2]http.Handler{gateway, admin} }

// beside serves the portal's pages where there are some, and the API else.
func beside(pages *http.Handler, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if *pages == nil || !contract.IsPortal(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		recordOf(r.Context()).route = contract.PathPortal
		(*pages).ServeHTTP(w, r)
	})
}

// routes puts each operation on the listener that it belongs to.
type routes struct{ gateway, admin *http.ServeMux }

// HandleFunc makes routes a humago.Mux.
func (r *routes) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	if isAdmin(pattern) {
		r.admin.HandleFunc(pattern, handler)
		return
	}
	r.gateway.HandleFunc(pattern, handler)
}

// ServeHTTP is not used: each listener has its own mux.
func (*routes) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// register adds an operation whose errors are translated in one place.
func register[I, O any](api huma.API, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		entryOf(ctx).note(in)
		out, err := handle(ctx, in)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		return out, nil
	})
}
