package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Status of a subscription.
type Status string

// The states of a subscription. Only an active one gets callbacks.
const (
	StatusPending  Status = "pending"
	StatusActive   Status = "active"
	StatusPaused   Status = "paused"
	StatusDisabled Status = "disabled"
)

// Format of a callback's request.
type Format string

// The formats: how the event travels in the callback (CloudEvents HTTP binding 1.0, or the data alone).
const (
	FormatStructured Format = "cloudevents-structured"
	FormatBinary     Format = "cloudevents-binary"
	FormatData       Format = "data"
)

// Ordering of a subscription's deliveries.
type Ordering string

// The orderings. With OrderingSubject, deliveries of events with the same CloudEvents subject arrive one after the other, in
// the order in which the events were taken from the queue.
const (
	OrderingNone    Ordering = "none"
	OrderingSubject Ordering = "subject"
)

// Mode is who moves: callbacks come to the consumer, or the consumer collects.
type Mode string

// The modes. An empty one is ModePush.
const (
	ModePush Mode = "push"
	ModePull Mode = "pull" // deliveries wait in a mailbox; there is no callback URL
)

// DefaultMaxInFlight is how many attempts of one subscription are under way at most unless it says otherwise.
const DefaultMaxInFlight = 10

// Confidential is what only the consumer and its callbacks may know of a subscription. It rests sealed: see package store.
type Confidential struct {
	Secrets []Secret `json:"secrets,omitempty"`
	// SigningKeys are the private keys of SignatureV1a, see NewSigningKey; there are some only where it signs.
	SigningKeys []Secret `json:"signing_keys,omitempty"`
	Auth        *Auth    `json:"auth,omitempty"`
	// Headers go with every callback; the API shows them, yet some other system's key may be among them.
	Headers map[string]string `json:"headers,omitempty"`
}

// Subscription is the record as the service works with it. The API shows a part of it: neither Secrets, SigningKeys nor Auth.
type Subscription struct {
	Confidential

	ID          string `json:"id"`
	Consumer    string `json:"consumer"`
	Resource    string `json:"resource"`
	CallbackURL string `json:"callback_url"`
	// Mode is empty for ModePush. It never changes.
	Mode  Mode     `json:"mode,omitempty"`
	Types []string `json:"types,omitempty"`
	// Filter chooses among the events of these types; Transform makes the body of format data. Both are CEL, see package expr;
	// empty for none.
	Filter      string `json:"filter,omitempty"`
	Transform   string `json:"transform,omitempty"`
	Format      Format `json:"format"`
	Description string `json:"description,omitempty"`
	// RateLimit bounds the attempts per second, over all replicas; zero: no bound.
	RateLimit float64 `json:"rate_limit,omitempty"`
	// MaxInFlight bounds the attempts under way at a time; zero: DefaultMaxInFlight.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Ordering is empty for OrderingNone.
	Ordering Ordering `json:"ordering,omitempty"`
	// Delivery overrides the resource's policy, which overrides the service's defaults.
	Delivery DeliveryPolicy `json:"delivery,omitzero"`
	Status   Status         `json:"status"`
	// StatusReason says why the service itself changed the status, e.g. disabled it.
	StatusReason string `json:"status_reason,omitempty"`
	// Consent of the callback URL; nil: none was asked for. It is shared between copies: replace it, never change it.
	Consent *Consent `json:"consent,omitempty"`
	// Signatures are the schemes that sign callbacks; none: SignatureV1 alone.
	Signatures []Signature `json:"signatures,omitempty"`
	CreatedAt  time.Time   `json:"created_at"`
	UpdatedAt  time.Time   `json:"updated_at"`
	// Revision counts the changes that were asked for.
	Revision int64 `json:"revision"`
}

// Pulls reports whether deliveries wait in a mailbox to be collected.
func (s Subscription) Pulls() bool { return s.Mode == ModePull }

var typeSegment = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// ValidateTypePattern refuses what cannot match an event type: segments of letters, digits, _ and -, separated by dots;
// "*" stands for one segment, "**" for the rest and only at the end.
func ValidateTypePattern(pattern string) error {
	if pattern == "" {
		return errors.New("is empty: give an event type such as order.created, or leave types out for all")
	}
	segments := strings.Split(pattern, ".")
	for i, segment := range segments {
		switch {
		case segment == "*", typeSegment.MatchString(segment):
		case segment == "**" && i == len(segments)-1:
		case segment == "**":
			return fmt.Errorf("%q: ** stands for the rest and must be last", Printable(pattern))
		default:
			return fmt.Errorf("%q: separate segments of letters, digits, _ or - by dots; * matches one segment, ** the rest", Printable(pattern))
		}
	}
	return nil
}

// MatchesType reports whether one of the patterns matches the event type. No patterns match every type.
func MatchesType(patterns []string, eventType string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, pattern := range patterns {
		if matchType(pattern, eventType) {
			return true
		}
	}
	return false
}

func matchType(pattern, eventType string) bool {
	for {
		if pattern == "**" {
			return eventType != ""
		}
		p, restP, moreP := strings.Cut(pattern, ".")
		e, restE, moreE := strings.Cut(eventType, ".")
		if e == "" || p != "*" && p != e || moreP != moreE {
			return false
		}
		if !moreP {
			return true
		}
		pattern, eventType = restP, restE
	}
}

// Asked are the same bytes for two subscriptions of one consumer that ask for the same thing. There are credentials among them.
func (s Subscription) Asked() []byte {
	types := slices.Sorted(slices.Values(s.Types))
	fields := []any{s.Consumer, s.Resource, s.CallbackURL, types, s.Format, s.Headers, s.Auth, s.Description, s.RateLimit,
		s.MaxInFlight, s.Ordering, s.Delivery, s.Filter, s.Transform}
	if len(s.Signatures) > 0 { // what is younger comes only where it is used: the fingerprints that are kept stay right
		fields = append(fields, slices.Sorted(slices.Values(s.Signatures)))
	}
	if s.Pulls() {
		fields = append(fields, s.Mode)
	}
	asked, _ := json.Marshal(fields) // plain values: never fails
	return asked
}
