package keyring

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	// ErrNoKey means that the ring lacks the key: what is sealed can be opened again when the key is back.
	ErrNoKey = errors.New("the key ring lacks a key")
	// ErrDamaged means that what is sealed was changed, or belongs elsewhere: no key opens it.
	ErrDamaged = errors.New("what is sealed does not open")
)

// Envelope is sealed data as it rests: beside a data key that is sealed under a key of the ring. As JSON it holds base64.
type Envelope struct {
	// Key and Check say which key of the ring: its name, and a check value of the key itself (32 bits of an HMAC).
	Key   string `json:"key"`
	Check string `json:"check"`
	// Wrapped is the data key, and Data the data under it: nonce, AES-256-GCM, tag.
	Wrapped []byte `json:"wrapped"`
	Data    []byte `json:"data"`
}

// Seal seals data under a fresh data key, and that under the ring's current key. Only who names the same bounds opens it: say
// what it is for and which record it stands in.
func (r *Ring) Seal(data []byte, bounds ...string) Envelope {
	var raw [keyBytes]byte
	_, _ = rand.Read(raw[:]) // never fails
	current := r.keys[0]
	return Envelope{
		Key: current.id, Check: current.check,
		Wrapped: current.aead.Seal(nil, nil, raw[:], associated("key", bounds)),   // #nosec G407 -- the AEAD makes the nonce: see newAEAD
		Data:    newAEAD(raw[:]).Seal(nil, nil, data, associated("data", bounds)), // #nosec G407 -- as above
	}
}

// Open returns the data, ErrNoKey or ErrDamaged. No error holds any of the data.
func (r *Ring) Open(e Envelope, bounds ...string) ([]byte, error) {
	k, err := r.find(e)
	if err != nil {
		return nil, err
	}
	raw, err := k.aead.Open(nil, nil, e.Wrapped, associated("key", bounds))
	if err != nil || len(raw) != keyBytes {
		return nil, fmt.Errorf("%w with key %s: it was changed, or belongs to another record", ErrDamaged, k.id)
	}
	data, err := newAEAD(raw).Open(nil, nil, e.Data, associated("data", bounds))
	if err != nil {
		return nil, fmt.Errorf("%w: its data was changed", ErrDamaged)
	}
	return data, nil
}

func (r *Ring) find(e Envelope) (key, error) {
	for _, k := range r.keys {
		if k.id == e.Key && k.check == e.Check {
			return k, nil
		}
		if k.id == e.Key {
			return key{}, fmt.Errorf("%w: its key %s is another than the one that sealed this: put that one back under its name", ErrNoKey, k.id)
		}
	}
	if !validID.MatchString(e.Key) {
		return key{}, fmt.Errorf("%w: it names no key", ErrDamaged) // and what it says may be anything
	}
	return key{}, fmt.Errorf("%w: %s: put it back until bin/rekey says that nothing is sealed under it", ErrNoKey, e.Key)
}

// IsCurrent reports whether an envelope is sealed under the ring's current key.
func (r *Ring) IsCurrent(e Envelope) bool { return e.Key == r.keys[0].id && e.Check == r.keys[0].check }

// associated is what is authenticated beside the data; each part has its length before it, so that none runs into the next.
func associated(part string, bounds []string) []byte {
	text := []byte("apisix-webhooks envelope 1")
	text = withLength(text, part)
	for _, bound := range bounds {
		text = withLength(text, bound)
	}
	return text
}

func withLength(text []byte, s string) []byte {
	return append(binary.AppendUvarint(text, uint64(len(s))), s...)
}
