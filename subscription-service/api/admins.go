package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// MinAdminToken is the shortest admin token that is taken, in bytes.
const MinAdminToken = 16

// sharedAdmin is the name of whoever has the one admin token without a name.
const sharedAdmin = "admin"

// hashed comes before a token's SHA-256 in hex, where that stands in the place of the token.
const hashed = "sha256:"

// Admins are who may call the admin API, each with a token, of which the SHA-256 is kept.
type Admins []admin

type admin struct {
	name  string
	token [sha256.Size]byte
}

var adminName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ParseAdmins reads the shared token, "" for none, and the others as NAME:TOKEN or NAME:sha256:HEX. Its error names every fault and
// no token.
func ParseAdmins(shared string, named []string) (Admins, error) {
	var all Admins
	var errs []error
	if shared != "" || len(named) == 0 {
		all = append(all, admin{sharedAdmin, sha256.Sum256([]byte(shared))})
		if len(shared) < MinAdminToken {
			errs = append(errs, fmt.Errorf("WEBHOOK_ADMIN_TOKEN has %d bytes: give at least %d", len(shared), MinAdminToken))
		}
	}
	for i, text := range named {
		one, err := parseAdmin(strings.TrimSpace(text))
		if err == nil && all.has(one) {
			err = errors.New("has a name or a token that another one has")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("WEBHOOK_ADMIN_TOKENS: number %d %w", i+1, err))
		}
		all = append(all, one)
	}
	return all, errors.Join(errs...)
}

func parseAdmin(text string) (admin, error) {
	name, token, _ := strings.Cut(text, ":")
	a := admin{name: name, token: sha256.Sum256([]byte(token))}
	hash, isHash := strings.CutPrefix(token, hashed)
	switch {
	case !adminName.MatchString(name):
		return a, errors.New("is not NAME:TOKEN: a name has lower-case letters, digits, dots, hyphens and underscores")
	case isHash:
		raw, err := hex.DecodeString(hash)
		if err != nil || len(raw) != sha256.Size {
			return a, errors.New("is not NAME:sha256:HEX: give the 64 digits that sha256sum prints")
		}
		a.token = [sha256.Size]byte(raw)
	case len(token) < MinAdminToken:
		return a, fmt.Errorf("has a token of %d bytes: give at least %d", len(token), MinAdminToken)
	}
	return a, nil
}

func (a Admins) has(other admin) bool {
	for _, one := range a {
		if one.name == other.name || one.token == other.token {
			return true
		}
	}
	return false
}

// Has reports whether there is an admin of that name.
func (a Admins) Has(name string) bool {
	return slices.ContainsFunc(a, func(one admin) bool { return one.name == name })
}

// whose returns the name of who has a token, "" for nobody. It takes as long for each of them.
func (a Admins) whose(token string) (name string) {
	got := sha256.Sum256([]byte(token))
	for _, one := range a {
		if subtle.ConstantTimeCompare(got[:], one.token[:]) == 1 {
			name = one.name
		}
	}
	return name
}
