package contract

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Fingerprints are keys in Redis: one that changed would let the same subscription be made twice.
func TestAFingerprintStaysWhatItWasBeforeThereWereSchemesToChoose(t *testing.T) {
	sub := Subscription{Consumer: "con_1", Resource: "orders", CallbackURL: "https://consumer.example/", Types: []string{"b", "a"},
		Format: FormatStructured, Auth: &Auth{Type: "basic", Username: "u", Password: "p"}}
	require.Equal(t, "8f8086cdbbe14bbc8420cb46998d9991", sub.Fingerprint())
	before := sub.Fingerprint()
	sub.Signatures = []Signature{SignatureV1a}
	require.NotEqual(t, before, sub.Fingerprint())
}
