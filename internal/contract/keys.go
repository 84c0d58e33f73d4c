package contract

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// MinKeyBytes is the shortest HMAC key that is taken (RFC 7518, section 3.2: no shorter than the hash).
const MinKeyBytes = 32

// keyIDBytes of a key's SHA-256 name it in a statement.
const keyIDBytes = 8

// ErrUnknownKey is wrapped by the refusal of a statement that names no key of ours.
var ErrUnknownKey = errors.New("its key is not one of ours")

// ParseKeys reads a list of keys, separated by commas or line breaks; white space around a key is not part of it. Its error
// tells the place of a key and never the key.
func ParseKeys(text string) ([][]byte, error) {
	var keys [][]byte
	for _, key := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if key = strings.TrimSpace(key); key != "" {
			keys = append(keys, []byte(key))
		}
	}
	_, err := newRing(keys)
	return keys, err
}

// SetKeys replaces all keys at once, under calls as well; the first signs from now on. After an error nothing has changed.
func (s *Signer) SetKeys(keys ...[]byte) error {
	r, err := newRing(keys)
	if err != nil {
		return err
	}
	s.ring.Store(r)
	return nil
}

// KeyIDs name the keys, as their statements do; the first signs. They tell nothing of a random key.
func (s *Signer) KeyIDs() []string { return s.ring.Load().ids }

// ring is the keys of a Signer at one time. It never changes.
type ring struct {
	first    *signingKey
	byHeader map[string]*signingKey
	ids      []string
}

func newRing(keys [][]byte) (*ring, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("there is no key: give at least one, of %d random bytes or more", MinKeyBytes)
	}
	r := &ring{byHeader: map[string]*signingKey{}}
	var errs []error
	for i, secret := range keys {
		k := newSigningKey(secret)
		switch {
		case len(secret) < MinKeyBytes:
			errs = append(errs, fmt.Errorf("%s has %d bytes: give at least %d", place(i, len(keys)), len(secret), MinKeyBytes))
		case r.byHeader[k.header] != nil:
			errs = append(errs, fmt.Errorf("key %d is there twice: give each once", i+1))
		}
		if r.byHeader[k.header] = k; i == 0 {
			r.first = k
		}
		r.ids = append(r.ids, k.id)
	}
	return r, errors.Join(errs...)
}

func place(i, of int) string {
	if of == 1 {
		return "the key"
	}
	return fmt.Sprint("key ", i+1)
}

// open returns what a statement says, once its signature holds. A header of ours is always the same for a key, so it is compared and
// not read: no other algorithm, type or extension can come in by it.
func (r *ring) open(token string) ([]byte, error) {
	text, signature, signed := cutLast(token)
	header, payload, ok := cutLast(text)
	if !signed || !ok {
		return nil, jwt.ErrTokenMalformed
	}
	k := r.byHeader[header]
	if k == nil {
		return nil, ErrUnknownKey
	}
	raw, err := segments.DecodeString(signature)
	if err != nil || jwt.SigningMethodHS256.Verify(text, raw, k.secret) != nil {
		return nil, jwt.ErrTokenSignatureInvalid
	}
	return segments.DecodeString(payload)
}

// segments is how the parts of a compact form are written: what decodes to the same in another writing is refused.
var segments = base64.RawURLEncoding.Strict()

func cutLast(token string) (before, after string, found bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return "", "", false
	}
	return token[:i], token[i+1:], true
}

// signingKey is a key with what is the same in all of its statements.
type signingKey struct {
	secret []byte
	id     string
	header string // encoded
}

func newSigningKey(secret []byte) *signingKey {
	sum := sha256.Sum256(secret)
	k := &signingKey{secret: secret, id: hex.EncodeToString(sum[:keyIDBytes])}
	k.header = segments.EncodeToString(fmt.Appendf(nil, `{"alg":%q,"kid":%q,"typ":"JWT"}`, jwt.SigningMethodHS256.Alg(), k.id))
	return k
}

// sign makes the compact form (RFC 7515, section 3.1) of a statement about payload.
func (k *signingKey) sign(payload []byte) (string, error) {
	text := k.header + "." + segments.EncodeToString(payload)
	signature, err := jwt.SigningMethodHS256.Sign(text, k.secret)
	if err != nil {
		return "", fmt.Errorf("signing a statement: %w", err)
	}
	return text + "." + segments.EncodeToString(signature), nil
}
