package bearer

import (
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Identity is whom a token speaks for.
type Identity struct {
	// Consumer is a consumer's name or id, as the issuer gives it.
	Consumer string
	// Narrowed tells that the token is only for the grants that it names.
	Narrowed bool
	// Expires is until when the token is accepted.
	Expires time.Time
	// grants are pairs of a resource and an action, as "orders:subscribe".
	grants []string
}

// Narrow returns those of a consumer's actions on a resource that the token is for. It never adds one.
func (i Identity) Narrow(resource string, actions []string) []string {
	if !i.Narrowed {
		return actions
	}
	var left []string
	for _, action := range actions {
		for _, grant := range i.grants {
			if of, what, ok := strings.Cut(grant, ":"); ok && of == resource && what == action {
				left = append(left, action)
				break
			}
		}
	}
	return left
}

// identity reads the claims that say who calls and for what.
func (i *issuer) identity(claims jwt.MapClaims) (Identity, error) {
	name, _ := claims[i.consumerClaim].(string)
	if name == "" || len(name) > maxConsumer {
		return Identity{}, refuse(NoConsumer)
	}
	id := Identity{Consumer: i.prefix + name, Narrowed: i.grantsClaim != ""}
	if !id.Narrowed {
		return id, nil
	}
	grants, ok := grantsOf(claims[i.grantsClaim])
	if !ok {
		return Identity{}, refuse(BadGrants)
	}
	id.grants = grants
	return id, nil
}

// grantsOf reads a claim like scope (RFC 8693, section 4.2): a text with spaces between grants, or a list of grants. What is no
// grant of ours is left out. A claim that is missing grants nothing.
func grantsOf(claim any) (grants []string, ok bool) {
	switch value := claim.(type) {
	case nil:
		return nil, true
	case string:
		return onlyGrants(strings.Fields(value)), true
	case []any:
		texts := make([]string, 0, len(value))
		for _, one := range value {
			text, isText := one.(string)
			if !isText {
				return nil, false
			}
			texts = append(texts, text)
		}
		return onlyGrants(texts), true
	}
	return nil, false
}

func onlyGrants(texts []string) []string {
	var grants []string
	for _, text := range texts {
		if strings.Contains(text, ":") {
			grants = append(grants, text)
		}
	}
	return grants
}
