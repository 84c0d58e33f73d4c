package bearer

import (
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
)

const (
	// maxKeySet bounds a set of keys, in bytes, and maxKeys their number.
	maxKeySet = 256 << 10
	maxKeys   = 100
	// RSA below is weak (RFC 7518, section 3.3), above it costs too much to check.
	minRSABits, maxRSABits = 2048, 8192
)

// key is a public key that checks signatures of one algorithm.
type key struct {
	id, algorithm string
	public        crypto.PublicKey
}

// keySet is the usable keys of an issuer. It never changes.
type keySet struct{ keys []key }

// parseKeys reads a JWK Set (RFC 7517, section 5). It skips keys that it cannot use, as the section says, and tells why by
// index; a set without any usable key is an error.
func parseKeys(raw []byte) (set *keySet, skipped map[int]error, err error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(raw, &doc) != nil || len(doc.Keys) == 0 {
		return nil, nil, errors.New(` is no JWK Set: write {"keys":[…]}`)
	}
	if len(doc.Keys) > maxKeys {
		return nil, nil, fmt.Errorf(" has more than %d keys", maxKeys)
	}
	set, skipped = &keySet{}, map[int]error{}
	for i, text := range doc.Keys {
		k, err := parseKey(text)
		if err != nil {
			skipped[i] = err
			continue
		}
		set.keys = append(set.keys, k)
	}
	if len(set.keys) == 0 {
		return nil, skipped, fmt.Errorf(" has no key for %v", algorithms)
	}
	return set, skipped, nil
}

// inlineKeys takes no key that it would have to skip: the administrator can mend the set.
func inlineKeys(raw []byte) (*keySet, error) {
	set, skipped, err := parseKeys(raw)
	for i := range maxKeys {
		if skipped[i] != nil {
			return nil, fmt.Errorf(".keys[%d] %w", i, skipped[i])
		}
	}
	return set, err
}

// parseKey takes the key itself and nothing that leads elsewhere, such as certificates and their addresses.
func parseKey(text []byte) (key, error) {
	var m jwkset.JWKMarshal
	if json.Unmarshal(text, &m) != nil {
		return key{}, errors.New("is no JWK")
	}
	if m.D != "" || m.P != "" || m.Q != "" || m.DP != "" || m.DQ != "" || m.QI != "" || m.K != "" {
		return key{}, errors.New("is a secret key: publish public keys only")
	}
	algorithm := algorithmOf(&m)
	if algorithm == "" {
		return key{}, fmt.Errorf("is not for signatures with one of %v", algorithms)
	}
	jwk, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{KTY: m.KTY, CRV: m.CRV, X: m.X, Y: m.Y, N: m.N, E: m.E},
		jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, errors.New("is damaged")
	}
	if public, ok := jwk.Key().(*rsa.PublicKey); ok && (public.N.BitLen() < minRSABits || public.N.BitLen() > maxRSABits) {
		return key{}, fmt.Errorf("is an RSA key that has not %d to %d bits", minRSABits, maxRSABits)
	}
	return key{m.KID, algorithm, jwk.Key()}, nil
}

// algorithmOf returns the one algorithm that a key of ours is good for, "" if it is for something else.
func algorithmOf(m *jwkset.JWKMarshal) string {
	algorithm := ""
	switch {
	case m.KTY == jwkset.KtyRSA:
		algorithm = algRS256
	case m.KTY == jwkset.KtyEC && m.CRV == jwkset.CrvP256:
		algorithm = algES256
	case m.KTY == jwkset.KtyOKP && m.CRV == jwkset.CrvEd25519:
		algorithm = algEdDSA
	}
	said := m.ALG.String()
	if said == "Ed25519" { // RFC 9864's name for it
		said = algEdDSA
	}
	if said != "" && said != algorithm || m.USE != "" && m.USE != jwkset.UseSig ||
		len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return ""
	}
	return algorithm
}

// find returns the keys that a token may be signed with: those of its kid. Where there is one key alone, neither it nor the
// token needs a kid.
func (s *keySet) find(algorithm, kid string) []key {
	var found []key
	for _, k := range s.keys {
		if k.algorithm == algorithm && (kid != "" && k.id == kid || len(s.keys) == 1 && (kid == "" || k.id == "")) {
			found = append(found, k)
		}
	}
	return found
}
