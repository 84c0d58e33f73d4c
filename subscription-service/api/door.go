package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// doors lead to the API from inside of the process: what comes through them is validated, limited and audited as every call is.
type doors struct{ consumer, admin http.Handler }

// AsConsumer makes calls as a consumer, which is who uses the portal, by the paths that the gateway has and with the grants that the consumer has at that moment.
// RemoteAddr of a request is the address that the audit log names. Close the answer's body: that waits for the call's end.
func (a *API) AsConsumer(user contract.PortalUser) http.RoundTripper {
	return door{a.doors.consumer, user}
}

// AsAdmin makes calls as the admin of a name, below /admin/v1; see AsConsumer.
func (a *API) AsAdmin(name string) http.RoundTripper {
	return door{a.doors.admin, contract.PortalUser{Actor: contract.Actor{Kind: contract.ActorAdmin, ID: name}}}
}

// AddressOf is the address of who calls, as the gateway saw it or else as the peer of the listener.
func AddressOf(r *http.Request) string {
	if caller := callerOf(r.Context()); caller.From != "" {
		return caller.From
	}
	return peer(r)
}

// IDOf is the request's id, which stands in its log line and in the audit log.
func IDOf(ctx context.Context) string { return recordOf(ctx).id }

type doorKey struct{}

// through returns who a call through a door is made for.
func through(ctx context.Context) contract.PortalUser {
	user, _ := ctx.Value(doorKey{}).(contract.PortalUser)
	return user
}

// entitled lets a consumer's call through that its grants allow, as the gateway does.
func entitled(from *store.Store, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, user := r.Context(), through(r.Context())
		id := user.Actor.ID
		recordOf(ctx).consumer = id
		actorIs(ctx, contract.ActorConsumer, id)
		consumer, err := from.Consumer(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			writeProblem(w, contract.KindUnauthorized.Problem("the caller is no consumer any more"))
			return
		case err != nil:
			recordOf(ctx).err = err
			writeProblem(w, contract.KindStoreUnavailable.Problem(storeAway(recordOf(ctx))))
			return
		}
		caller, ok := entitlement(consumer, r)
		caller.Key, caller.Until = user.Key, user.Ends // what stays open ends with the session
		if !ok {
			writeProblem(w, contract.KindNoGrant.Problem("you have no grant for this: ask the administrator for one"))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, callerKey{}, caller)))
	})
}

// entitlement is what the gateway would state of a call.
func entitlement(consumer contract.Consumer, r *http.Request) (contract.Caller, bool) {
	resource, actions := askedAt(r.Method, r.URL.EscapedPath())
	for _, action := range consumer.ActionsOn(resource) {
		if slices.Contains(actions, action) {
			return contract.Caller{Consumer: consumer.ID, Resource: resource, Action: action, Method: r.Method, Path: r.URL.Path, From: peer(r)}, true
		}
	}
	return contract.Caller{}, false
}

// listed lets the call of an admin through who is one still.
func listed(admins Admins, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := through(r.Context()).Actor.ID
		if !admins.Has(name) {
			writeProblem(w, contract.KindUnauthorized.Problem("the caller is no admin any more"))
			return
		}
		recordOf(r.Context()).admin = name
		actorIs(r.Context(), contract.ActorAdmin, name)
		next.ServeHTTP(w, r)
	})
}

// Events is an answer of server-sent events that a page gives by itself.
type Events struct{ out *eventWriter }

// OpenEvents begins one. How long it stays open says nothing of the service.
func OpenEvents(w http.ResponseWriter, r *http.Request) Events {
	recordOf(r.Context()).stays = true
	return Events{openEvents(w, DefaultStreams.Write)}
}

// Send writes one event, with the id by which a client that comes back goes on. Its error means that the client is gone or does not read.
func (e Events) Send(id, name string, data []byte) error {
	return e.out.Send(sse{ID: id, Name: name, Data: data})
}

// Beat writes a comment, so that nobody on the way takes the answer for dead.
func (e Events) Beat() { e.out.comment("beat") }
