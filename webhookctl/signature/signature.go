// Package signature checks the signatures of callbacks (Standard Webhooks 1.0) and says exactly what is wrong with one.
package signature

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Keys are what a signature may be checked with.
type Keys struct {
	// Secrets are whsec_…, for v1.
	Secrets []string
	// Public are the keys of v1a.
	Public []ed25519.PublicKey
}

// ParsePublic reads whpk_ and the base64 of an ed25519 key.
func ParsePublic(text string) (ed25519.PublicKey, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whpk_"))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errors.New("it is not a public key: give it as the API shows it, whpk_…")
	}
	return raw, nil
}

// Check refuses secrets that can't be read, without repeating them.
func (k Keys) Check() error {
	for _, secret := range k.Secrets {
		if _, err := standardwebhooks.NewWebhook(secret); err != nil || len(secret) < 16 {
			return errors.New("the secret can't be read: give it as the subscribe call showed it, whsec_…")
		}
	}
	return nil
}

// Message is a callback as it came.
type Message struct {
	Header http.Header
	Body   []byte
}

// Verdict is what is known of a message.
type Verdict struct {
	Holds bool      `json:"holds"`
	ID    string    `json:"webhook_id,omitempty"`
	At    time.Time `json:"timestamp,omitzero"`
	// Signed lists the schemes of the signatures that are there, By the one that holds.
	Signed []string `json:"signatures,omitempty"`
	By     string   `json:"by,omitempty"`
	// Faults are why it does not hold, Hints what would make it hold.
	Faults []string `json:"faults,omitempty"`
	Hints  []string `json:"hints,omitempty"`
}

// Verify judges a message. now is the time of its arrival, tolerance how far its timestamp may be off.
func Verify(m Message, keys Keys, now time.Time, tolerance time.Duration) Verdict {
	v := Verdict{ID: m.Header.Get(standardwebhooks.HeaderWebhookID)}
	if !v.headers(m) {
		return v
	}
	v.timestamp(m, now, tolerance)
	v.signatures(m, keys)
	v.Holds = len(v.Faults) == 0
	return v
}

// headers says what is missing; without all three there is nothing to check.
func (v *Verdict) headers(m Message) bool {
	for _, name := range []string{standardwebhooks.HeaderWebhookID, standardwebhooks.HeaderWebhookTimestamp, standardwebhooks.HeaderWebhookSignature} {
		switch values := m.Header.Values(name); {
		case len(values) == 0 || values[0] == "":
			v.fault("the header %s is missing", name)
		case len(values) > 1:
			v.fault("the header %s is there %d times", name, len(values))
		}
	}
	for _, signature := range strings.Fields(m.Header.Get(standardwebhooks.HeaderWebhookSignature)) {
		scheme, _, _ := strings.Cut(signature, ",")
		v.Signed = append(v.Signed, scheme)
	}
	return len(v.Faults) == 0
}

func (v *Verdict) fault(format string, args ...any) {
	v.Faults = append(v.Faults, fmt.Sprintf(format, args...))
}

func (v *Verdict) timestamp(m Message, now time.Time, tolerance time.Duration) {
	seconds, err := strconv.ParseInt(m.Header.Get(standardwebhooks.HeaderWebhookTimestamp), 10, 64)
	if err != nil {
		v.fault("webhook-timestamp is no number of seconds since 1970")
		return
	}
	v.At = time.Unix(seconds, 0)
	switch age := now.Sub(v.At).Truncate(time.Second); {
	case tolerance <= 0:
	case age > tolerance:
		v.fault("the timestamp is too old: it was %s ago, and the tolerance is %s", age, tolerance)
		v.hint("with an old callback, give --tolerance 0; with a new one, look at this machine's clock")
	case -age > tolerance:
		v.fault("the timestamp lies in the future by %s, and the tolerance is %s", -age, tolerance)
		v.hint("look at this machine's clock")
	}
}

func (v *Verdict) hint(text string) { v.Hints = append(v.Hints, text) }

func (v *Verdict) signatures(m Message, keys Keys) {
	if v.By = holds(m, keys); v.By != "" || v.At.IsZero() {
		return
	}
	switch {
	case v.unreadable(m), v.otherScheme(keys), v.changed(m, keys), v.otherSecret(m, keys):
	default:
		v.fault("no signature fits: either it is signed with another secret, or the body or webhook-id was changed on the way")
		v.hint("check the very bytes that came, before any JSON parser; and take the secret of this subscription, the newest one")
	}
}

// holds returns the scheme of a signature that holds; "" for none.
func holds(m Message, keys Keys) string {
	for _, secret := range keys.Secrets {
		if hook, err := standardwebhooks.NewWebhook(secret); err == nil && hook.VerifyIgnoringTimestamp(m.Body, m.Header) == nil {
			return "v1"
		}
	}
	for _, key := range keys.Public {
		if holdsV1a(m, key) {
			return "v1a"
		}
	}
	return ""
}

// holdsV1a does what the library of Standard Webhooks does not do in the version that there is for Go.
func holdsV1a(m Message, key ed25519.PublicKey) bool {
	content := []byte(m.Header.Get(standardwebhooks.HeaderWebhookID) + "." + m.Header.Get(standardwebhooks.HeaderWebhookTimestamp) + ".")
	content = append(content, m.Body...)
	for _, text := range strings.Fields(m.Header.Get(standardwebhooks.HeaderWebhookSignature)) {
		if encoded, ok := strings.CutPrefix(text, "v1a,"); ok {
			if signature, err := base64.StdEncoding.DecodeString(encoded); err == nil && ed25519.Verify(key, content, signature) {
				return true
			}
		}
	}
	return false
}

// unreadable tells of signatures that were cut or mangled.
func (v *Verdict) unreadable(m Message) bool {
	size := map[string]int{"v1": 32, "v1a": ed25519.SignatureSize}
	fine := 0
	for _, text := range strings.Fields(m.Header.Get(standardwebhooks.HeaderWebhookSignature)) {
		scheme, encoded, _ := strings.Cut(text, ",")
		if raw, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(raw) > 0 && len(raw) == size[scheme] {
			fine++
		}
	}
	if fine == 0 {
		v.fault("webhook-signature has no signature of v1 or v1a: it should be v1, and base64, as v1,K5oZfz…")
	}
	return fine == 0
}

// otherScheme tells of a key for a scheme that did not sign.
func (v *Verdict) otherScheme(keys Keys) bool {
	signed := strings.Join(v.Signed, " ")
	has := func(scheme string) bool { return strings.Contains(" "+signed+" ", " "+scheme+" ") }
	if len(keys.Secrets) > 0 && has("v1") || len(keys.Public) > 0 && has("v1a") {
		return false
	}
	v.fault("it is signed with %s alone, for which no key was given", signed)
	v.hint("v1 is checked with the secret, v1a with a public key")
	return true
}

// changed finds a body that was changed in one of the usual ways.
func (v *Verdict) changed(m Message, keys Keys) bool {
	for _, change := range changes {
		body, ok := change.undo(m.Body)
		if ok && holds(Message{m.Header, body}, keys) != "" {
			v.fault("the body was changed: %s", change.what)
			v.hint("hand on the very bytes that came")
			return true
		}
	}
	return false
}

// changes are how bodies get changed, and how that is undone.
var changes = []struct {
	what string
	undo func([]byte) ([]byte, bool)
}{
	{"a line end was added", func(b []byte) ([]byte, bool) { return bytes.TrimRight(b, "\r\n"), bytes.HasSuffix(b, []byte("\n")) }},
	{"a line end at its end was lost", func(b []byte) ([]byte, bool) { return append(bytes.Clone(b), '\n'), true }},
	{"line ends were made CR LF", func(b []byte) ([]byte, bool) {
		return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), bytes.Contains(b, []byte("\r\n"))
	}},
	{"line ends were made LF", func(b []byte) ([]byte, bool) {
		return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")), bytes.Contains(b, []byte("\n"))
	}},
	{"white space was put into the JSON", func(b []byte) ([]byte, bool) {
		var out bytes.Buffer
		err := json.Compact(&out, b)
		return out.Bytes(), err == nil
	}},
	{"a byte order mark was put before it", func(b []byte) ([]byte, bool) { return bytes.CutPrefix(b, []byte("\xef\xbb\xbf")) }},
}

// otherSecret finds a secret that was used in another way than Standard Webhooks says.
func (v *Verdict) otherSecret(m Message, keys Keys) bool {
	for _, secret := range keys.Secrets {
		for _, raw := range []string{secret, strings.TrimPrefix(secret, "whsec_")} {
			if hook, err := standardwebhooks.NewWebhookRaw([]byte(raw)); err == nil && hook.VerifyIgnoringTimestamp(m.Body, m.Header) == nil {
				v.fault("it is signed with the text of the secret as the key, and not with what its base64 stands for")
				return true
			}
		}
	}
	return false
}
