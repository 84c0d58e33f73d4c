package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a new user types, one block after the other in one shell: from the first resource to a signed callback and its timeline.
func TestTheReadmesCommandsWork(t *testing.T) {
	stack(t)
	out := typed(t, shellOf(t, "README.md"))
	for _, part := range []string{"signature holds", "order.created", "\n202\n", "/portal/sign-in/", "0 faults"} {
		require.Contains(t, out, part)
	}
	require.NotContains(t, out, "SIGNATURE REFUSED")
}
