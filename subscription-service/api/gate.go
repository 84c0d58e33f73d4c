package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
)

type callerKey struct{}

// callerOf returns who calls. Only requests that passed vouched have one.
func callerOf(ctx context.Context) contract.Caller {
	caller, _ := ctx.Value(callerKey{}).(contract.Caller)
	return caller
}

// vouched lets a request through only with exactly one statement of the gateway, about this resource and this kind of call.
// It comes before everything else: before routing, and before the body is read.
func vouched(signer *contract.Signer, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, ok := callerFor(signer, r)
		if !ok {
			unauthorized(w, "this call lacks the gateway's statement about its caller: call through the gateway")
			return
		}
		recordOf(r.Context()).consumer = caller.Consumer
		actorIs(r.Context(), contract.ActorConsumer, caller.Consumer)
		entryOf(r.Context()).From = caller.From
		r.Header.Del(contract.HeaderStatement) // nothing below has a use for it
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
		http.StripPrefix(contract.GatewayPrefix, next).ServeHTTP(w, r)
	})
}

func callerFor(signer *contract.Signer, r *http.Request) (contract.Caller, bool) {
	statements := r.Header.Values(contract.HeaderStatement)
	if len(statements) != 1 {
		return contract.Caller{}, false
	}
	caller, err := signer.VerifyCaller(statements[0])
	if err != nil {
		return contract.Caller{}, false
	}
	resource, actions := asked(r)
	return caller, caller.Resource == resource && slices.Contains(actions, caller.Action)
}

// asked returns the resource of a call by its path, and the actions of which one is enough; a path of neither kind asks for
// none that exists. To read about events, either side of them will do.
func asked(r *http.Request) (resource string, actions []string) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), contract.GatewayPrefix+"/")
	if !ok {
		return "", nil
	}
	resource, rest, _ := strings.Cut(path, "/")
	switch first, _, _ := strings.Cut(rest, "/"); {
	case first == "subscribe":
		return resource, []string{contract.ActionSubscribe}
	case first == "events" && r.Method == http.MethodGet:
		return resource, []string{contract.ActionPublish, contract.ActionSubscribe}
	case first == "events":
		return resource, []string{contract.ActionPublish}
	}
	return resource, nil
}

// bearer lets a request through only with the token of an admin.
func bearer(admins Admins, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := admins.whose(bearerToken(r))
		if name == "" {
			unauthorized(w, "send Authorization: Bearer with the admin token")
			return
		}
		recordOf(r.Context()).admin = name
		actorIs(r.Context(), contract.ActorAdmin, name)
		next.ServeHTTP(w, r)
	})
}

// bearerToken returns "" unless there is exactly one Authorization header with the scheme Bearer.
func bearerToken(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// unauthorized also ends the connection: nobody holds one who may not call.
func unauthorized(w http.ResponseWriter, detail string) {
	w.Header().Set("Connection", "close")
	w.Header().Set("WWW-Authenticate", `Bearer realm="apisix-webhooks"`)
	writeProblem(w, contract.NewProblem(http.StatusUnauthorized, detail))
}

type policyKey struct{}

// withPolicy hands the policy to the validation of bodies, which has only the request's context.
func withPolicy(policy *guard.Policy, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), policyKey{}, policy)))
	})
}

func policyOf(ctx context.Context) *guard.Policy {
	policy, _ := ctx.Value(policyKey{}).(*guard.Policy)
	return policy
}
