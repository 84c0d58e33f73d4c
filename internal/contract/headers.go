package contract

import (
	"slices"
	"strings"
)

// Headers between the parts. None of them ever leaves the gateway towards a consumer's endpoint.
const (
	// HeaderStatement carries a signed statement: of the caller (plugin → subscription service) or of a callback
	// (callback service → plugin).
	HeaderStatement = "X-Webhook-Statement"
	// HeaderPass carries the one-time pass from the webhook-callback plugin to the egress in the same process.
	HeaderPass = "X-Webhook-Pass" // #nosec G101 -- a header's name
	// HeaderOutcome is set by the egress on every answer: one of the Outcome values. An answer without it did not come
	// from the egress, so the gateway itself failed.
	HeaderOutcome = "X-Webhook-Outcome"
	// HeaderDetail is set by the egress where an outcome has several causes: one of the Detail values.
	HeaderDetail = "X-Webhook-Detail"
	// HeaderTimings is set by the egress on every answer: where the time of the call went, see Timings.Encode.
	HeaderTimings = "X-Webhook-Timings"
	// HeaderAnswered is set by the egress on an endpoint's answer: all of its headers, see EncodeHeaders.
	HeaderAnswered = "X-Webhook-Answered"
)

// CallbackPath is the gateway's route for callbacks. No resource can be named like it.
const CallbackPath = "/-/callback"

// PathWebhookKeys shows the public keys of a subscription (RFC 8615: a well-known URI).
const PathWebhookKeys = "/.well-known/webhook-keys"

// PathPortal is where the portal's pages are, and below it. No resource can be named like it.
const PathPortal = "/portal"

// PathPortalLinks makes a link that signs the caller in to the portal.
const PathPortalLinks = PathPortal + "/links"

// publicPaths are all that anybody may call through the gateway without being known, beside the portal's pages.
var publicPaths = []string{PathWebhookKeys}

// IsPublic reports whether anybody may call a path of the gateway. No resource can be named like one. The portal itself asks who
// somebody is; only a link to it is made for those who the gateway knows.
func IsPublic(path string) bool {
	return slices.Contains(publicPaths, path) || IsPortal(path)
}

// IsPortal reports whether a path is one of the portal's pages.
func IsPortal(path string) bool {
	return path == PathPortal || strings.HasPrefix(path, PathPortal+"/") && path != PathPortalLinks
}

// GatewayPrefix is what the webhook-subscribe plugin puts before the public path when it hands a call to the
// subscription service.
const GatewayPrefix = "/gateway"

// Outcome tells what became of a callback beyond the gateway: the fixed vocabulary of HeaderOutcome.
type Outcome string

// The outcomes. OutcomeResponse is the only one with an answer of the consumer's endpoint.
const (
	OutcomeResponse       Outcome = "response"        // the endpoint answered; status and body are its own
	OutcomeAddressRefused Outcome = "address_refused" // the address is not one we may dial
	OutcomeDNS            Outcome = "dns"             // the host does not resolve
	OutcomeConnect        Outcome = "connect"         // no connection: refused, unreachable
	OutcomeTLS            Outcome = "tls"             // handshake or certificate
	OutcomeTimeout        Outcome = "timeout"         // no complete answer in time
	OutcomeReset          Outcome = "reset"           // the connection broke, or what came was not HTTP
	OutcomeUnvouched      Outcome = "unvouched"       // the egress was called without a valid pass
	OutcomeOverloaded     Outcome = "overloaded"      // the egress is at its connection limit
	OutcomeCollected      Outcome = "collected"       // there was no call: the consumer has acknowledged that it collected the delivery
	OutcomeToken          Outcome = "token"           // the endpoint was not asked: there is no access token. The callback service's own
)

// Detail tells causes of one outcome apart: the fixed vocabulary of HeaderDetail.
type Detail string

// The details.
const (
	DetailConnectTimeout     Detail = "connect_timeout"      // connect: no connection within its timeout
	DetailEgressProxy        Detail = "egress_proxy"         // connect: the administrator's proxy made no connection
	DetailCertificateExpired Detail = "certificate_expired"  // tls: expired, or not valid yet
	DetailCertificateHost    Detail = "certificate_host"     // tls: of another host
	DetailCertificateIssuer  Detail = "certificate_issuer"   // tls: of an authority that is not trusted
	DetailClientCertificate  Detail = "client_certificate"   // tls: the subscription's client certificate cannot be used
	DetailHandshakeRefused   Detail = "handshake_refused"    // tls: by the endpoint, as when it does not like our certificate
	DetailHeaderTimeout      Detail = "header_timeout"       // timeout: no header within its timeout
	DetailHeadersTooLarge    Detail = "headers_too_large"    // reset: headers without end
	DetailAnswerCut          Detail = "answer_cut"           // response: a body larger than what is kept
	DetailAnswerIncomplete   Detail = "answer_incomplete"    // response: a body that broke or did not end in time
	DetailRetryAfterBounded  Detail = "retry_after_bounded"  // response: Retry-After asked for more than is granted
	DetailRetryAfterUnusable Detail = "retry_after_unusable" // response: Retry-After is unreadable or lies in the past
	DetailTokenUnreachable   Detail = "token_unreachable"    // #nosec G101 -- token: its endpoint cannot be reached
	DetailTokenTimeout       Detail = "token_timeout"        // token: its endpoint did not answer in time
	DetailTokenRefused       Detail = "token_refused"        // token: its endpoint does not accept the client's credentials
	DetailTokenRequest       Detail = "token_request"        // token: its endpoint accepts the client and not what it asks for
	DetailTokenAnswer        Detail = "token_answer"         // token: its endpoint failed, or its answer holds no token that can be used
)

// internalPrefixes are the header names that speak of identity or trust; only the gateway may set them.
var internalPrefixes = []string{"x-webhook-", "x-consumer-", "x-credential-"}

// IsInternalHeader reports whether a header name is reserved for the gateway. Case does not matter, and an underscore
// counts as a hyphen: X_Consumer_Id is another header than X-Consumer-Id on the wire, but not to every reader of it.
func IsInternalHeader(name string) bool {
	folded := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	for _, prefix := range internalPrefixes {
		if strings.HasPrefix(folded, prefix) {
			return true
		}
	}
	return false
}
