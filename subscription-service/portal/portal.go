// Package portal is the web page of the service: what a consumer or an admin can do with the API, to look at and to click on. It
// calls the API from inside of the process, in the name of whoever is signed in.
package portal

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
)

// Options are what the portal stands on. All are needed but FrameAncestors.
type Options struct {
	API    *api.API
	Store  *store.Store
	Admins api.Admins
	// At says where the portal is; it is what the API's links were made with.
	At api.PortalOptions
	// FrameAncestors are the origins whose pages may embed the portal; none unless set.
	FrameAncestors []string
	Log            *zap.Logger
	// Now is the clock.
	Now func() time.Time
}

// Portal has the pages of both listeners. Make it with New.
type Portal struct{ gateway, admin http.Handler }

// New makes the portal.
func New(o Options) (*Portal, error) {
	pages, err := parsePages()
	if err != nil {
		return nil, err
	}
	gateway, err := newSite(o, pages, contract.DoorGateway, o.At.URL)
	if err != nil {
		return nil, err
	}
	admin, err := newSite(o, pages, contract.DoorAdmin, o.At.AdminURL)
	if err != nil {
		return nil, err
	}
	return &Portal{gateway, admin}, nil
}

// Mount adds the pages to both listeners.
func (p *Portal) Mount(to *api.API) { to.Mount(p.gateway, p.admin) }

// site is the portal at one listener.
type site struct {
	Options

	pages  pages
	door   contract.Door
	base   string // the path below which the listener is, as the browser sees it
	secure bool   // the browser comes over https
	mux    *http.ServeMux
}

// newSite returns the handler of one listener's portal, whose public address is at.
func newSite(o Options, p pages, door contract.Door, at string) (http.Handler, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, fmt.Errorf("reading the portal's address: %w", err)
	}
	s := &site{Options: o, pages: p, door: door, base: strings.TrimSuffix(u.Path, "/"), secure: u.Scheme == "https", mux: http.NewServeMux()}
	s.routes()
	crossOrigin := http.NewCrossOriginProtection()
	if u.Host != "" {
		if err := crossOrigin.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, fmt.Errorf("reading the portal's address: %w", err)
		}
	}
	crossOrigin.SetDenyHandler(http.HandlerFunc(s.foreign))
	return s.guarded(crossOrigin.Handler(s.mux)), nil
}

// admins tells whether the pages of admins are at this listener.
func (s *site) admins() bool { return s.At.AdminsAtGateway == (s.door == contract.DoorGateway) }

// routes lists every page.
func (s *site) routes() {
	s.mux.HandleFunc("GET /portal/assets/{hash}/{name}", s.asset)
	s.mux.HandleFunc("GET /portal", func(w http.ResponseWriter, r *http.Request) { s.redirect(w, r, "/portal/") })
	s.mux.HandleFunc("GET /portal/sign-in/{token}", s.showLink)
	s.mux.HandleFunc("POST /portal/sign-in/{token}", s.signIn)
	s.mux.HandleFunc("POST /portal/sign-out", s.as(anybody, signOut))
	s.mux.HandleFunc("GET /portal/{$}", s.as(anybody, home))
	s.mux.HandleFunc("/portal/", s.missing)
	if s.door == contract.DoorGateway {
		s.consumerRoutes()
	}
	if s.admins() {
		s.adminRoutes()
	}
}

// consumerRoutes lists the pages of consumers.
func (s *site) consumerRoutes() {
	const resource = "/portal/resources/{resource}"
	const one = resource + "/subscriptions/{id}"
	for pattern, page := range map[string]func(*visit) error{
		"GET " + resource + "/{$}":    listSubscriptions,
		"GET " + resource + "/new":    newSubscription,
		"POST " + resource + "/new":   createSubscription,
		"POST " + resource + "/check": checkNew,

		"GET " + resource + "/events/docs":          showDocument("docs"),
		"GET " + resource + "/events/openapi.json":  showDocument("openapi.json"),
		"GET " + resource + "/events/asyncapi.json": showDocument("asyncapi.json"),

		"GET " + one:                      showSubscription,
		"GET " + one + "/edit":            editSubscription,
		"POST " + one + "/edit":           changeSubscription,
		"POST " + one + "/check":          checkEdit,
		"POST " + one + "/pause":          pause,
		"POST " + one + "/resume":         resume,
		"POST " + one + "/verify":         verify,
		"POST " + one + "/test":           test,
		"POST " + one + "/rotate":         rotate,
		"GET " + one + "/delete":          confirmDelete,
		"POST " + one + "/delete":         deleteSubscription,
		"GET " + one + "/explain":         explain,
		"GET " + one + "/replay":          askReplay,
		"POST " + one + "/replay":         beginReplay,
		"GET " + one + "/replay/{replay}": showReplay,

		"GET " + one + "/live":                          live,
		"GET " + one + "/deliveries":                    listDeliveries,
		"GET " + one + "/deliveries/{delivery}":         showDelivery,
		"POST " + one + "/deliveries/{delivery}/replay": replayDelivery,
	} {
		s.consumer(pattern, page)
	}
}

// consumer adds a page for consumers.
func (s *site) consumer(pattern string, page func(*visit) error) {
	s.mux.HandleFunc(pattern, s.as(contract.ActorConsumer, page))
}

// admin adds a page for admins.
func (s *site) admin(pattern string, page func(*visit) error) {
	s.mux.HandleFunc(pattern, s.as(contract.ActorAdmin, page))
}
