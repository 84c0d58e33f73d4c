package subscribe

import (
	"net/http"
	"strings"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
)

// isConsent takes the path of late consents and everything below it, so that nothing there goes by the plugin.
func isConsent(path string) bool {
	rest, ok := strings.CutPrefix(path, contract.ConsentPath)
	return ok && (rest == "" || rest[0] == '/')
}

// handleConsent lets a call go on whose path ends in the token of a link. Of the caller nothing else is known, and the statement
// says no more. The token goes no further.
func (h *Handler) handleConsent(r pkgHTTP.Request, path string) *filter.Refusal {
	if r.Method() != http.MethodGet && r.Method() != http.MethodPost {
		return filter.Refuse(http.StatusMethodNotAllowed, "use GET or POST").With("Allow", "GET, POST")
	}
	if refusal := judgeable(r, path); refusal != nil {
		return refusal
	}
	link, err := h.links.VerifyLink(strings.TrimPrefix(path, contract.ConsentPath+"/"))
	if err != nil {
		return filter.RefuseAs(contract.KindLinkInvalid, "this is no valid link, or it has expired: take the one of the latest OPTIONS request")
	}
	statement, err := h.signer.SignConsent(link)
	return h.handOn(r, contract.ConsentPath, statement, err)
}
