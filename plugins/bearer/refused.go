package bearer

import (
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// Reason is why a token was refused: a fixed vocabulary for the administrator's log. The caller is not told.
type Reason string

// The reasons.
const (
	TooLong        Reason = "too_long"
	Malformed      Reason = "malformed"       // no JWT, or a part of it is not what it must be
	WrongType      Reason = "wrong_type"      // typ is neither JWT nor at+jwt
	Critical       Reason = "critical"        // crit names what we do not know
	WrongAlgorithm Reason = "wrong_algorithm" // alg is not one of the issuer's, or is none
	UnknownIssuer  Reason = "unknown_issuer"
	UnknownKey     Reason = "unknown_key" // the issuer has no such kid for this alg
	BadSignature   Reason = "bad_signature"
	Expired        Reason = "expired"
	NotYet         Reason = "not_yet"       // nbf or iat lie ahead
	MissingClaim   Reason = "missing_claim" // exp or aud
	WrongAudience  Reason = "wrong_audience"
	BadClaims      Reason = "bad_claims"  // a registered claim is of the wrong kind
	NoConsumer     Reason = "no_consumer" // the claim that names the consumer is missing or no text
	BadGrants      Reason = "bad_grants"  // the claim with the grants is neither text nor a list of texts
)

// Refused is the error of a token that was judged and found bad.
type Refused struct{ Reason Reason }

func (r *Refused) Error() string { return "token refused: " + string(r.Reason) }

func refuse(why Reason) error { return &Refused{why} }

// library is what the library's errors mean, the more special ones first.
var library = []struct {
	err error
	why Reason
}{
	{jwt.ErrTokenMalformed, Malformed},
	{jwt.ErrTokenExpired, Expired},
	{jwt.ErrTokenNotValidYet, NotYet},
	{jwt.ErrTokenUsedBeforeIssued, NotYet},
	{jwt.ErrTokenInvalidAudience, WrongAudience},
	{jwt.ErrTokenRequiredClaimMissing, MissingClaim},
	{jwt.ErrInvalidType, BadClaims},
	{jwt.ErrTokenUnverifiable, WrongAlgorithm}, // an alg that the library does not know; ours are told apart before
}

// fault turns an error of the library, whose text may repeat the token, into one of ours.
func fault(err error) error {
	var refused *Refused
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, ErrNoKeys):
		return ErrNoKeys
	}
	for _, known := range library {
		if errors.Is(err, known.err) {
			return refuse(known.why)
		}
	}
	return refuse(BadSignature)
}
