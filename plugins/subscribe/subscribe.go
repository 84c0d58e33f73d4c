// Package subscribe is the plugin webhook-subscribe: it tells who calls /{resource}/subscribe and /{resource}/events,
// whether they may, and vouches for them to the subscription service with a signed statement.
package subscribe

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
)

// Name is the plugin's name in a route.
const Name = "webhook-subscribe"

const (
	headerKey           = "apikey"
	headerAuthorization = "Authorization"
	// challenge goes out in one header value: of several WWW-Authenticate headers APISIX keeps the last.
	challenge = `ApiKey realm="webhooks"`
	// rawTarget is APISIX's variable with the request line's own target.
	rawTarget = "real_request_uri"
)

// Handler is the plugin. Make it with New.
type Handler struct {
	signer *contract.Signer
	keys   *keyring
	log    *zap.Logger
}

// New makes the plugin. now is the clock of its cache, time.Now in production.
func New(signer *contract.Signer, keys Authenticator, now func() time.Time, log *zap.Logger) *Handler {
	return &Handler{signer: signer, keys: newKeyring(keys, now), log: log}
}

// Owns reports whether the path is one of the plugin's.
func (h *Handler) Owns(path []byte) bool {
	_, _, ok := parsePath(string(path))
	return ok
}

// Handle lets a call go on to the subscription service, with a statement of who calls, or refuses it.
func (h *Handler) Handle(c filter.Config, r pkgHTTP.Request) *filter.Refusal {
	path := string(r.Path())
	resource, kind, _ := parsePath(path)
	if refusal := h.check(r, path, resource); refusal != nil {
		return refusal
	}
	access, refusal := h.authenticate(c, r.Header(), resource)
	if refusal != nil {
		return refusal
	}
	action, refusal := authorize(access, resource, kind, r.Method())
	if refusal != nil {
		return refusal
	}
	statement, err := h.signer.SignCaller(contract.Caller{
		Consumer: access.Consumer, Resource: resource, Action: action, Method: r.Method(), Path: path, From: r.SrcIP().String(),
	})
	if err != nil {
		h.log.Error("signing a statement", zap.Error(err))
		return filter.Refuse(http.StatusInternalServerError, "the gateway failed on this call")
	}
	handOver(r, path, statement)
	return nil
}

// check refuses what must not be looked at any further.
func (h *Handler) check(r pkgHTTP.Request, path, resource string) *filter.Refusal {
	raw, err := r.Var(rawTarget)
	if err != nil {
		return unavailable("the gateway could not read the request: try again")
	}
	if refusal := checkPath(path, string(raw)); refusal != nil {
		return refusal
	}
	if err := contract.ValidateResource(resource); err != nil {
		return filter.Refuse(http.StatusNotFound, err.Error())
	}
	return filter.CheckHeaders(r.Header().View())
}

// authenticate tells who calls. Nothing about the resource is said to somebody unknown.
func (h *Handler) authenticate(c filter.Config, header pkgHTTP.Header, resource string) (store.Access, *filter.Refusal) {
	key := header.Get(headerKey)
	if key == "" {
		return store.Access{}, unauthorized(missingKey(header))
	}
	access, err := h.keys.access(key, resource, c.KeyCacheTTL)
	if err != nil {
		h.log.Warn("a call is refused since its key cannot be looked up", zap.Error(err))
		return store.Access{}, unavailable("the gateway cannot check keys now: try again")
	}
	if access.Consumer == "" {
		return store.Access{}, unauthorized("the API key is not known: it may have been revoked")
	}
	return access, nil
}

func missingKey(header pkgHTTP.Header) string {
	if header.Get(headerAuthorization) != "" {
		return "API keys are what is accepted here: send yours in the header apikey, not in Authorization"
	}
	return "send your API key in the header apikey"
}

// authorize returns the action that the call is allowed as.
func authorize(access store.Access, resource, kind, method string) (string, *filter.Refusal) {
	if !access.Known {
		return "", filter.Refuse(http.StatusNotFound, fmt.Sprintf("there is no resource %s", resource))
	}
	wanted := wantedActions(kind, method)
	for _, action := range wanted {
		if slices.Contains(access.Actions, action) {
			return action, nil
		}
	}
	return "", filter.Refuse(http.StatusForbidden, fmt.Sprintf("you have no grant to %s on %s: ask the administrator for one",
		wanted[0], resource))
}

// wantedActions returns the actions of which one is enough. To read about events, either side of them will do.
func wantedActions(kind, method string) []string {
	switch {
	case kind == kindSubscribe:
		return []string{contract.ActionSubscribe}
	case method == http.MethodGet:
		return []string{contract.ActionPublish, contract.ActionSubscribe}
	}
	return []string{contract.ActionPublish}
}

// handOver turns the call into one for the subscription service. The statement is never equal to a header of the client,
// in which case Set would be dropped: it holds a random id.
func handOver(r pkgHTTP.Request, path, statement string) {
	header := r.Header()
	filter.StripInternal(header)
	header.Del(headerKey)
	header.Del(headerAuthorization)
	header.Set(contract.HeaderStatement, statement)
	r.SetPath([]byte(contract.GatewayPrefix + path))
}

func unauthorized(detail string) *filter.Refusal {
	return filter.Refuse(http.StatusUnauthorized, detail).With("WWW-Authenticate", challenge)
}

func unavailable(detail string) *filter.Refusal {
	return filter.Refuse(http.StatusServiceUnavailable, detail).With("Retry-After", "1")
}
