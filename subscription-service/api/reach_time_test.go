package api

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
)

// silentDNS never answers.
type silentDNS struct{}

func (silentDNS) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestDNSThatDoesNotAnswerHoldsACallUpForASetTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy, err := guard.New(nil, false)
		require.NoError(t, err)
		begun := time.Now()
		require.NoError(t, reach{policy, silentDNS{}}.check(t.Context(), "https://consumer.example/"))
		require.Equal(t, 2*time.Second, time.Since(begun))
	})
}
