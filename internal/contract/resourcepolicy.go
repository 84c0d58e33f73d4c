package contract

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// SchemaMode says what becomes of an event whose data breaks the schema of its type.
type SchemaMode string

// The schema modes. An empty one is SchemaOff.
const (
	SchemaOff    SchemaMode = "off"    // no event is looked at
	SchemaWarn   SchemaMode = "warn"   // it is taken, counted and logged
	SchemaReject SchemaMode = "reject" // it is refused, as is a type that is not in the catalogue
)

// Verification is how a callback URL proves that it wants callbacks. An empty one is VerifyNone.
type Verification string

// The verifications.
const (
	VerifyNone      Verification = "none"
	VerifyHandshake Verification = "handshake" // CloudEvents HTTP webhook 1.0.2, section 4: OPTIONS, or a late consent
	VerifyChallenge Verification = "challenge" // a signed POST with a random text that the endpoint sends back
	VerifyAny       Verification = "any"       // the handshake, and the challenge for an endpoint that does not speak it
)

// MaxSubscriptions is the most that a policy may allow each consumer.
const MaxSubscriptions = 1_000_000

// MaxHostPatterns is the longest list of host patterns.
const MaxHostPatterns = 100

// Policy is what an admin sets for a resource. A zero field sets nothing.
type Policy struct {
	DeliveryPolicy
	SchemaMode SchemaMode `json:"schema_mode,omitempty"`
	// CallbackHosts are where callbacks may go: "hooks.example.com", or "*.example.com" for every host below it.
	CallbackHosts []string `json:"callback_hosts,omitempty"`
	// CallbackSchemes are "https", "http" or both. The service's own guard holds on top.
	CallbackSchemes []string `json:"callback_schemes,omitempty"`
	// Verification holds deliveries back until the callback URL has proven that it wants them; see Consent.
	Verification Verification `json:"verification,omitempty"`
	// MaxSubscriptions is how many subscriptions each consumer may have on the resource.
	MaxSubscriptions int `json:"max_subscriptions,omitempty"`
	// Mailbox bounds what waits to be collected, where a subscription pulls.
	Mailbox MailboxPolicy `json:"mailbox,omitzero"`
	// MaxPayload is the longest data of an event, in bytes.
	MaxPayload int `json:"max_payload,omitempty"`
	// Log bounds what is kept of deliveries and attempts.
	Log LogPolicy `json:"log,omitzero"`
}

// FullPolicy returns the resource's policy as it was read. What it does not know it leaves out: the API refuses it.
func (r Resource) FullPolicy() (Policy, error) {
	var p Policy
	if len(r.Policy) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(r.Policy, &p); err != nil {
		return Policy{}, fmt.Errorf("the policy of resource %s: %w", r.Name, err)
	}
	return p, nil
}

// Check returns a *FieldError for each field that can't be used, nil if there is none.
func (p Policy) Check() []*FieldError {
	faults := p.DeliveryPolicy.Check()
	refuse := func(field, message string, args ...any) {
		faults = append(faults, &FieldError{field, fmt.Sprintf(message, args...)})
	}
	if !slices.Contains([]SchemaMode{"", SchemaOff, SchemaWarn, SchemaReject}, p.SchemaMode) {
		refuse("schema_mode", "must be off, warn or reject")
	}
	if !slices.Contains([]Verification{"", VerifyNone, VerifyHandshake, VerifyChallenge, VerifyAny}, p.Verification) {
		refuse("verification", "must be none, handshake, challenge or any")
	}
	if p.MaxSubscriptions < 0 || p.MaxSubscriptions > MaxSubscriptions {
		refuse("max_subscriptions", "must be 1 to %d", MaxSubscriptions)
	}
	if p.MaxPayload < 0 || p.MaxPayload > MaxEvent {
		refuse("max_payload", "must be 1 to %d bytes", MaxEvent)
	}
	return slices.Concat(faults, p.checkCallbacks(), p.Mailbox.check(), p.Log.Check())
}

func (p Policy) checkCallbacks() []*FieldError {
	var faults []*FieldError
	if len(p.CallbackHosts) > MaxHostPatterns {
		faults = append(faults, &FieldError{"callback_hosts", fmt.Sprintf("has more than %d hosts", MaxHostPatterns)})
	}
	for i, pattern := range p.CallbackHosts {
		if !validHostPattern(pattern) {
			faults = append(faults, &FieldError{fmt.Sprintf("callback_hosts[%d]", i),
				"is not a host: write hooks.example.com, *.example.com for all below it, or an IP address, without scheme, port and path"})
		}
	}
	for i, scheme := range p.CallbackSchemes {
		if scheme != "https" && scheme != "http" {
			faults = append(faults, &FieldError{fmt.Sprintf("callback_schemes[%d]", i), "must be https or http"})
		}
	}
	return faults
}

var hostPattern = regexp.MustCompile(`^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

func validHostPattern(pattern string) bool {
	if addr, err := netip.ParseAddr(pattern); err == nil {
		return addr.Zone() == ""
	}
	return len(pattern) <= 253 && hostPattern.MatchString(strings.ToLower(pattern))
}

// CheckCallback refuses a callback URL that the policy does not allow; the text says what it allows.
func (p Policy) CheckCallback(callback string) error {
	u, err := url.Parse(callback)
	if err != nil {
		return fmt.Errorf("is not a URL: write it as https://host/path")
	}
	if len(p.CallbackSchemes) > 0 && !slices.Contains(p.CallbackSchemes, u.Scheme) {
		return fmt.Errorf("has a scheme that the resource does not allow: use %s", strings.Join(p.CallbackSchemes, " or "))
	}
	if len(p.CallbackHosts) > 0 && !slices.ContainsFunc(p.CallbackHosts, func(pattern string) bool { return hostMatches(pattern, u.Hostname()) }) {
		return fmt.Errorf("has a host that the resource does not allow: use %s", Printable(strings.Join(p.CallbackHosts, " or ")))
	}
	return nil
}

// hostMatches compares as DNS does: without case, and with or without the dot of the root.
func hostMatches(pattern, host string) bool {
	if want, err := netip.ParseAddr(pattern); err == nil {
		got, err := netip.ParseAddr(host)
		return err == nil && got.Unmap() == want.Unmap()
	}
	pattern, host = strings.ToLower(pattern), strings.ToLower(strings.TrimSuffix(host, "."))
	if parent, below := strings.CutPrefix(pattern, "*"); below {
		return len(host) > len(parent) && strings.HasSuffix(host, parent)
	}
	return pattern == host
}
