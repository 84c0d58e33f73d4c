// Package keyring seals what nobody may read who reads only the database: envelope encryption under named keys that an admin
// rotates. Each record has a data key of its own; the data key rests beside it, sealed under a key of the ring.
package keyring

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const (
	// keyBytes is the length of every key: AES-256.
	keyBytes = 32
	// mostKeys bounds a ring: an old key goes when no record is sealed under it any more.
	mostKeys = 64
	// howTo ends the errors about a missing or bad key.
	howTo = `make one with: echo "k1:$(openssl rand -base64 32)"`
)

// Ring is one state of the key ring. The first key seals, all of them open. It never changes.
type Ring struct{ keys []key }

type key struct {
	id string
	// check tells two keys of one name apart, and says nothing else about them.
	check string
	raw   [keyBytes]byte
	aead  cipher.AEAD
}

var validID = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// Parse reads a ring: entries "id:base64" separated by commas or line ends, the first one is the current key. A line's rest
// after # is a comment. It reports every fault at once, by the entry's place and never by its text, which may be a key.
func Parse(text string) (*Ring, error) {
	entries := split(text)
	if len(entries) == 0 {
		return nil, errors.New("holds no key: " + howTo)
	}
	if len(entries) > mostKeys {
		return nil, fmt.Errorf("has %d keys: take out those that seal no record any more, %d is the most", len(entries), mostKeys)
	}
	r := &Ring{}
	var errs []error
	for i, entry := range entries {
		k, err := parseKey(entry)
		if err == nil {
			err = r.add(k)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("entry %d %w", i+1, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// split keeps empty entries between commas, which are faults, and drops empty lines, which are none.
func split(text string) (entries []string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSuffix(strings.TrimSpace(line), ",")
		if line == "" {
			continue
		}
		for entry := range strings.SplitSeq(line, ",") {
			entries = append(entries, strings.TrimSpace(entry))
		}
	}
	return entries
}

func parseKey(entry string) (key, error) {
	id, text, ok := strings.Cut(entry, ":")
	if !ok {
		return key{}, errors.New("is not of the form id:base64: " + howTo)
	}
	if !validID.MatchString(id) {
		return key{}, errors.New("has an id that can't be used: take 1 to 32 of a-z, 0-9 and -")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != keyBytes || strings.ContainsAny(text, "\r\n") {
		return key{}, fmt.Errorf("is not the base64 of exactly %d bytes: %s", keyBytes, howTo)
	}
	return newKey(id, [keyBytes]byte(raw)), nil
}

func newKey(id string, raw [keyBytes]byte) key {
	mac := hmac.New(sha256.New, raw[:])
	mac.Write([]byte("apisix-webhooks key check"))
	return key{id: id, check: hex.EncodeToString(mac.Sum(nil)[:4]), raw: raw, aead: newAEAD(raw[:])}
}

// newAEAD is AES-256-GCM that puts a fresh random nonce before what it seals. One key may do that about 2^32 times (NIST SP
// 800-38D, section 8.3): a data key does it once, a key of the ring once per write of a record.
func newAEAD(raw []byte) cipher.AEAD {
	block, err := aes.NewCipher(raw)
	if err != nil {
		panic("keyring: " + err.Error()) // only for another length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("keyring: " + err.Error()) // only for another cipher
	}
	return aead
}

func (r *Ring) add(k key) error {
	for i, other := range r.keys {
		if other.id == k.id {
			return fmt.Errorf("has the id of entry %d: give each key its own", i+1)
		}
		if bytes.Equal(other.raw[:], k.raw[:]) {
			return fmt.Errorf("is the same key as entry %d: %s", i+1, howTo)
		}
	}
	r.keys = append(r.keys, k)
	return nil
}

// ids are the names of the keys, the current one first.
func (r *Ring) ids() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return ids
}

// Ephemeral is a ring of one key that nobody else has: what is sealed under it can't be opened once the process is gone. For
// tests and benchmarks.
func Ephemeral() *Keyring {
	var raw [keyBytes]byte
	_, _ = rand.Read(raw[:]) // never fails
	return New(&Ring{keys: []key{newKey("ephemeral", raw)}})
}
