// Package subscribe is the plugin webhook-subscribe: it tells who calls /{resource}/subscribe and /{resource}/events,
// whether they may, and vouches for them to the subscription service with a signed statement. For the few paths that anybody may
// call it vouches for just that.
package subscribe

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/bearer"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
)

// Name is the plugin's name in a route.
const Name = "webhook-subscribe"

// rawTarget is APISIX's variable with the request line's own target.
const rawTarget = "real_request_uri"

// Handler is the plugin. Make it with New.
type Handler struct {
	signer *contract.Signer
	links  *contract.Signer
	keys   *keyring
	tokens *bearer.Verifier
	log    *zap.Logger
}

// New makes the plugin. signer states who calls; links checks the links of late consents, which the callback service makes. now is
// the clock of its cache, time.Now in production.
func New(signer, links *contract.Signer, callers Directory, tokens *bearer.Verifier, now func() time.Time, log *zap.Logger) *Handler {
	return &Handler{signer: signer, links: links, keys: newKeyring(callers, now), tokens: tokens, log: log}
}

// Owns reports whether the path is one of the plugin's.
func (h *Handler) Owns(path []byte) bool {
	_, _, ok := parsePath(string(path))
	return ok || isConsent(string(path)) || string(path) == contract.PathPortalLinks || contract.IsPublic(string(path))
}

// Handle lets a call go on to the subscription service, with a statement of who calls, or refuses it.
func (h *Handler) Handle(c filter.Config, r pkgHTTP.Request) *filter.Refusal {
	path := string(r.Path())
	switch {
	case isConsent(path):
		return h.handleConsent(r, path)
	case path == contract.PathPortalLinks:
		return h.letKnown(c, r, path)
	case contract.IsPublic(path):
		return h.letAnybody(r, path)
	}
	resource, kind, _ := parsePath(path)
	if refusal := h.check(r, path, resource); refusal != nil {
		return refusal
	}
	who, refusal := h.authenticate(c, r, resource)
	if refusal != nil {
		return refusal
	}
	action, refusal := authorize(who, resource, kind, r.Method())
	if refusal != nil {
		return refusal
	}
	return h.vouch(r, path, contract.Caller{
		Consumer: who.Consumer, Resource: resource, Action: action, Key: who.Key, Until: who.identity.Expires,
	})
}

// letAnybody states that nobody was asked who they are, and that the path wants it so.
func (h *Handler) letAnybody(r pkgHTTP.Request, path string) *filter.Refusal {
	if refusal := judgeable(r, path); refusal != nil {
		return refusal
	}
	return h.vouch(r, path, contract.Caller{Resource: path, Action: contract.ActionPublic})
}

// vouch states who calls, for this one call.
func (h *Handler) vouch(r pkgHTTP.Request, path string, caller contract.Caller) *filter.Refusal {
	caller.Method, caller.Path, caller.From = r.Method(), path, r.SrcIP().String()
	statement, err := h.signer.SignCaller(caller)
	return h.handOn(r, path, statement, err)
}

// handOn lets a call go on with its statement, unless that could not be signed.
func (h *Handler) handOn(r pkgHTTP.Request, path, statement string, err error) *filter.Refusal {
	if err != nil {
		h.log.Error("signing a statement", zap.Error(err))
		return filter.Refuse(http.StatusInternalServerError, "the gateway failed on this call")
	}
	handOver(r, path, statement)
	return nil
}

// check refuses what must not be looked at any further.
func (h *Handler) check(r pkgHTTP.Request, path, resource string) *filter.Refusal {
	if refusal := readable(r, path); refusal != nil {
		return refusal
	}
	if err := contract.ValidateResource(resource); err != nil {
		return filter.Refuse(http.StatusNotFound, err.Error())
	}
	return filter.CheckHeaders(r.Header().View())
}

// judgeable refuses a call of which two readers could think differently.
func judgeable(r pkgHTTP.Request, path string) *filter.Refusal {
	if refusal := readable(r, path); refusal != nil {
		return refusal
	}
	return filter.CheckHeaders(r.Header().View())
}

func readable(r pkgHTTP.Request, path string) *filter.Refusal {
	raw, err := r.Var(rawTarget)
	if err != nil {
		return unavailable("the gateway could not read the request: try again")
	}
	return checkPath(path, string(raw))
}

// authorize returns the action that the call is allowed as.
func authorize(who caller, resource, kind, method string) (string, *filter.Refusal) {
	if !who.Known {
		return "", filter.Refuse(http.StatusNotFound, fmt.Sprintf("there is no resource %s", resource))
	}
	wanted, allowed := wantedActions(kind, method), who.identity.Narrow(resource, who.Actions)
	for _, action := range wanted {
		if slices.Contains(allowed, action) {
			return action, nil
		}
	}
	for _, action := range wanted {
		if slices.Contains(who.Actions, action) {
			return "", insufficient(resource, action)
		}
	}
	return "", filter.RefuseAs(contract.KindNoGrant, fmt.Sprintf("you have no grant to %s on %s: ask the administrator for one",
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
	for _, name := range credentials {
		header.Del(name)
	}
	header.Set(contract.HeaderStatement, statement)
	r.SetPath([]byte(contract.GatewayPrefix + path))
}
