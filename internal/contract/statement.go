package contract

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Audiences keep a statement for one reader from being shown to another.
const (
	audienceSubscription = "subscription-service"
	audienceCallback     = "webhook-callback"
	issuerGateway        = "apisix-webhooks/gateway"
	issuerCallback       = "apisix-webhooks/callback-service"
)

// StatementLife is how long a statement holds.
const StatementLife = 60 * time.Second

// MinKeyBytes is the shortest HMAC key that is taken (RFC 7518, section 3.2: no shorter than the hash).
const MinKeyBytes = 32

// ErrStatement is what every refused statement wraps. Its text never holds the statement.
var ErrStatement = errors.New("statement refused")

// Caller is what the gateway says of who calls: the subject of the statement to the subscription service.
type Caller struct {
	Consumer string
	Resource string
	Action   string
	// From is the caller's address as the gateway saw it, for the audit log.
	From string
}

// Callback is what the callback service says of one call: exactly this target, for this subscription and delivery.
type Callback struct {
	// Method is POST, or OPTIONS to ask whether callbacks are wanted (CloudEvents HTTP webhook 1.0, section 4); empty for POST.
	Method       string
	Target       string
	Subscription string
	Delivery     string
	// Timeouts bound the call at the egress. Zero means the egress's default.
	Timeouts Timeouts
}

// Signer makes and checks statements with one HMAC-SHA-256 key, as compact JWTs (RFC 7519).
type Signer struct {
	key []byte
	now func() time.Time

	keys              jwt.Keyfunc
	callers, callback *jwt.Parser
}

// NewSigner refuses a key shorter than MinKeyBytes. now is the clock, time.Now in production.
func NewSigner(key []byte, now func() time.Time) (*Signer, error) {
	if len(key) < MinKeyBytes {
		return nil, fmt.Errorf("the key has %d bytes: give at least %d", len(key), MinKeyBytes)
	}
	return &Signer{
		key: key, now: now, keys: func(*jwt.Token) (any, error) { return key, nil },
		callers:  parser(now, issuerGateway, audienceSubscription),
		callback: parser(now, issuerCallback, audienceCallback),
	}, nil
}

// parser takes one kind of statement. It is safe for concurrent use.
func parser(now func() time.Time, issuer, audience string) *jwt.Parser {
	return jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithTimeFunc(now),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(5*time.Second))
}

type callerClaims struct {
	Resource string `json:"resource"`
	Action   string `json:"action"`
	From     string `json:"from,omitempty"`
	jwt.RegisteredClaims
}

type callbackClaims struct {
	Method    string `json:"method,omitempty"`
	Target    string `json:"target"`
	TimeoutMS int64  `json:"timeout_ms,omitempty"`
	ConnectMS int64  `json:"connect_ms,omitempty"`
	HeaderMS  int64  `json:"header_ms,omitempty"`
	jwt.RegisteredClaims
}

// SignCaller states who calls and for which resource.
func (s *Signer) SignCaller(c Caller) (string, error) {
	return s.sign(callerClaims{c.Resource, c.Action, c.From, s.registered(issuerGateway, audienceSubscription, c.Consumer, NewID("st"))})
}

// VerifyCaller returns the caller of a statement, or an error that wraps ErrStatement.
func (s *Signer) VerifyCaller(token string) (Caller, error) {
	var claims callerClaims
	if err := s.verify(s.callers, token, &claims); err != nil {
		return Caller{}, err
	}
	c := Caller{Consumer: claims.Subject, Resource: claims.Resource, Action: claims.Action, From: claims.From}
	if c.Consumer == "" || c.Resource == "" || c.Action == "" {
		return Caller{}, fmt.Errorf("%w: consumer, resource and action are all needed", ErrStatement)
	}
	return c, nil
}

// SignCallback states one callback.
func (s *Signer) SignCallback(c Callback) (string, error) {
	return s.sign(callbackClaims{c.Method, c.Target, milliseconds(c.Timeouts.Total), milliseconds(c.Timeouts.Connect), milliseconds(c.Timeouts.Header),
		s.registered(issuerCallback, audienceCallback, c.Subscription, c.Delivery)})
}

// VerifyCallback returns the callback of a statement, or an error that wraps ErrStatement.
func (s *Signer) VerifyCallback(token string) (Callback, error) {
	var claims callbackClaims
	if err := s.verify(s.callback, token, &claims); err != nil {
		return Callback{}, err
	}
	c := Callback{Method: claims.Method, Target: claims.Target, Subscription: claims.Subject, Delivery: claims.ID,
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

func (s *Signer) registered(issuer, audience, subject, id string) jwt.RegisteredClaims {
	now := s.now()
	return jwt.RegisteredClaims{
		Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: subject, ID: id,
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(StatementLife)),
	}
}

// header is that of all statements. The library only reads it.
var header = map[string]any{"typ": "JWT", "alg": jwt.SigningMethodHS256.Alg()}

func (s *Signer) sign(claims jwt.Claims) (string, error) {
	token, err := (&jwt.Token{Header: header, Claims: claims, Method: jwt.SigningMethodHS256}).SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("signing a statement: %w", err)
	}
	return token, nil
}

func (s *Signer) verify(parser *jwt.Parser, token string, claims jwt.Claims) error {
	if _, err := parser.ParseWithClaims(token, claims, s.keys); err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	return nil
}
