package service

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEveryPeriodHasItsTurnUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began, turns := time.Now(), []time.Duration{}
		Every(ctx, time.Second, func(context.Context) {
			if turns = append(turns, time.Since(began)); len(turns) == 3 {
				cancel()
			}
		})
		require.Equal(t, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}, turns)
	})
}
