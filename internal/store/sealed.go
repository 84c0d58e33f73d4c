package store

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
)

// atRest is a subscription as it stands in Redis: what is confidential of it is sealed.
type atRest struct {
	contract.Subscription

	// Same is its fingerprint. A record of before there was a key ring has none, and is not sealed: bin/rekey seals it.
	Same   string            `json:"same,omitempty"`
	Sealed *keyring.Envelope `json:"sealed,omitempty"`
}

// bounds are what the confidential part is sealed for. It opens in no other record, and not for another consumer or another
// address: who can write to Redis, but has no key, can't send it elsewhere.
func bounds(sub contract.Subscription) []string {
	return []string{"subscription", sub.ID, sub.Consumer, sub.Resource, sub.CallbackURL}
}

// seal makes the record of a subscription.
func (s *Store) seal(sub contract.Subscription, same string) (string, error) {
	if s.keyring == nil {
		return "", fmt.Errorf("writing a subscription without a key ring: %w", ErrSealed)
	}
	envelope := s.keyring.Seal([]byte(encode(sub.Confidential)), bounds(sub)...)
	sub.Confidential = contract.Confidential{}
	return encode(atRest{sub, same, &envelope}), nil
}

// open is a record's subscription, without its confidential part if this store has no key ring.
func (s *Store) open(k atRest) (contract.Subscription, error) {
	sub := k.Subscription
	switch {
	case s.keyring == nil:
		sub.Confidential = contract.Confidential{}
		return sub, nil
	case k.Sealed == nil:
		return sub, nil
	}
	text, err := s.unseal(*k.Sealed, bounds(sub)...)
	if err != nil {
		return contract.Subscription{}, fmt.Errorf("reading subscription %s: %w", sub.ID, err)
	}
	sub.Confidential = contract.Confidential{}
	if err := json.Unmarshal(text, &sub.Confidential); err != nil {
		return contract.Subscription{}, fmt.Errorf("reading subscription %s: %w: what was sealed is no record", sub.ID, ErrDamaged) // the error would quote it
	}
	return sub, nil
}

func (s *Store) unseal(e keyring.Envelope, bounds ...string) ([]byte, error) {
	data, err := s.keyring.Open(e, bounds...)
	switch {
	case errors.Is(err, keyring.ErrNoKey):
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return data, nil
}

// parse reads a record's text.
func (s *Store) parse(text string, err error) (contract.Subscription, error) {
	k, err := decode[atRest](text, err, "subscription")
	if err != nil {
		return contract.Subscription{}, err
	}
	return s.open(k)
}

// fingerprint is the same for two subscriptions that ask for the same thing. It says nothing to who has no key: among what it is
// made of are credentials, which could be guessed otherwise.
func (s *Store) fingerprint(ctx context.Context, sub contract.Subscription) (string, error) {
	key, err := s.fingerprintKey(ctx)
	if err != nil {
		return "", fmt.Errorf("the key of the fingerprints: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(sub.Asked())
	return hex.EncodeToString(mac.Sum(nil)[:16]), nil
}

// same is the fingerprint under which a record stands.
func (k atRest) same() string {
	if k.Same != "" {
		return k.Same
	}
	sum := sha256.Sum256(k.Asked()) // as it was before there was a key ring
	return hex.EncodeToString(sum[:16])
}

const fingerprintsBound = "fingerprints"

// fingerprintKey is the one key of all fingerprints. It rests sealed too, and stays the same when keys are rotated, so that the
// fingerprints do. It is read each time: subscriptions are rarely written, and a Redis that lost it has another one.
func (s *Store) fingerprintKey(ctx context.Context) ([]byte, error) {
	if s.keyring == nil {
		return nil, fmt.Errorf("there is no key ring: %w", ErrSealed)
	}
	for {
		_, envelope, err := s.sealedFingerprintKey(ctx)
		if !errors.Is(err, ErrNotFound) {
			if err != nil {
				return nil, err
			}
			return s.unseal(envelope, fingerprintsBound)
		}
		var fresh [32]byte
		_, _ = rand.Read(fresh[:]) // never fails
		if err := s.rdb.SetNX(ctx, s.key.fingerprints(), encode(s.keyring.Seal(fresh[:], fingerprintsBound)), 0).Err(); err != nil {
			return nil, fmt.Errorf("writing it: %w", err)
		}
	}
}

func (s *Store) sealedFingerprintKey(ctx context.Context) (text string, envelope keyring.Envelope, err error) {
	text, err = s.rdb.Get(ctx, s.key.fingerprints()).Result()
	envelope, err = decode[keyring.Envelope](text, err, "key of the fingerprints")
	return text, envelope, err
}

// Unlocks reports whether the key ring is the one that Redis's records were sealed with: ErrSealed or ErrDamaged if not.
func (s *Store) Unlocks(ctx context.Context) error {
	_, envelope, err := s.sealedFingerprintKey(ctx)
	if errors.Is(err, ErrNotFound) {
		return nil // nothing was sealed yet
	}
	if err == nil {
		_, err = s.unseal(envelope, fingerprintsBound)
	}
	if err != nil {
		return fmt.Errorf("the key ring does not open what Redis holds: %w", err)
	}
	return nil
}
