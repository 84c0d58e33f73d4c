package contract

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Headers of the proof of consent (CloudEvents HTTP webhook 1.0.2, section 4).
const (
	// HeaderRequestOrigin names this installation to the endpoint; every delivery carries it too.
	HeaderRequestOrigin = "Webhook-Request-Origin"
	// HeaderRequestCallback is where an endpoint, or who runs it, can consent later.
	HeaderRequestCallback = "Webhook-Request-Callback"
	// HeaderRequestRate is how many deliveries per minute are wished for.
	HeaderRequestRate = "Webhook-Request-Rate"
	// HeaderAllowedOrigin is the endpoint's consent: the origin, or an asterisk.
	HeaderAllowedOrigin = "Webhook-Allowed-Origin"
	// HeaderAllowedRate is how many deliveries per minute the endpoint takes, or an asterisk.
	HeaderAllowedRate = "Webhook-Allowed-Rate"
)

// ConsentPath is the gateway's route for a late consent; a token follows. No resource can be named like it.
const ConsentPath = "/-/consent"

// ConsentState of a subscription.
type ConsentState string

// The states of a consent.
const (
	ConsentPending  ConsentState = "pending"  // the endpoint is asked, now or later
	ConsentVerified ConsentState = "verified" // it wants callbacks
	ConsentFailed   ConsentState = "failed"   // nobody asks any more; see LastError
)

// Consent is how far it is proven that a callback URL wants callbacks.
type Consent struct {
	// Asked is the policy that asked for it.
	Asked Verification `json:"asked"`
	State ConsentState `json:"state"`
	// Round is the id of this proof: what answers another one counts nothing. A new callback URL begins a new one.
	Round string `json:"round"`
	// Attempts counts how often the endpoint was asked in this round.
	Attempts  int       `json:"attempts,omitempty"`
	LastError string    `json:"last_error,omitempty"`
	BegunAt   time.Time `json:"begun_at"`
	// Next is when the endpoint is asked again; zero unless pending.
	Next time.Time `json:"next,omitzero"`
	// By is how it was given, handshake or challenge; empty unless verified.
	By         Verification `json:"by,omitempty"`
	VerifiedAt time.Time    `json:"verified_at,omitzero"`
	// AllowedRate is what the endpoint granted, in requests per minute; zero: no bound.
	AllowedRate int `json:"allowed_rate,omitempty"`
}

// Needed reports whether callbacks wait for a consent.
func (v Verification) Needed() bool { return v != "" && v != VerifyNone }

// Accepts reports whether a consent is enough for the policy.
func (v Verification) Accepts(c *Consent) bool {
	return !v.Needed() || c != nil && c.State == ConsentVerified && (v == VerifyAny || v == c.By)
}

// AskConsent makes a subscription pending and begins a round.
func (s *Subscription) AskConsent(v Verification, now time.Time) {
	s.Consent = &Consent{Asked: v, State: ConsentPending, Round: NewID("ask"), BegunAt: now, Next: now}
	s.Status, s.StatusReason = StatusPending, fmt.Sprintf("waits for the consent of callback_url (verification: %s)", v)
}

// ErrUnproven means that a subscription can't be set active by who made it.
var ErrUnproven = errors.New("callback_url has not consented yet")

// Reconsider decides what a change means for the consent. The subscription has been changed already; before is what it was, and
// asked the status that the change asks for, "" if it asks for none. A consent holds for one URL, and until the subscription is
// disabled: who answered 410 is asked again. Who wants no callbacks at the moment is not asked.
func (s *Subscription) Reconsider(before Subscription, asked Status, v Verification, now time.Time) error {
	moved := s.CallbackURL != before.CallbackURL
	if moved || before.Status == StatusDisabled && asked == StatusActive {
		s.Consent = nil
	}
	wants := cmp.Or(asked, before.Status)
	switch {
	case !moved && asked == "", wants != StatusActive && wants != StatusPending:
	case v.Accepts(s.Consent):
		s.Status, s.StatusReason = StatusActive, ""
		if !VerifyAny.Accepts(s.Consent) {
			s.Consent = nil // what was begun under another policy
		}
	case !moved && before.Status == StatusPending:
		return ErrUnproven
	default:
		s.AskConsent(v, now)
	}
	return nil
}

// ErrRound means that a consent answers a round that is over.
var ErrRound = errors.New("another consent is asked for by now, or none")

// InRound is nil while the subscription waits for this round's consent, else ErrRound.
func (s *Subscription) InRound(round string) error {
	if s.Status != StatusPending || s.Consent == nil || s.Consent.Round != round || s.Consent.State == ConsentVerified {
		return ErrRound
	}
	return nil
}

// Attempt counts that the endpoint was asked.
func (s *Subscription) Attempt() {
	c := *s.Consent
	c.Attempts++
	s.Consent = &c
}

// Consented makes a pending subscription active. rate is in requests per minute; zero: no bound.
func (s *Subscription) Consented(by Verification, rate int, now time.Time) {
	c := *s.Consent
	c.State, c.By, c.VerifiedAt, c.AllowedRate, c.LastError, c.Next = ConsentVerified, by, now, rate, "", time.Time{}
	s.Consent, s.Status, s.StatusReason, s.UpdatedAt = &c, StatusActive, "", now
}

// Refused notes an attempt that brought no consent. A zero next ends the round; the subscription stays pending.
func (s *Subscription) Refused(reason string, next, now time.Time) {
	c := *s.Consent
	c.LastError, c.Next = reason, next
	s.UpdatedAt = now
	if next.IsZero() {
		c.State, s.StatusReason = ConsentFailed, "callback_url has not consented: "+reason
	}
	s.Consent = &c
}

// NextAsked is when the endpoint is to be asked for its consent; zero: it is not.
func (s *Subscription) NextAsked() time.Time {
	if s.Status != StatusPending || s.Consent == nil || s.Consent.State != ConsentPending {
		return time.Time{}
	}
	return s.Consent.Next
}

// Rate is how many attempts per second are allowed, what the endpoint granted included; zero: no bound.
func (s *Subscription) Rate() float64 {
	if s.Consent == nil || s.Consent.AllowedRate == 0 {
		return s.RateLimit
	}
	granted := float64(s.Consent.AllowedRate) / 60
	return min(cmp.Or(s.RateLimit, granted), granted)
}

// ParseAllowedRate reads a granted rate: a whole number of requests per minute, or zero for an asterisk, which is no bound.
// Without one there is no bound either.
func ParseAllowedRate(text string) (int, error) {
	if text == "" || text == "*" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if errors.Is(err, strconv.ErrRange) {
		return 0, nil // more than anybody could send
	}
	if err != nil || n == 0 {
		return 0, errors.New("WebHook-Allowed-Rate is neither a positive whole number of requests per minute nor an asterisk")
	}
	return int(n), nil
}

// DefaultOrigin is the name of an installation that was given none.
const DefaultOrigin = "apisix-webhooks"

// Sender is what endpoints learn of this installation.
type Sender struct {
	// Origin is its DNS name, in WebHook-Request-Origin.
	Origin string
	// URL is the gateway's as the world sees it; empty: late consents can't be given.
	URL string
}

// NewSender reads the administrator's WEBHOOK_ORIGIN and WEBHOOK_PUBLIC_URL. Without an origin it is the URL's host, if that is
// a name. The error names the variable and never repeats the value.
func NewSender(origin, publicURL string) (Sender, error) {
	s := Sender{Origin: origin, URL: strings.TrimSuffix(publicURL, "/")}
	host := ""
	if publicURL != "" {
		u, err := url.Parse(publicURL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return Sender{}, errors.New("WEBHOOK_PUBLIC_URL: write it as https://host, with a path where the gateway is below one")
		}
		host = u.Hostname()
	}
	if s.Origin == "" {
		s.Origin = DefaultOrigin
		if isName(host) {
			s.Origin = strings.ToLower(host)
		}
	}
	if !isName(s.Origin) {
		return Sender{}, errors.New("WEBHOOK_ORIGIN: write a DNS name, as webhooks.example.com")
	}
	return s, nil
}

// isName reports whether a text is a DNS name and no address.
func isName(host string) bool {
	_, err := netip.ParseAddr(host)
	return err != nil && !strings.HasPrefix(host, "*") && validHostPattern(host)
}
