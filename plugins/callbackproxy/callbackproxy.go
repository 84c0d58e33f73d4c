// Package callbackproxy is the plugin webhook-callback: it lets a callback out only with a signed statement of the callback
// service that names the target, and vouches for it to the egress with a one-time pass.
package callbackproxy

import (
	"errors"
	"net/http"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/once"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
)

// Name is the plugin's name in a route.
const Name = "webhook-callback"

// Handler is the plugin.
type Handler struct {
	Signer *contract.Signer
	Policy *guard.Policy
	Book   *pass.Book
	// Used has the statements that were used: each is good for one call.
	Used *once.Set
	Log  *zap.Logger
	// Ready reports whether the egress of this process listens. Until it does, another process may hold its port, and
	// would know nothing of our passes.
	Ready func() bool
}

// Owns reports whether the path is the plugin's.
func (h *Handler) Owns(path []byte) bool { return string(path) == contract.CallbackPath }

// Handle lets a call go on to the egress with a pass, or refuses it. It never reads the body.
func (h *Handler) Handle(_ filter.Config, r pkgHTTP.Request) *filter.Refusal {
	if r.Method() != http.MethodPost {
		return filter.Refuse(http.StatusMethodNotAllowed, "use POST").With("Allow", http.MethodPost)
	}
	header := r.Header()
	if refusal := filter.CheckHeaders(header.View()); refusal != nil {
		return refusal
	}
	callback, err := h.Signer.VerifyCallback(header.Get(contract.HeaderStatement))
	if err != nil {
		return refuse(contract.OutcomeUnvouched, statementFault(err))
	}
	if !h.Ready() {
		return filter.Refuse(http.StatusServiceUnavailable, "the egress is not ready: try again").With("Retry-After", "1")
	}
	if refusal := h.use(callback.Statement); refusal != nil {
		return refusal
	}
	token, refusal := h.issue(callback)
	if refusal != nil {
		return refusal
	}
	filter.StripInternal(header)
	header.Set(contract.HeaderPass, token)
	r.SetPath([]byte("/"))
	return nil
}

// use refuses a statement that was used before. It comes last of what is about the caller: a call that is told to try again has
// not used its statement up, though who tries again makes another.
func (h *Handler) use(statement string) *filter.Refusal {
	switch err := h.Used.Use(statement); {
	case err == nil:
		return nil
	case errors.Is(err, once.ErrUsed):
		h.Log.Warn("a callback is refused since its statement was used before: somebody repeats calls to this gateway")
		return refuse(contract.OutcomeUnvouched, "the statement was used before: each is good for one call")
	}
	return refuse(contract.OutcomeOverloaded, "too many calls were made just now: try again").With("Retry-After", "1")
}

// issue writes the call down for the egress. The target is checked again: the administrator's exceptions may have changed
// since the consumer subscribed.
func (h *Handler) issue(c contract.Callback) (string, *filter.Refusal) {
	target, err := h.Policy.CheckURL(c.Target)
	if err != nil {
		return "", refuse(contract.OutcomeAddressRefused, "the target is not one that may be called")
	}
	token, err := h.Book.Issue(pass.Grant{
		Method: c.Method, Target: target, Timeouts: c.Timeouts, Certificate: c.Certificate, Subscription: c.Subscription, Delivery: c.Delivery,
	})
	if err != nil {
		return "", refuse(contract.OutcomeOverloaded, "too many calls are under way: try again").
			With("Retry-After", "1")
	}
	return token, nil
}

// refuse speaks the egress's vocabulary, so that the callback service need not tell the two apart.
func refuse(outcome contract.Outcome, detail string) *filter.Refusal {
	return filter.RefuseAs(contract.KindOfOutcome(outcome), detail).With(contract.HeaderOutcome, string(outcome))
}

// statementFault tells an operator's mistakes apart (a wrong clock, a wrong key) and nothing else.
func statementFault(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "the statement has expired"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return "the statement is not signed with the key that is wanted"
	case errors.Is(err, contract.ErrUnknownKey):
		return "the statement is signed with a key that is not one of ours"
	}
	return "the call has no valid statement"
}
