package api

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
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
	CallbackURL string            `json:"callback_url" minLength:"1" maxLength:"2048" example:"https://consumer.example/hooks" doc:"where callbacks go: https, a public address, no credentials, no fragment"`
	Types       []string          `json:"types,omitempty" maxItems:"50" doc:"event types; * stands for one segment, ** for the rest. None: all types" example:"[\"order.created\",\"order.*\"]"`
	Format      contract.Format   `json:"format,omitempty" enum:"cloudevents-structured,cloudevents-binary,data" default:"cloudevents-structured" doc:"how the event travels in the callback"`
	Headers     map[string]string `json:"headers,omitempty" maxProperties:"20" doc:"further headers of every callback"`
	Auth        *authBody         `json:"auth,omitempty" doc:"the credential that callbacks carry; never shown again"`
	Description string            `json:"description,omitempty" maxLength:"500"`
	Pace
	Expressions
}

// authBody is a credential for callbacks.
type authBody struct {
	Type     string `json:"type" enum:"bearer,basic"`
	Token    string `json:"token,omitempty" writeOnly:"true" maxLength:"4096" doc:"for bearer"`
	Username string `json:"username,omitempty" writeOnly:"true" maxLength:"255" doc:"for basic"`
	Password string `json:"password,omitempty" writeOnly:"true" maxLength:"1024" doc:"for basic"` // #nosec G117 -- only ever read
}

func (a *authBody) auth() *contract.Auth {
	if a == nil {
		return nil
	}
	return &contract.Auth{Type: a.Type, Token: a.Token, Username: a.Username, Password: a.Password}
}

// Resolve checks what the schema can't say. Fields of a wrong type are empty here, and the schema has named them.
func (b *subscriptionBody) Resolve(ctx huma.Context, prefix *huma.PathBuffer) []error {
	at := prefix.With("")
	var errs []error
	if b.CallbackURL != "" {
		errs = append(errs, callbackFaults(ctx, at, b.CallbackURL)...)
	}
	return slices.Concat(errs, typeFaults(at, b.Types), headerFaults(at, b.Headers), b.Auth.faults(at), b.Pace.faults(at), b.Expressions.faults(at))
}

// callbackFaults is before anything is looked up: see reach.
func callbackFaults(ctx huma.Context, at, callbackURL string) []error {
	_, err := policyOf(ctx.Context()).CheckURL(callbackURL)
	return urlFaults(at+"callback_url", err)
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

func (a *authBody) faults(at string) []error {
	if a == nil {
		return nil
	}
	refuse := func(field, message string) []error { return []error{fault(at+"auth."+field, message)} }
	switch {
	case a.Type == "bearer" && a.Token == "":
		return refuse("token", "is required for bearer")
	case a.Type == "bearer" && !httpguts.ValidHeaderFieldValue(a.Token):
		return refuse("token", "has a control character: it must fit into a header")
	case a.Type == "bearer" && a.Username+a.Password != "":
		return refuse("type", "is bearer, which has a token and neither username nor password")
	case a.Type == "basic" && a.Username == "":
		return refuse("username", "is required for basic")
	case a.Type == "basic" && strings.Contains(a.Username, ":"):
		return refuse("username", "has a colon, which basic authentication can't carry")
	case a.Type == "basic" && a.Token != "":
		return refuse("type", "is basic, which has username and password and no token")
	}
	return nil
}

// maxHeaderValue is the longest value of a further header, in bytes.
const maxHeaderValue = 1 << 10

func headerFaults(at string, headers map[string]string) []error {
	var errs []error
	seen := map[string]bool{}
	for name, value := range headers {
		folded := textproto.CanonicalMIMEHeaderKey(name)
		if message := headerFault(name, value); message != "" {
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
	lower := strings.ToLower(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name) || len(name) > 100:
		return "is not a header name: use up to 100 letters, digits and hyphens"
	case lower == "authorization":
		return "is reserved: use auth"
	case reservedHeader(lower):
		return "is reserved: choose another name"
	case len(value) > maxHeaderValue:
		return fmt.Sprintf("is longer than %d bytes", maxHeaderValue)
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
		"forwarded", "via", "traceparent", "tracestate", "cookie", "set-cookie", "user-agent", "accept-encoding", "expect", "apikey",
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
	CallbackURL optional[string]            `json:"callback_url,omitzero" minLength:"1" maxLength:"2048"`
	Types       optional[[]string]          `json:"types,omitzero" maxItems:"50" doc:"null: all types"`
	Format      optional[contract.Format]   `json:"format,omitzero" enum:"cloudevents-structured,cloudevents-binary,data"`
	Headers     optional[map[string]string] `json:"headers,omitzero" maxProperties:"20" doc:"replaces all; null: none"`
	Auth        optional[authBody]          `json:"auth,omitzero" doc:"null: none"`
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
	case p.CallbackURL.Sent && p.CallbackURL.Value == nil:
		errs = append(errs, fault(at+"callback_url", "can't be taken away: give another one or leave it out"))
	case p.CallbackURL.Sent && *p.CallbackURL.Value != "":
		errs = append(errs, callbackFaults(ctx, at, *p.CallbackURL.Value)...)
	}
	if p.Status.Sent && p.Status.Value == nil {
		errs = append(errs, fault(at+"status", "can't be taken away: give active or paused, or leave it out"))
	}
	if p.Types.Value != nil {
		errs = append(errs, typeFaults(at, *p.Types.Value)...)
	}
	if p.Headers.Value != nil {
		errs = append(errs, headerFaults(at, *p.Headers.Value)...)
	}
	return append(errs, p.Auth.Value.faults(at)...)
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
	sub.RateLimit = tenths(sub.RateLimit)
}

// subscriptionView is a subscription as its consumer sees it.
type subscriptionView struct {
	ID            string              `json:"id"`
	Resource      string              `json:"resource"`
	Status        contract.Status     `json:"status" enum:"pending,active,paused,disabled"`
	StatusReason  string              `json:"status_reason,omitempty" doc:"why the service itself changed the status"`
	CallbackURL   string              `json:"callback_url"`
	Types         []string            `json:"types,omitempty"`
	Filter        string              `json:"filter,omitempty"`
	Transform     string              `json:"transform,omitempty"`
	Format        contract.Format     `json:"format" enum:"cloudevents-structured,cloudevents-binary,data"`
	Headers       map[string]string   `json:"headers,omitempty"`
	Auth          *authView           `json:"auth,omitempty"`
	RateLimit     float64             `json:"rate_limit,omitempty"`
	MaxInFlight   int                 `json:"max_in_flight"`
	Ordering      contract.Ordering   `json:"ordering" enum:"none,subject"`
	RetrySchedule []contract.Duration `json:"retry_schedule,omitzero" doc:"left out: the resource's, or the service's"`
	Timeouts      contract.Timeouts   `json:"timeouts,omitzero" doc:"what is left out: the resource's, or the service's"`
	Description   string              `json:"description,omitempty"`
	CreatedAt     time.Time           `json:"created_at"`
	UpdatedAt     time.Time           `json:"updated_at"`
	Secret        string              `json:"secret,omitempty" doc:"signs callbacks (Standard Webhooks); shown on create and rotate only"`
}

// authView tells that there is a credential, and no more.
type authView struct {
	Type string `json:"type" enum:"bearer,basic"`
}

func viewOf(sub contract.Subscription) subscriptionView {
	view := subscriptionView{
		ID: sub.ID, Resource: sub.Resource, Status: sub.Status, StatusReason: sub.StatusReason, CallbackURL: sub.CallbackURL,
		Types: sub.Types, Filter: sub.Filter, Transform: sub.Transform, Format: sub.Format, Headers: sub.Headers, RateLimit: sub.RateLimit,
		MaxInFlight: cmp.Or(sub.MaxInFlight, contract.DefaultMaxInFlight), Ordering: cmp.Or(sub.Ordering, contract.OrderingNone),
		RetrySchedule: sub.Delivery.RetrySchedule, Timeouts: sub.Delivery.Timeouts, Description: sub.Description,
		CreatedAt: sub.CreatedAt, UpdatedAt: sub.UpdatedAt,
	}
	if sub.Auth != nil {
		view.Auth = &authView{sub.Auth.Type}
	}
	return view
}

// newSecret is 32 random bytes in the form of Standard Webhooks 1.0.
func newSecret() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(raw[:])
}

// How a rotated secret lives on: the old one signs for an overlap, and no more than two sign at a time.
const (
	secretOverlap = 24 * time.Hour
	mostSecrets   = 2
)

// rotate puts a new secret before the ones that are live, and bounds them.
func rotate(secrets []contract.Secret, secret string, now time.Time) []contract.Secret {
	rotated := []contract.Secret{{Value: secret}}
	for _, old := range secrets {
		if len(rotated) == mostSecrets {
			break
		}
		if old.Until.IsZero() {
			old.Until = now.Add(secretOverlap)
		}
		if now.Before(old.Until) {
			rotated = append(rotated, old)
		}
	}
	return rotated
}
