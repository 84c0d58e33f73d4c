package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Audiences keep a statement for one reader from being shown to another.
const (
	audienceSubscription = "subscription-service"
	audienceCallback     = "webhook-callback"
	audienceLink         = "webhook-consent"
	audienceConsent      = "subscription-service/consent"
	issuerGateway        = "apisix-webhooks/gateway"
	issuerCallback       = "apisix-webhooks/callback-service"
)

const (
	// CallerLife is how long a statement about a caller holds: the gateway makes it before the call's body is there.
	CallerLife = 30 * time.Second
	// CallbackLife is how long a statement about a callback holds: one hop's connection and head.
	CallbackLife = 15 * time.Second
	// StatementLeeway is how far the clocks of two parts may be apart.
	StatementLeeway = 5 * time.Second
)

// ErrStatement is what every refused statement wraps. Its text never holds the statement.
var ErrStatement = errors.New("statement refused")

// Caller is what the gateway says of who calls: the subject of the statement to the subscription service. With ActionPublic
// there is no consumer, and the resource is the public path itself.
type Caller struct {
	Consumer string
	Resource string
	Action   string
	// Method and Path are those of the very call, the path as the consumer sent it.
	Method string
	Path   string
	// Statement is the statement's own id: a fresh one for each, set by VerifyCaller. It is to be accepted once.
	Statement string
	// From is the caller's address as the gateway saw it, for the audit log.
	From string
	// Key is the id of the API key that the caller came by; empty for none.
	Key string
	// Until is when the caller's credential ends, to the second; zero: it has no end of its own.
	Until time.Time
}

// Callback is what the callback service says of one call: exactly this target, for this subscription and delivery.
type Callback struct {
	// Method is POST, or OPTIONS to ask whether callbacks are wanted (CloudEvents HTTP webhook 1.0, section 4); empty for POST.
	Method       string
	Target       string
	Subscription string
	Delivery     string
	// Statement is the statement's own id: a fresh one for each attempt, set by VerifyCallback. It is to be accepted once.
	Statement string
	// Certificate is the ID of the subscription's client certificate that the call is made with; empty for none.
	Certificate string
	// Timeouts bound the call at the egress. Zero means the egress's default.
	Timeouts Timeouts
}

// Signer makes and checks statements with HMAC-SHA-256, as compact JWTs (RFC 7519). Of several keys the first signs and all
// verify. It is safe for concurrent use.
type Signer struct {
	ring atomic.Pointer[ring]
	now  func() time.Time

	callers, callback *jwt.Validator
	links, consents   *jwt.Validator
}

// NewSigner refuses a key shorter than MinKeyBytes. now is the clock, time.Now in production.
func NewSigner(key []byte, now func() time.Time) (*Signer, error) {
	s := &Signer{
		now:      now,
		callers:  validator(now, issuerGateway, audienceSubscription),
		callback: validator(now, issuerCallback, audienceCallback),
		links:    validator(now, issuerCallback, audienceLink),
		consents: validator(now, issuerGateway, audienceConsent),
	}
	if err := s.SetKeys(key); err != nil {
		return nil, err
	}
	return s, nil
}

// validator takes the claims of one kind of statement. It is safe for concurrent use.
func validator(now func() time.Time, issuer, audience string) *jwt.Validator {
	return jwt.NewValidator(jwt.WithTimeFunc(now), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(StatementLeeway))
}

type callerClaims struct {
	Resource string `json:"resource"`
	Action   string `json:"action"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	From     string `json:"from,omitempty"`
	Key      string `json:"key,omitempty"`
	Until    int64  `json:"until,omitempty"`
	jwt.RegisteredClaims
}

type callbackClaims struct {
	Method      string `json:"method,omitempty"`
	Target      string `json:"target"`
	Delivery    string `json:"delivery"`
	Certificate string `json:"certificate,omitempty"`
	TimeoutMS   int64  `json:"timeout_ms,omitempty"`
	ConnectMS   int64  `json:"connect_ms,omitempty"`
	HeaderMS    int64  `json:"header_ms,omitempty"`
	jwt.RegisteredClaims
}

// SignCaller states who calls and for which resource.
func (s *Signer) SignCaller(c Caller) (string, error) {
	var until int64
	if !c.Until.IsZero() {
		until = c.Until.Unix()
	}
	return s.sign(callerClaims{c.Resource, c.Action, c.Method, c.Path, c.From, c.Key, until, s.registered(issuerGateway, audienceSubscription, c.Consumer, CallerLife)})
}

// VerifyCaller returns the caller of a statement, or an error that wraps ErrStatement.
func (s *Signer) VerifyCaller(token string) (Caller, error) {
	var claims callerClaims
	if err := s.verify(s.callers, token, &claims, &claims.RegisteredClaims, CallerLife); err != nil {
		return Caller{}, err
	}
	c := Caller{
		Consumer: claims.Subject, Resource: claims.Resource, Action: claims.Action, Method: claims.Method, Path: claims.Path,
		Statement: claims.ID, From: claims.From, Key: claims.Key,
	}
	if claims.Until != 0 {
		c.Until = time.Unix(claims.Until, 0)
	}
	if c.Resource == "" || c.Action == "" || c.Method == "" || c.Path == "" || (c.Consumer == "") != (c.Action == ActionPublic) {
		return Caller{}, fmt.Errorf("%w: consumer, resource, action, method and path are all needed, and no consumer where anybody may call", ErrStatement)
	}
	return c, nil
}

// SignCallback states one callback.
func (s *Signer) SignCallback(c Callback) (string, error) {
	return s.sign(callbackClaims{c.Method, c.Target, c.Delivery, c.Certificate, milliseconds(c.Timeouts.Total), milliseconds(c.Timeouts.Connect), milliseconds(c.Timeouts.Header),
		s.registered(issuerCallback, audienceCallback, c.Subscription, CallbackLife)})
}

// VerifyCallback returns the callback of a statement, or an error that wraps ErrStatement.
func (s *Signer) VerifyCallback(token string) (Callback, error) {
	var claims callbackClaims
	if err := s.verify(s.callback, token, &claims, &claims.RegisteredClaims, CallbackLife); err != nil {
		return Callback{}, err
	}
	c := Callback{Method: claims.Method, Target: claims.Target, Subscription: claims.Subject, Delivery: claims.Delivery, Statement: claims.ID, Certificate: claims.Certificate,
		Timeouts: Timeouts{Total: duration(claims.TimeoutMS), Connect: duration(claims.ConnectMS), Header: duration(claims.HeaderMS)}}
	if c.Target == "" || c.Subscription == "" || c.Delivery == "" || min(c.Timeouts.Total, c.Timeouts.Connect, c.Timeouts.Header) < 0 {
		return Callback{}, fmt.Errorf("%w: target, subscription and delivery are all needed", ErrStatement)
	}
	if !slices.Contains(callbackMethods, c.Method) {
		return Callback{}, fmt.Errorf("%w: a callback is made with POST or OPTIONS", ErrStatement)
	}
	return c, nil
}

var callbackMethods = []string{"", http.MethodPost, http.MethodOptions}

func milliseconds(d Duration) int64 { return time.Duration(d).Milliseconds() }
func duration(milliseconds int64) Duration {
	return Duration(milliseconds) * Duration(time.Millisecond)
}

// registered has a fresh id, which makes each statement another one.
func (s *Signer) registered(issuer, audience, subject string, life time.Duration) jwt.RegisteredClaims {
	now := s.now()
	return jwt.RegisteredClaims{
		Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: subject, ID: NewID("st"),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
	}
}

func (s *Signer) sign(claims jwt.Claims) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("signing a statement: %w", err)
	}
	return s.ring.Load().first.sign(payload)
}

// verify reads a statement. Whatever holds for longer than is remembered which statements were used is refused: registered is
// the claims' own.
func (s *Signer) verify(validator *jwt.Validator, token string, claims jwt.Claims, registered *jwt.RegisteredClaims, life time.Duration) error {
	payload, err := s.ring.Load().open(token)
	if err == nil {
		err = json.Unmarshal(payload, claims)
	}
	if err == nil {
		err = validator.Validate(claims)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	switch issued := registered.IssuedAt; {
	case registered.ID == "":
		return fmt.Errorf("%w: it has no id", ErrStatement)
	case issued == nil || registered.ExpiresAt.Sub(issued.Time) > life:
		return fmt.Errorf("%w: it holds for longer than %v", ErrStatement, life)
	}
	return nil
}
