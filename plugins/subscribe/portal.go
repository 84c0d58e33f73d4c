package subscribe

import (
	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
)

// portal is looked up in place of a resource: none can have the name, and no grant on one is needed.
const portal = "portal"

// letKnown lets every consumer ask for a link to the portal. A session there is for all that its consumer may do, so a token that
// is for less gets none.
func (h *Handler) letKnown(c filter.Config, r pkgHTTP.Request, path string) *filter.Refusal {
	if refusal := judgeable(r, path); refusal != nil {
		return refusal
	}
	who, refusal := h.authenticate(c, r, portal)
	if refusal != nil {
		return refusal
	}
	if who.identity.Narrowed {
		return filter.RefuseAs(contract.KindTokenGrant, "a link to the portal is for all that a consumer may do, and the token only for the grants that it names: use an API key")
	}
	return h.vouch(r, path, contract.Caller{
		Consumer: who.Consumer, Resource: path, Action: contract.ActionPortal, Key: who.Key, Until: who.identity.Expires,
	})
}
