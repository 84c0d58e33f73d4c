package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// Fingerprints are keys in Redis, made of these bytes: one that changed would let the same subscription be made twice.
func TestWhatIsAskedStaysWhatItWasBeforeThereWereSchemesToChoose(t *testing.T) {
	sub := Subscription{Consumer: "con_1", Resource: "orders", CallbackURL: "https://consumer.example/", Types: []string{"b", "a"},
		Format: FormatStructured, Confidential: Confidential{Auth: &Auth{Type: "basic", Username: "u", Password: "p"}}}
	before := sub.Asked()
	sum := sha256.Sum256(before)
	require.Equal(t, "8f8086cdbbe14bbc8420cb46998d9991", hex.EncodeToString(sum[:16]))
	sub.Signatures = []Signature{SignatureV1a}
	require.NotEqual(t, before, sub.Asked())
}
