package bearer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The algorithms that are known. All check with a public key: a key that only checks cannot sign.
const (
	algRS256 = "RS256" // RSA of 2048 bits or more
	algES256 = "ES256" // P-256
	algEdDSA = "EdDSA" // Ed25519
)

var algorithms = []string{algRS256, algES256, algEdDSA}

const (
	defaultConsumerClaim = "sub"
	defaultLeeway        = 30 * time.Second
	maxLeeway            = 2 * time.Minute
	maxIssuers           = 16
	// maxSetting bounds each text of the settings, in bytes.
	maxSetting = 2048
)

// Settings are what an administrator writes under "jwt".
type Settings struct {
	Issuers []IssuerSettings `json:"issuers"`
}

// IssuerSettings describe one issuer. All but Issuer, Audience and one of JWKSURL and JWKS may be left out.
type IssuerSettings struct {
	// Issuer is the exact value of iss, Audience the one value of aud.
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	// JWKSURL is where the issuer publishes its keys; JWKS are the keys themselves.
	JWKSURL string          `json:"jwks_url"`
	JWKS    json.RawMessage `json:"jwks"`
	// Algorithms are some of RS256, ES256 and EdDSA, which is also the default.
	Algorithms []string `json:"algorithms"`
	// ConsumerClaim holds the name or id of a consumer, behind ConsumerPrefix; "sub" unless it is set.
	ConsumerClaim  string `json:"consumer_claim"`
	ConsumerPrefix string `json:"consumer_prefix"`
	// GrantsClaim holds the grants that the token is for, as "orders:subscribe users:publish" or a list of such. Unless it is
	// set, a token is for all that its consumer may do.
	GrantsClaim string `json:"grants_claim"`
	// OtherAudiences lets aud name others beside us, who could then pass themselves off as the caller.
	OtherAudiences bool `json:"other_audiences"`
	// Leeway is how far the issuer's clock may be off, 30s unless it is set.
	Leeway string `json:"leeway"`
}

// Issuers are checked settings. They never change.
type Issuers struct{ byName map[string]*issuer }

type issuer struct {
	name, audience          string
	url                     string  // of the keys, or
	keys                    *keySet // the keys
	algorithms              []string
	consumerClaim, prefix   string
	grantsClaim             string
	severalAudiencesAllowed bool
	leeway                  time.Duration
}

// Check makes issuers of the settings, or returns an error that names the field and the fix and repeats no value.
func (s *Settings) Check() (*Issuers, error) {
	if len(s.Issuers) == 0 || len(s.Issuers) > maxIssuers {
		return nil, fmt.Errorf("jwt.issuers: name 1 to %d", maxIssuers)
	}
	all := &Issuers{byName: map[string]*issuer{}}
	for i := range s.Issuers {
		checked, err := s.Issuers[i].check()
		if err != nil {
			return nil, fmt.Errorf("jwt.issuers[%d].%w", i, err)
		}
		if all.byName[checked.name] != nil {
			return nil, fmt.Errorf("jwt.issuers[%d].issuer is there already: each once", i)
		}
		all.byName[checked.name] = checked
	}
	return all, nil
}

func (s *IssuerSettings) check() (*issuer, error) {
	if err := s.checkTexts(); err != nil {
		return nil, err
	}
	leeway, err := s.leeway()
	if err != nil {
		return nil, err
	}
	out := &issuer{name: s.Issuer, audience: s.Audience, url: s.JWKSURL, algorithms: s.Algorithms, consumerClaim: s.ConsumerClaim,
		prefix: s.ConsumerPrefix, grantsClaim: s.GrantsClaim, severalAudiencesAllowed: s.OtherAudiences, leeway: leeway}
	if out.consumerClaim == "" {
		out.consumerClaim = defaultConsumerClaim
	}
	if out.algorithms == nil {
		out.algorithms = algorithms
	}
	if out.url != "" {
		return out, checkURL(out.url)
	}
	if out.keys, err = inlineKeys(s.JWKS); err != nil {
		return nil, fmt.Errorf("jwks%w", err)
	}
	return out, nil
}

func (s *IssuerSettings) checkTexts() error {
	inline := len(s.JWKS) > 0 && string(s.JWKS) != "null"
	for _, text := range []string{s.Issuer, s.Audience, s.JWKSURL, s.ConsumerClaim, s.ConsumerPrefix, s.GrantsClaim} {
		if len(text) > maxSetting {
			return fmt.Errorf("issuer or another text is longer than %d bytes: shorten it", maxSetting)
		}
	}
	switch {
	case s.Issuer == "":
		return errors.New("issuer is missing: write the iss of its tokens")
	case s.Audience == "":
		return errors.New("audience is missing: write the aud that its tokens for this API have")
	case (s.JWKSURL == "") == !inline:
		return errors.New("jwks_url or jwks: write one of them")
	case s.Algorithms != nil && !someOf(s.Algorithms):
		return fmt.Errorf("algorithms: write some of %s, each once", strings.Join(algorithms, ", "))
	}
	return nil
}

func someOf(chosen []string) bool {
	for i, alg := range chosen {
		if !slices.Contains(algorithms, alg) || slices.Contains(chosen[:i], alg) {
			return false
		}
	}
	return len(chosen) > 0
}

func (s *IssuerSettings) leeway() (time.Duration, error) {
	if s.Leeway == "" {
		return defaultLeeway, nil
	}
	d, err := time.ParseDuration(s.Leeway)
	if err != nil || d < 0 || d > maxLeeway {
		return 0, fmt.Errorf("leeway: write a duration from 0s to %s, e.g. 30s", maxLeeway)
	}
	return d, nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("jwks_url is no https URL: write it as https://id.example/jwks.json")
	case u.User != nil || u.Fragment != "":
		return errors.New("jwks_url has credentials or a fragment: take them out")
	}
	return nil
}

// plain reports whether keys would come unprotected from another machine.
func plain(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "https" {
		return err != nil
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback())
}
