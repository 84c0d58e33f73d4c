package portal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsNoOriginMayEmbedNothing(t *testing.T) {
	require.NoError(t, CheckAncestors([]string{"https://app.example", "http://127.0.0.1:8000"}))
	for _, bad := range []string{"*", "https:", "'self'", "https://*.example", "https://a.example/path", "https://a.example; script-src *", "https://a b", "https://u@a.example",
		"https://a.example,https://b.example", "https://a.example\n", "javascript:alert(1)", ""} {
		err := CheckAncestors([]string{"https://app.example", bad})
		require.ErrorContains(t, err, "number 2", bad)
		if len(bad) > 8 {
			require.NotContains(t, err.Error(), strings.TrimSpace(bad))
		}
	}
}

func TestWhereThePortalIsIsReadOrRefused(t *testing.T) {
	at, err := Where("https://hooks.example", "https://admin.example/x/", "gateway")
	require.NoError(t, err)
	require.Equal(t, []any{"https://hooks.example", "https://admin.example/x", true}, []any{at.URL, at.AdminURL, at.AdminsAtGateway})
	_, err = Where("", "ftp://s3cr3t", "both")
	require.ErrorContains(t, err, "WEBHOOK_PORTAL_ADMIN_URL")
	require.ErrorContains(t, err, "WEBHOOK_PORTAL_ADMIN:")
	require.NotContains(t, err.Error(), "s3cr3t")
}
