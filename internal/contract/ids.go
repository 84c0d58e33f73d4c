package contract

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strings"
)

var lowerBase32 = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewID returns a fresh random id with a prefix, e.g. "sub_…": 128 bits from the system's source.
func NewID(prefix string) string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never fails: it ends the process instead
	return prefix + "_" + strings.ToLower(lowerBase32.EncodeToString(raw[:]))
}

// DeliveryID names the delivery of one event to one subscription. It is a function of the two, so that an event which the
// broker hands out again yields the same deliveries. An event is its source and id (CloudEvents 1.0, section 3.1.1).
func DeliveryID(source, eventID, subscription string) string {
	return "dlv_" + digest(source, eventID, subscription)
}

// LineID names the line of a subscription's deliveries for one subject, which arrive one after the other.
func LineID(subscription, subject string) string { return "line_" + digest(subscription, subject) }

// digest is the same for the same parts: 128 bits of their SHA-256.
func digest(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return strings.ToLower(lowerBase32.EncodeToString(h.Sum(nil)[:16]))
}

// HashKey returns how an API key is kept: SHA-256 in hex. Keys are random and long, so no slow hash is needed.
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
