package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/secretfile"
)

const (
	// readEvery is how often the file is looked at, and sayEvery how often a fault of it is logged again.
	readEvery = 2 * time.Second
	sayEvery  = time.Minute
	// readAtMost bounds the reading of the file for a key that is missing.
	readAtMost = time.Second
)

// Keyring is the ring that holds now: that of its file, or one for good. It is safe for concurrent use.
type Keyring struct {
	ring atomic.Pointer[Ring]
	path string // "" if there is no file

	mu     sync.Mutex
	text   []byte // of the file, when it was last read
	fault  error  // why that is not the ring
	missed time.Time
}

// New is a keyring that stays as it is.
func New(r *Ring) *Keyring {
	k := &Keyring{}
	k.ring.Store(r)
	return k
}

// Load reads the ring from WEBHOOK_KEYRING's value or from the file that WEBHOOK_KEYRING_FILE names, of which one must be given.
// The errors name the variable and no value.
func Load(value, path string) (*Keyring, error) {
	switch {
	case value != "" && path != "":
		return nil, errors.New("WEBHOOK_KEYRING and WEBHOOK_KEYRING_FILE are both set: unset one")
	case path != "":
		k := &Keyring{path: path}
		if err := k.read(); err != nil {
			return nil, fmt.Errorf("WEBHOOK_KEYRING_FILE: %w", err)
		}
		return k, nil
	case value != "":
		r, err := Parse(value)
		if err != nil {
			return nil, fmt.Errorf("WEBHOOK_KEYRING %w", err)
		}
		return New(r), nil
	}
	return nil, errors.New("WEBHOOK_KEYRING is missing: " + howTo + " and set it to that, or WEBHOOK_KEYRING_FILE to a file that holds it")
}

// Seal is Ring.Seal with the ring that holds now.
func (k *Keyring) Seal(data []byte, bounds ...string) Envelope {
	return k.ring.Load().Seal(data, bounds...)
}

// Open is Ring.Open with the ring that holds now. For a key that is missing it looks into the file first: somebody else may have
// read a new ring earlier.
func (k *Keyring) Open(e Envelope, bounds ...string) ([]byte, error) {
	data, err := k.ring.Load().Open(e, bounds...)
	if errors.Is(err, ErrNoKey) && k.look() {
		return k.ring.Load().Open(e, bounds...)
	}
	return data, err
}

// IsCurrent is Ring.IsCurrent with the ring that holds now.
func (k *Keyring) IsCurrent(e Envelope) bool { return k.ring.Load().IsCurrent(e) }

// Keys are the ids of the ring that holds now, the current key first.
func (k *Keyring) Keys() []string { return k.ring.Load().ids() }

// Fault is why the file as it is now is not the ring; nil if it is.
func (k *Keyring) Fault() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fault
}

// look reads the file for a missing key, unless that was just done, and reports whether it did.
func (k *Keyring) look() bool {
	if k.path == "" {
		return false
	}
	k.mu.Lock()
	recent := time.Since(k.missed) < readAtMost
	if !recent {
		k.missed = time.Now()
	}
	k.mu.Unlock()
	return !recent && k.read() == nil
}

// Run follows the file until ctx ends: a good ring holds at once; with a broken one the last good ring stays, and the log says
// so for as long as that lasts.
func (k *Keyring) Run(ctx context.Context, log *zap.Logger) error {
	if k.path == "" {
		return nil
	}
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for said := (saying{keys: fmt.Sprint(k.Keys())}); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		_ = k.read() // it is kept as the fault
		said.say(log, k.Keys(), k.Fault(), time.Now())
	}
}

// saying is what was logged last.
type saying struct {
	keys  string
	fault string
	at    time.Time
}

func (s *saying) say(log *zap.Logger, ids []string, fault error, now time.Time) {
	keys, why := fmt.Sprint(ids), ""
	if fault != nil {
		why = fault.Error()
	}
	if why != "" && (why != s.fault || now.Sub(s.at) >= sayEvery) {
		log.Error("the new key ring is not used; the one before stays", zap.Strings("keys", ids), zap.Error(fault))
		s.at = now
	} else if why == "" && (keys != s.keys || s.fault != "") {
		log.Info("the key ring was read again", zap.Strings("keys", ids))
	}
	s.keys, s.fault = keys, why
}

// read makes the file's text the ring, unless it is so already.
func (k *Keyring) read() error {
	text, err := secretfile.Read(k.path)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && bytes.Equal(text, k.text) && k.ring.Load() != nil {
		return k.fault
	}
	var r *Ring
	if err == nil {
		k.text = text
		r, err = Parse(string(text))
	} else {
		k.text = nil
	}
	if err == nil {
		k.ring.Store(r)
	}
	k.fault = err
	return err
}
