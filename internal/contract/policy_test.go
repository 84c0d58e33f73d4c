package contract

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDurationsAreWrittenShortAndReadBack(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 500 * time.Millisecond: "500ms", 5 * time.Second: "5s", 90 * time.Second: "1m30s", 2 * time.Minute: "2m", 10 * time.Minute: "10m",
		time.Hour: "1h", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", 20 * time.Hour: "20h", 168 * time.Hour: "168h",
	} {
		text, err := Duration(d).MarshalText()
		require.NoError(t, err)
		require.Equal(t, want, string(text))
		var back Duration
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, Duration(d), back)
	}
}
