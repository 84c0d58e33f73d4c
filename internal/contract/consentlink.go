package contract

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ConsentLife is how long a link for a late consent holds.
const ConsentLife = 24 * time.Hour

// ConsentLink is what a link for a late consent stands for: this round of this subscription, and nothing else.
type ConsentLink struct {
	Subscription, Round string
	// Statement is the statement's own id, set by VerifyLink and VerifyConsent. It is to be accepted once.
	Statement string
}

type linkClaims struct {
	Round string `json:"round"`
	jwt.RegisteredClaims
}

// SignLink makes the token of a link, which the callback service hands to the endpoint. Whoever has it can consent, once.
func (s *Signer) SignLink(l ConsentLink) (string, error) {
	return s.sign(linkClaims{l.Round, s.registered(issuerCallback, audienceLink, l.Subscription, ConsentLife)})
}

// VerifyLink returns what a link's token stands for, or an error that wraps ErrStatement.
func (s *Signer) VerifyLink(token string) (ConsentLink, error) {
	return s.verifyLink(s.links, token, ConsentLife)
}

// SignConsent states to the subscription service that a caller had a valid link. It says nothing of who that is.
func (s *Signer) SignConsent(l ConsentLink) (string, error) {
	return s.sign(linkClaims{l.Round, s.registered(issuerGateway, audienceConsent, l.Subscription, CallerLife)})
}

// VerifyConsent returns the link of a statement, or an error that wraps ErrStatement.
func (s *Signer) VerifyConsent(token string) (ConsentLink, error) {
	return s.verifyLink(s.consents, token, CallerLife)
}

func (s *Signer) verifyLink(validator *jwt.Validator, token string, life time.Duration) (ConsentLink, error) {
	var claims linkClaims
	if err := s.verify(validator, token, &claims, &claims.RegisteredClaims, life); err != nil {
		return ConsentLink{}, err
	}
	l := ConsentLink{Subscription: claims.Subject, Round: claims.Round, Statement: claims.ID}
	if l.Subscription == "" || l.Round == "" {
		return ConsentLink{}, fmt.Errorf("%w: subscription and round are both needed", ErrStatement)
	}
	return l, nil
}
