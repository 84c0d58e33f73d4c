package subscribe

import (
	"errors"
	"net/http"
	"strings"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/bearer"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
)

const (
	headerKey           = "apikey"
	headerAuthorization = "Authorization"
	schemeBearer        = "Bearer"
	// consumerName is APISIX's variable with the consumer that one of its own plugins authenticated. No client can set it.
	consumerName = "consumer_name"
)

// credentials are the headers that say who calls, and those in which APISIX's openid-connect passes on what it knows of them.
// They end here.
var credentials = []string{headerKey, headerAuthorization, "X-Access-Token", "X-ID-Token", "X-Refresh-Token", "X-Userinfo"}

// caller is who calls.
type caller struct {
	store.Access
	// identity is the token's, where one was shown: it may be for less than what its consumer may do.
	identity bearer.Identity
}

// authenticate tells who calls, in the one way that the call has: whom APISIX authenticated, an API key, or a token. Nothing
// about the resource is said to somebody unknown.
func (h *Handler) authenticate(c filter.Config, r pkgHTTP.Request, resource string) (caller, *filter.Refusal) {
	header := r.Header()
	if sent(header, headerKey) && sent(header, headerAuthorization) {
		return caller{}, filter.RefuseAs(contract.KindTwoCredentials, "both apikey and Authorization are there, and may speak for two callers: send one")
	}
	if c.ApisixConsumers {
		name, err := r.Var(consumerName)
		if err != nil {
			return caller{}, unavailable("the gateway could not read the request: try again")
		}
		if len(name) > 0 { // what key APISIX took is its own: it is not looked up
			return h.byApisix(c, string(name), resource)
		}
	}
	if key := header.Get(headerKey); key != "" {
		return h.byKey(c, key, resource)
	}
	if value := header.Get(headerAuthorization); value != "" {
		return h.byToken(c, r, value, resource)
	}
	return caller{}, unauthorized(c, "send "+accepted(c))
}

func sent(header pkgHTTP.Header, name string) bool {
	return len(header.View()[http.CanonicalHeaderKey(name)]) > 0
}

func (h *Handler) byKey(c filter.Config, key, resource string) (caller, *filter.Refusal) {
	access, err := h.keys.access(key, resource, c.KeyCacheTTL)
	if err != nil {
		h.log.Warn("a call is refused since its key cannot be looked up", zap.Error(err))
		return caller{}, unavailable("the gateway cannot check keys now: try again")
	}
	if access.Consumer == "" {
		return caller{}, unauthorized(c, "the API key is not known: it may have been revoked")
	}
	return caller{Access: access}, nil
}

func (h *Handler) byApisix(c filter.Config, name, resource string) (caller, *filter.Refusal) {
	who, refusal := h.byName(c, name, resource)
	if refusal == nil && who.Consumer == "" {
		refusal = unauthorized(c, "the gateway's consumer is not known here: ask the administrator")
	}
	return who, refusal
}

// byName takes the word of somebody trusted for who calls. For somebody who is not known here it is an empty consumer.
func (h *Handler) byName(c filter.Config, name, resource string) (caller, *filter.Refusal) {
	access, err := h.keys.consumer(name, resource, c.KeyCacheTTL)
	switch {
	case errors.Is(err, store.ErrConflict):
		h.log.Warn("a call is refused since several consumers have its consumer's name: rename all but one", zap.String("name", contract.Printable(name)))
		return caller{}, nil
	case err != nil:
		h.log.Warn("a call is refused since its consumer cannot be looked up", zap.Error(err))
		return caller{}, unavailable("the gateway cannot check consumers now: try again")
	}
	return caller{Access: access}, nil
}

func (h *Handler) byToken(c filter.Config, r pkgHTTP.Request, authorization, resource string) (caller, *filter.Refusal) {
	scheme, token, _ := strings.Cut(authorization, " ")
	token = strings.TrimLeft(token, " ") // RFC 9110, section 11.4: one space or more
	if c.Issuers == nil || !strings.EqualFold(scheme, schemeBearer) || token == "" {
		return caller{}, unauthorized(c, "what Authorization says is not accepted here: send "+accepted(c))
	}
	identity, err := h.tokens.Verify(r.Context(), c.Issuers, token)
	var refused *bearer.Refused
	switch {
	case errors.As(err, &refused):
		h.log.Warn("a token is refused", zap.String("reason", string(refused.Reason)))
		return caller{}, invalidToken(c)
	case err != nil:
		h.log.Warn("a call is refused since its token cannot be judged", zap.Error(err))
		return caller{}, unavailable("the gateway cannot check tokens now: try again").With("Retry-After", "5")
	}
	who, refusal := h.byName(c, identity.Consumer, resource)
	if refusal == nil && who.Consumer == "" {
		h.log.Warn("a token is refused", zap.String("reason", "unknown_consumer"))
		refusal = invalidToken(c)
	}
	who.identity = identity
	return who, refusal
}
