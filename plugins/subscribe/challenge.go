package subscribe

import (
	"fmt"
	"net/http"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
)

const (
	headerChallenge = "WWW-Authenticate"
	challengeKey    = `ApiKey realm="webhooks"`
	challengeBearer = `Bearer realm="webhooks"` // #nosec G101 -- a challenge
)

// accepted names the credentials that can be sent.
func accepted(c filter.Config) string {
	if c.Issuers == nil {
		return "your API key in the header apikey"
	}
	return "your API key in the header apikey, or a JWT as Authorization: Bearer"
}

// challenge is one header value: of several WWW-Authenticate headers APISIX keeps the last.
func challenge(c filter.Config) string {
	if c.Issuers == nil {
		return challengeKey
	}
	return challengeKey + ", " + challengeBearer
}

func unauthorized(c filter.Config, detail string) *filter.Refusal {
	return filter.Refuse(http.StatusUnauthorized, detail).With(headerChallenge, challenge(c))
}

// invalidToken says the same of every bad token (RFC 6750, section 3.1): the reason is in the log.
func invalidToken(c filter.Config) *filter.Refusal {
	return filter.RefuseAs(contract.KindInvalidToken, "the token is not accepted: get a new one from its issuer, for this API").
		With(headerChallenge, challenge(c)+`, error="invalid_token"`)
}

// insufficient is for a token that is for less than its consumer may do (RFC 6750, section 3.1).
func insufficient(resource, action string) *filter.Refusal {
	grant := resource + ":" + action
	return filter.RefuseAs(contract.KindTokenGrant, fmt.Sprintf("the token is not for %s: get one with that grant from its issuer", grant)).
		With(headerChallenge, challengeBearer+fmt.Sprintf(`, error="insufficient_scope", scope="%s"`, grant))
}

func unavailable(detail string) *filter.Refusal {
	return filter.Refuse(http.StatusServiceUnavailable, detail).With("Retry-After", "1")
}
