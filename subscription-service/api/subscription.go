package api

import (
	"cmp"
	"context"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// subscriptionBody is what a consumer sends to subscribe.
type subscriptionBody struct {
	Mode        contract.Mode     `json:"mode,omitempty" enum:"push,pull" doc:"push, unless set: callbacks go to callback_url. pull: deliveries wait in a mailbox to be collected, see …/stream; there is no callback_url, nor what is about calling it. It never changes"`
	CallbackURL string            `json:"callback_url,omitempty" minLength:"1" maxLength:"2048" example:"https://consumer.example/hooks" doc:"where callbacks go, required unless mode is pull: https, a public address, no credentials, no fragment"`
	Types       []string          `json:"types,omitempty" maxItems:"50" doc:"event types; * stands for one segment, ** for the rest. None: all types" example:"[\"order.created\",\"order.*\"]"`
	Format      contract.Format   `json:"format,omitempty" enum:"cloudevents-structured,cloudevents-binary,data" default:"cloudevents-structured" doc:"how the event travels in the callback"`
	Headers     map[string]string `json:"headers,omitempty" maxProperties:"20" doc:"further headers of every callback"`
	Auth        *authBody         `json:"auth,omitempty" doc:"the credential that callbacks carry; never shown again"`
	Signatures  signatures        `json:"signatures,omitempty" doc:"how callbacks are signed (Standard Webhooks): v1 with the secret, v1a with a key whose public half anybody may have; v1 unless set"`
	Description string            `json:"description,omitempty" maxLength:"500"`
	Pace
	Expressions
}

// Resolve checks what the schema can't say. Fields of a wrong type are empty here, and the schema has named them.
func (b *subscriptionBody) Resolve(ctx huma.Context, prefix *huma.PathBuffer) []error {
	at := prefix.With("")
	errs := b.modeFaults(at)
	if b.CallbackURL != "" {
		errs = append(errs, callbackFaults(ctx.Context(), at+"callback_url", b.CallbackURL)...)
	}
	return slices.Concat(errs, typeFaults(at, b.Types), headerFaults(at, b.Headers, headerFault), b.Auth.faults(ctx.Context(), at), b.Pace.faults(at), b.Expressions.faults(at))
}

// callbackFaults is before anything is looked up: see reach.
func callbackFaults(ctx context.Context, field, url string) []error {
	_, err := policyOf(ctx).CheckURL(url)
	return urlFaults(field, err)
}

// split undoes errors.Join.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func typeFaults(at string, types []string) []error {
	var errs []error
	for i, pattern := range types {
		if err := contract.ValidateTypePattern(pattern); err != nil {
			errs = append(errs, fault(fmt.Sprintf("%stypes[%d]", at, i), err.Error()))
		}
	}
	return errs
}

// maxHeaderValue is the longest value of a further header, in bytes.
const maxHeaderValue = 1 << 10

func headerFaults(at string, headers map[string]string, wrong func(name, value string) string) []error {
	var errs []error
	seen := map[string]bool{}
	for name, value := range headers {
		folded := textproto.CanonicalMIMEHeaderKey(name)
		if message := wrong(name, value); message != "" {
			errs = append(errs, fault(at+"headers."+contract.Printable(name), message))
		} else if seen[folded] {
			errs = append(errs, fault(at+"headers."+name, "is there twice: the case of a header's name does not matter"))
		}
		seen[folded] = true
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

func headerFault(name, value string) string {
	if strings.EqualFold(name, "authorization") {
		return "is reserved: use auth"
	}
	return headerFaultUpTo(maxHeaderValue, name, value)
}

// maxSecretValue is the longest value of a secret header, in bytes: room for a token.
const maxSecretValue = 4 << 10

func secretHeaderFault(name, value string) string {
	if value == "" {
		return "is empty: give its value"
	}
	return headerFaultUpTo(maxSecretValue, name, value)
}

func headerFaultUpTo(most int, name, value string) string {
	switch {
	case !httpguts.ValidHeaderFieldName(name) || len(name) > 100:
		return "is not a header name: use up to 100 letters, digits and hyphens"
	case reservedHeader(strings.ToLower(name)):
		return "is reserved: choose another name"
	case len(value) > most:
		return fmt.Sprintf("is longer than %d bytes", most)
	case !httpguts.ValidHeaderFieldValue(value):
		return "has a control character in its value: take it out"
	}
	return ""
}

// Headers that the callback itself needs, that speak for the gateway, or that belong to one connection.
var (
	reservedPrefixes = []string{"webhook-", "ce-", "content-", "proxy-", "x-forwarded-", "sec-"}
	reservedNames    = []string{
		"host", "connection", "transfer-encoding", "te", "upgrade", "trailer", "keep-alive", "x-real-ip", "x-request-id",
		"forwarded", "via", "traceparent", "tracestate", "baggage", "cookie", "set-cookie", "user-agent", "accept-encoding", "expect", "apikey",
	}
)

// reservedHeader counts an underscore as a hyphen, as some servers do.
func reservedHeader(lower string) bool {
	folded := strings.ReplaceAll(lower, "_", "-")
	return contract.IsInternalHeader(folded) || slices.Contains(reservedNames, folded) ||
		slices.ContainsFunc(reservedPrefixes, func(prefix string) bool { return strings.HasPrefix(folded, prefix) })
}

// subscriptionPatch changes a subscription: absent fields stay, null takes a field away.
type subscriptionPatch struct {
	Mode        optional[contract.Mode]     `json:"mode,omitzero" enum:"push,pull" doc:"can't be changed: for another mode make another subscription"`
	CallbackURL optional[string]            `json:"callback_url,omitzero" minLength:"1" maxLength:"2048"`
	Types       optional[[]string]          `json:"types,omitzero" maxItems:"50" doc:"null: all types"`
	Format      optional[contract.Format]   `json:"format,omitzero" enum:"cloudevents-structured,cloudevents-binary,data"`
	Headers     optional[map[string]string] `json:"headers,omitzero" maxProperties:"20" doc:"replaces all; null: none"`
	Auth        optional[authBody]          `json:"auth,omitzero" doc:"null: none"`
	Signatures  optional[signatures]        `json:"signatures,omitzero" doc:"null: v1"`
	Description optional[string]            `json:"description,omitzero" maxLength:"500"`
	Status      optional[contract.Status]   `json:"status,omitzero" enum:"active,paused"`
	Pace
	Expressions
}

// Resolve checks what the schema can't say.
func (p *subscriptionPatch) Resolve(ctx huma.Context, prefix *huma.PathBuffer) []error {
	at := prefix.With("")
	errs := append(p.Pace.faults(at), p.Expressions.faults(at)...)
	switch {
	case p.Mode.Sent:
		errs = append(errs, fault(at+"mode", "can't be changed: make another subscription, and end this one"))
	case p.CallbackURL.Sent && p.CallbackURL.Value == nil:
		errs = append(errs, fault(at+"callback_url", "can't be taken away: give another one or leave it out"))
	case p.CallbackURL.Sent && *p.CallbackURL.Value != "":
		errs = append(errs, callbackFaults(ctx.Context(), at+"callback_url", *p.CallbackURL.Value)...)
	}
	if p.Status.Sent && p.Status.Value == nil {
		errs = append(errs, fault(at+"status", "can't be taken away: give active or paused, or leave it out"))
	}
	if p.Types.Value != nil {
		errs = append(errs, typeFaults(at, *p.Types.Value)...)
	}
	if p.Headers.Value != nil {
		errs = append(errs, headerFaults(at, *p.Headers.Value, headerFault)...)
	}
	return append(errs, p.Auth.Value.faults(ctx.Context(), at)...)
}

// apply changes the record.
func (p *subscriptionPatch) apply(sub *contract.Subscription, now time.Time) {
	p.CallbackURL.apply(&sub.CallbackURL)
	p.Types.apply(&sub.Types)
	p.Format.apply(&sub.Format)
	p.Headers.apply(&sub.Headers)
	p.Description.apply(&sub.Description)
	p.Pace.apply(sub)
	p.Expressions.apply(sub)
	if p.Auth.Sent {
		sub.Auth = p.Auth.Value.auth()
	}
	if p.Signatures.Sent {
		var asked signatures
		p.Signatures.apply(&asked)
		asked.applyTo(sub)
	}
	if p.Status.Sent {
		sub.Status, sub.StatusReason = *p.Status.Value, "" // the reason was that of another status
	}
	sub.UpdatedAt = now
	normalize(sub)
}

// normalize makes equal subscriptions look equal.
func normalize(sub *contract.Subscription) {
	if len(sub.Types) == 0 {
		sub.Types = nil
	}
	if len(sub.Headers) == 0 {
		sub.Headers = nil
	}
	if sub.Format == "" {
		sub.Format = contract.FormatStructured
	}
	if sub.MaxInFlight == contract.DefaultMaxInFlight {
		sub.MaxInFlight = 0
	}
	if sub.Ordering == contract.OrderingNone {
		sub.Ordering = ""
	}
	if sub.Mode == contract.ModePush {
		sub.Mode = ""
	}
	sub.RateLimit = tenths(sub.RateLimit)
}

func viewOf(sub contract.Subscription, now time.Time) contract.SubscriptionView {
	view := contract.SubscriptionView{
		ID: sub.ID, Resource: sub.Resource, Status: sub.Status, StatusReason: sub.StatusReason, Verification: viewOfConsent(sub.Consent), CallbackURL: sub.CallbackURL,
		Types: sub.Types, Filter: sub.Filter, Transform: sub.Transform, Format: sub.Format, Headers: sub.Headers, RateLimit: sub.RateLimit,
		MaxInFlight: cmp.Or(sub.MaxInFlight, contract.DefaultMaxInFlight), Ordering: cmp.Or(sub.Ordering, contract.OrderingNone),
		RetrySchedule: sub.Delivery.RetrySchedule, Timeouts: sub.Delivery.Timeouts, Description: sub.Description,
		CreatedAt: sub.CreatedAt, UpdatedAt: sub.UpdatedAt, Auth: authViewOf(sub.Auth),
		Signatures: signaturesOf(sub), PublicKeys: publicKeys(sub, now), Mode: sub.Mode,
	}
	if sub.Pulls() {
		view.MaxInFlight = 0 // nothing is in flight
	}
	return view
}
