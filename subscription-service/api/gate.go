package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

type callerKey struct{}

// callerOf returns who calls. Only requests that passed vouched have one.
func callerOf(ctx context.Context) contract.Caller {
	caller, _ := ctx.Value(callerKey{}).(contract.Caller)
	return caller
}

type linkKey struct{}

// linkOf returns the link for a late consent that a caller had. Only requests that passed vouched on that path have one.
func linkOf(ctx context.Context) contract.ConsentLink {
	link, _ := ctx.Value(linkKey{}).(contract.ConsentLink)
	return link
}

// gate lets the consumers' calls in.
type gate struct {
	signer  *contract.Signer
	store   *store.Store
	refused *prometheus.CounterVec
}

func newGate(signer *contract.Signer, kept *store.Store, metrics prometheus.Registerer) *gate {
	g := &gate{signer: signer, store: kept, refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhook_statements_refused_total", Help: "Calls without a statement of the gateway that holds for them, by reason.",
	}, []string{"reason"})}
	metrics.MustRegister(g.refused)
	return g
}

// refusal is why a call is not let in.
type refusal struct{ reason, detail string }

var (
	unvouched    = &refusal{"invalid", "this call lacks the gateway's statement about its caller: call through the gateway"}
	notThisCall  = &refusal{"other_call", "the gateway's statement is about another call: call through the gateway"}
	tooLate      = &refusal{"expired", "the gateway's statement has expired: a call must arrive within " + contract.CallerLife.String() + ", its body too"}
	usedBefore   = &refusal{"used", "the gateway's statement was used before: each is good for one call"}
	cannotBeTold = &refusal{"unavailable", "the store can't be reached, which knows whether this call was made before: try again"}
)

// vouched lets a request through only with exactly one statement of the gateway, about this very call or, on the path of late
// consents, about a link, and only once. It comes before everything else: before routing, and before the body is read.
func (g *gate) vouched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, why := g.stated(r)
		if why != nil {
			g.refused.WithLabelValues(why.reason).Inc()
			why.write(w, recordOf(r.Context()).id)
			return
		}
		r.Header.Del(contract.HeaderStatement) // nothing below has a use for it
		http.StripPrefix(contract.GatewayPrefix, next).ServeHTTP(w, r.WithContext(ctx))
	})
}

// stated returns the request's context with what the statement says. A statement of one kind says nothing on the other's path.
func (g *gate) stated(r *http.Request) (context.Context, *refusal) {
	if r.URL.EscapedPath() == contract.GatewayPrefix+contract.ConsentPath {
		link, why := g.linkFor(r)
		return context.WithValue(r.Context(), linkKey{}, link), why
	}
	caller, why := g.callerFor(r)
	if why == nil {
		recordOf(r.Context()).consumer = caller.Consumer
		actorIs(r.Context(), contract.ActorConsumer, caller.Consumer)
		entryOf(r.Context()).From = caller.From
	}
	return context.WithValue(r.Context(), callerKey{}, caller), why
}

func (g *gate) linkFor(r *http.Request) (contract.ConsentLink, *refusal) {
	link, err := g.signer.VerifyConsent(statementOf(r))
	if err != nil {
		return contract.ConsentLink{}, whyNot(err)
	}
	return link, g.once(r, link.Statement)
}

func (g *gate) callerFor(r *http.Request) (contract.Caller, *refusal) {
	caller, err := g.signer.VerifyCaller(statementOf(r))
	switch {
	case err != nil:
		return contract.Caller{}, whyNot(err)
	case !about(caller, r):
		return contract.Caller{}, notThisCall
	}
	return caller, g.once(r, caller.Statement)
}

// statementOf returns "", which no signer has signed, unless there is exactly one statement.
func statementOf(r *http.Request) string {
	statements := r.Header.Values(contract.HeaderStatement)
	if len(statements) != 1 {
		return ""
	}
	return statements[0]
}

func whyNot(err error) *refusal {
	if errors.Is(err, jwt.ErrTokenExpired) {
		return tooLate
	}
	return unvouched
}

// once uses a statement up. It comes last: what is refused anyway uses up nothing.
func (g *gate) once(r *http.Request, statement string) *refusal {
	first, err := g.store.UseStatement(r.Context(), statement, contract.CallerLife+2*contract.StatementLeeway)
	switch {
	case err != nil:
		recordOf(r.Context()).err = err
		return cannotBeTold
	case !first:
		return usedBefore
	}
	return nil
}

// about reports whether a statement is about this call. The path is compared decoded, and what is asked for is read from the path
// as it was sent.
func about(caller contract.Caller, r *http.Request) bool {
	resource, actions := asked(r)
	return caller.Method == r.Method && contract.GatewayPrefix+caller.Path == r.URL.Path &&
		caller.Resource == resource && slices.Contains(actions, caller.Action)
}

func (why *refusal) write(w http.ResponseWriter, request string) {
	if why == cannotBeTold {
		w.Header().Set("Retry-After", "1")
		writeProblem(w, contract.KindStoreUnavailable.Problem(why.detail+" (request "+request+")"))
		return
	}
	unauthorized(w, contract.KindUnvouched.Problem(why.detail))
}

// asked returns the resource of a call by its path, and the actions of which one is enough; a path of neither kind asks for
// none that exists. To read about events, either side of them will do. What anybody may call is its own resource.
func asked(r *http.Request) (resource string, actions []string) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), contract.GatewayPrefix)
	if !ok || !strings.HasPrefix(path, "/") {
		return "", nil
	}
	return askedAt(r.Method, path)
}

// askedAt is asked for a public path.
func askedAt(method, path string) (resource string, actions []string) {
	switch {
	case path == contract.PathPortalLinks:
		return path, []string{contract.ActionPortal}
	case contract.IsPublic(path):
		return path, []string{contract.ActionPublic}
	}
	resource, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first, _, _ := strings.Cut(rest, "/"); {
	case first == "subscribe":
		return resource, []string{contract.ActionSubscribe}
	case first == "events" && method == http.MethodGet:
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
			unauthorized(w, contract.KindUnauthorized.Problem("send Authorization: Bearer with the admin token"))
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
func unauthorized(w http.ResponseWriter, p contract.Problem) {
	w.Header().Set("Connection", "close")
	w.Header().Set("WWW-Authenticate", `Bearer realm="apisix-webhooks"`)
	writeProblem(w, p)
}

type checksKey struct{}

// checks are what the validation of bodies needs, which has only the request's context.
type checks struct {
	policy *guard.Policy
	now    func() time.Time
}

func withChecks(c checks, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), checksKey{}, c)))
	})
}

func policyOf(ctx context.Context) *guard.Policy { return ctx.Value(checksKey{}).(checks).policy }
func nowOf(ctx context.Context) time.Time        { return ctx.Value(checksKey{}).(checks).now() }
