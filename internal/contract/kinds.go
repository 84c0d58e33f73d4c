package contract

import (
	"net/http"
	"strings"
)

// Kind is what kind of problem an error answer tells of: the last part of its type. The set is closed; docs/errors.md has a
// section for each, so a kind is never renamed.
type Kind string

// The kinds. Kinds says what each means.
const (
	KindBadRequest        Kind = "bad-request"
	KindUnsafePath        Kind = "unsafe-path"
	KindUnsafeHeaders     Kind = "unsafe-headers"
	KindTwoCredentials    Kind = "two-credentials" // #nosec G101 -- a name
	KindAmbiguousEvent    Kind = "ambiguous-event"
	KindUnauthorized      Kind = "unauthorized"
	KindInvalidToken      Kind = "invalid-token" // #nosec G101 -- a name
	KindUnvouched         Kind = "unvouched"
	KindForbidden         Kind = "forbidden"
	KindNoGrant           Kind = "no-grant"
	KindTokenGrant        Kind = "token-grant" // #nosec G101 -- a name
	KindLinkInvalid       Kind = "link-invalid"
	KindNotFound          Kind = "not-found"
	KindMethodNotAllowed  Kind = "method-not-allowed"
	KindNotAcceptable     Kind = "not-acceptable"
	KindTooSlow           Kind = "too-slow"
	KindConflict          Kind = "conflict"
	KindTooMany           Kind = "too-many"
	KindNotActive         Kind = "not-active"
	KindCallbackRefused   Kind = "callback-refused"
	KindLinkUsed          Kind = "link-used"
	KindTooLarge          Kind = "too-large"
	KindMediaType         Kind = "media-type"
	KindInvalid           Kind = "invalid"
	KindRateLimited       Kind = "rate-limited"
	KindAskedJustNow      Kind = "asked-just-now"
	KindInternal          Kind = "internal"
	KindUnavailable       Kind = "unavailable"
	KindBusy              Kind = "busy"
	KindStoreUnavailable  Kind = "store-unavailable"
	KindBrokerUnavailable Kind = "broker-unavailable"
	KindKeyMissing        Kind = "key-missing"
	KindNotSetUp          Kind = "not-set-up"
	KindAddressRefused    Kind = "address-refused"
	KindDNS               Kind = "dns"
	KindConnect           Kind = "connect"
	KindTLS               Kind = "tls"
	KindReset             Kind = "reset"
	KindTimeout           Kind = "timeout"
)

// ProblemTypes is what the type of every problem begins with; the kind follows.
const ProblemTypes = "https://github.com/apisix-webhooks/apisix-webhooks/blob/main/docs/errors.md#"

// KindInfo is what the catalogue of errors says of a kind. Meaning and Remedy are sentences in Markdown.
type KindInfo struct {
	Kind    Kind
	Status  int
	Meaning string
	Remedy  string
}

// Kinds are all kinds. Of those with one status the first is what a problem is of that names none.
var Kinds = []KindInfo{
	{KindBadRequest, http.StatusBadRequest, "The request cannot be read: its body is no JSON, or a parameter is not of its form.",
		"`errors` names the place. Take `next_cursor` and ids as they came."},
	{KindUnsafePath, http.StatusBadRequest, "The path could be read in two ways: it is percent-encoded, or has `..` or `//`.",
		"Write it in its shortest form, of letters, digits and `- . _ ~ /`."},
	{KindUnsafeHeaders, http.StatusBadRequest, "There are a hundred headers or more, or two values of one that says who calls.",
		"Send fewer headers, and each of them once."},
	{KindTwoCredentials, http.StatusBadRequest, "Both `apikey` and `Authorization` are there, and could speak for two callers.", "Send one."},
	{KindAmbiguousEvent, http.StatusBadRequest, "Events of several resources have this source and id.", "Give `resource` as well."},
	{KindUnauthorized, http.StatusUnauthorized, "No credential was shown, or it is not known: a key may have been revoked.",
		"Send your API key in the header `apikey`, or what `WWW-Authenticate` asks for; admins send `Authorization: Bearer` with their token."},
	{KindInvalidToken, http.StatusUnauthorized, "The JWT is not accepted. All bad ones are told alike; why is in the gateway's log.",
		"Get a new token from its issuer, for this API. The operator finds `a token is refused` with a `reason`."},
	{KindUnvouched, http.StatusUnauthorized, "The call came past the gateway, came too late, or was sent twice: it lacks the gateway's statement about its caller.",
		"Call through the gateway. Operators: look at the clocks and at `WEBHOOK_GATEWAY_KEY` of both parts; `webhook_statements_refused_total` counts the reasons."},
	{KindForbidden, http.StatusForbidden, "The caller is known, and may not do this: a consumer that was just deleted, or a callback without a valid statement or pass.",
		"Ask the administrator. Operators: for callbacks, look at the clocks and at `WEBHOOK_CALLBACK_KEY` of both parts."},
	{KindNoGrant, http.StatusForbidden, "The consumer has no grant for this on the resource.", "Ask the administrator for the grant that `detail` names."},
	{KindTokenGrant, http.StatusForbidden, "The consumer has the grant, but this JWT is not for it.", "Get a token with the grant that `detail` names from its issuer."},
	{KindLinkInvalid, http.StatusForbidden, "This is no link of ours, or it has expired.", "Take the link of the latest request; one for a late consent holds for a day."},
	{KindNotFound, http.StatusNotFound, "There is no such thing, or it belongs to somebody else, which is told alike.",
		"Look at the id and at the path. A delivery log forgets after the time in the resource's policy."},
	{KindMethodNotAllowed, http.StatusMethodNotAllowed, "The path takes other methods.", "Use one that the header `Allow` lists."},
	{KindNotAcceptable, http.StatusNotAcceptable, "`Accept` asks for a media type that there is not.", "Send `Accept: application/json`, or none."},
	{KindTooSlow, http.StatusRequestTimeout, "The body did not arrive in time.", "Send it without pauses."},
	{KindConflict, http.StatusConflict, "It does not fit with what there is: a name is taken, something changed at the same time, or a delivery is still under way.",
		"Read what there is, and decide anew."},
	{KindTooMany, http.StatusConflict, "A bound on how many there may be is reached: subscriptions of a consumer or on a resource, keys, running replays.",
		"Delete one, or ask the administrator for a higher `limits` or `policy`."},
	{KindNotActive, http.StatusConflict, "The subscription is in another status than the call needs.",
		"`detail` names the status. Set it to `active`, or wait for the consent of the `callback_url`."},
	{KindCallbackRefused, http.StatusConflict, "The subscription leads where nothing may be called (any more).", "`errors` says why. Change the `callback_url`, or ask the administrator to open it."},
	{KindLinkUsed, http.StatusGone, "The link was used, or another took its place.", "Take the latest one, or ask for another."},
	{KindTooLarge, http.StatusRequestEntityTooLarge, "The body is longer than is taken.", "Send less: `detail` names the bound in bytes."},
	{KindMediaType, http.StatusUnsupportedMediaType, "The body's content type is not one that is read here.", "`detail` names those that are."},
	{KindInvalid, http.StatusUnprocessableEntity, "The request can be read, but what it says does not hold: a field is missing, unknown or out of bounds, an event breaks its schema.",
		"`errors` lists all faults at once, each with its `location` and the fix."},
	{KindRateLimited, http.StatusTooManyRequests, "The consumer's limit of calls or events per second is used up, or too many of something were done just now.",
		"Wait as long as `Retry-After` says; `RateLimit` tells before it happens. Or ask the administrator for more."},
	{KindAskedJustNow, http.StatusTooManyRequests, "The endpoint was asked for its consent just now.", "Wait as long as `Retry-After` says."},
	{KindInternal, http.StatusInternalServerError, "Something went wrong here, and it is not your fault.",
		"Tell the operator the request's id in `detail`: the log has it."},
	{KindUnavailable, http.StatusServiceUnavailable, "The call cannot be served now.", "Try again after `Retry-After`. The operator looks at `/readyz` of the service."},
	{KindBusy, http.StatusServiceUnavailable, "Too many such calls are under way.", "Try again after `Retry-After`."},
	{KindStoreUnavailable, http.StatusServiceUnavailable, "Redis cannot be reached, or does not take writes.", "Try again. The operator looks at Redis and at `/readyz`."},
	{KindBrokerUnavailable, http.StatusServiceUnavailable, "RabbitMQ cannot be reached, or did not confirm. An event may have been taken all the same.",
		"Send it again with the same `source` and `id`: it makes no second delivery."},
	{KindKeyMissing, http.StatusServiceUnavailable, "The key ring of the service lacks the key with which a record is sealed.",
		"The operator puts the key back into the ring: `/readyz` names its id."},
	{KindNotSetUp, http.StatusServiceUnavailable, "The gateway's plugins have a configuration or an environment that cannot be used, and refuse every call.",
		"The operator reads the gateway's log, which says what is wrong."},
	{KindAddressRefused, http.StatusBadGateway, "The callback's address is not one that may be called.",
		"Use a public address over `https`, or ask the operator for `WEBHOOK_ALLOW_CIDRS`."},
	{KindDNS, http.StatusBadGateway, "The host of the callback does not resolve.", "Look at the name and its DNS records."},
	{KindConnect, http.StatusBadGateway, "There was no connection to the endpoint.", "Is it running, and does a firewall let the gateway in?"},
	{KindTLS, http.StatusBadGateway, "The TLS handshake with the endpoint failed.", "Look at its certificate: the chain, the name, the date."},
	{KindReset, http.StatusBadGateway, "The connection broke before the endpoint had answered, or what came was not HTTP.", "Look at the endpoint's log and what stands before it."},
	{KindTimeout, http.StatusGatewayTimeout, "The endpoint did not answer in time.", "Answer 2xx first and work afterwards, or set longer `timeouts`."},
}

var infoOf = func() map[Kind]KindInfo {
	all := make(map[Kind]KindInfo, len(Kinds))
	for _, info := range Kinds {
		all[info.Kind] = info
	}
	return all
}()

var ofStatus = func() map[int]Kind {
	first := make(map[int]Kind, len(Kinds))
	for _, info := range Kinds {
		if _, known := first[info.Status]; !known {
			first[info.Status] = info.Kind
		}
	}
	return first
}()

// KindOf is the kind of a problem of which only the status is known.
func KindOf(status int) Kind {
	switch kind, known := ofStatus[status]; {
	case known:
		return kind
	case status >= http.StatusInternalServerError:
		return KindInternal
	}
	return KindBadRequest
}

// KindOfOutcome is the kind of a callback's failure. A callback that the endpoint answered is no problem.
func KindOfOutcome(outcome Outcome) Kind {
	switch outcome {
	case OutcomeUnvouched:
		return KindForbidden
	case OutcomeOverloaded:
		return KindBusy
	case OutcomeAddressRefused:
		return KindAddressRefused
	}
	return Kind(outcome) // the others have its name
}

// URL is the type of the kind's problems: where the catalogue of errors tells of it.
func (k Kind) URL() string { return ProblemTypes + string(k) }

// Status is the HTTP status of the kind's problems; 0 for one that is not known.
func (k Kind) Status() int { return infoOf[k].Status }

// KindFromURL reads a problem's type. It reports false for one that is not of this catalogue.
func KindFromURL(url string) (Kind, bool) {
	name, ours := strings.CutPrefix(url, ProblemTypes)
	_, known := infoOf[Kind(name)]
	return Kind(name), ours && known
}
