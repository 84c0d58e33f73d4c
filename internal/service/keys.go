package service

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/secretfile"
)

// keysEvery is how often a file of keys is looked at.
const keysEvery = time.Second

// Keys say where the keys of statements are: in a variable, or in a file that may change under a running process.
type Keys struct {
	// Variable is the name of the variable; with _FILE behind it, it names the file.
	Variable    string
	Value, File string
}

// Signer makes the signer with the keys as they are now. Its error names the variable, and never a key.
func (k Keys) Signer() (*contract.Signer, error) {
	text, err := k.text()
	if err != nil {
		return nil, err
	}
	keys, err := contract.ParseKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.given(), err)
	}
	s, err := contract.NewSigner(keys[0], time.Now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.given(), err)
	}
	return s, s.SetKeys(keys...)
}

// given is the name of the variable that counts.
func (k Keys) given() string {
	if k.File != "" {
		return k.Variable + "_FILE"
	}
	return k.Variable
}

func (k Keys) text() ([]byte, error) {
	switch {
	case k.Value != "" && k.File != "":
		return nil, fmt.Errorf("%s and %s_FILE are both set: unset one", k.Variable, k.Variable)
	case k.Value != "":
		return []byte(k.Value), nil
	case k.File == "":
		return nil, fmt.Errorf("%s is missing: set it to %d random bytes or more, or %s_FILE to a file with them", k.Variable, contract.MinKeyBytes, k.Variable)
	}
	text, err := secretfile.Read(k.File)
	if err != nil {
		return nil, fmt.Errorf("%s_FILE: %w", k.Variable, err)
	}
	return text, nil
}

// Follow gives the signer the file's keys whenever it changes, until ctx ends. While the file cannot be used the keys before stay,
// and the log says so once for each fault. Without a file it returns at once.
func (k Keys) Follow(ctx context.Context, s *contract.Signer, log *zap.Logger) error {
	if k.File == "" {
		return nil
	}
	f := following{Keys: k, signer: s, log: log}
	f.look()
	Every(ctx, keysEvery, func(context.Context) { f.look() })
	return nil
}

// following is what was made of the file last.
type following struct {
	Keys

	signer *contract.Signer
	log    *zap.Logger
	last   []byte
	fault  string
	read   bool
}

func (f *following) look() {
	text, err := f.text()
	switch {
	case err != nil:
		f.last = nil
	case bytes.Equal(text, f.last):
		return
	default:
		f.last = text
		err = f.take(text)
	}
	f.say(err)
}

func (f *following) take(text []byte) error {
	keys, err := contract.ParseKeys(string(text))
	if err == nil {
		err = f.signer.SetKeys(keys...)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", f.given(), f.File, err)
	}
	return nil
}

func (f *following) say(err error) {
	ids := zap.Strings("ids", f.signer.KeyIDs())
	switch {
	case err == nil && !f.read:
		f.read, f.fault = true, ""
		f.log.Info("the keys of statements were read", zap.String("from", f.given()), ids)
	case err == nil: // whoever replaces them waits for it, also where the level is warn
		f.fault = ""
		f.log.Warn("the keys of statements were replaced", zap.String("from", f.given()), ids)
	case err.Error() != f.fault:
		f.fault = err.Error()
		f.log.Error("the new keys of statements are not used: those before stay", ids, zap.Error(err))
	}
}
