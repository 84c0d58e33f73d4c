package contract

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestValidateTypePattern(t *testing.T) {
	for _, good := range []string{"a", "order.created", "*", "**", "a.*", "*.b", "a.**", "a.*.c", "A-b_c.9", "com.example.order.v1"} {
		require.NoError(t, ValidateTypePattern(good), good)
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a*", "*a", "a.**.b", "**.a", "***", "a b", "a\n", "a/b", "ä", "a,b", "a|b", strings.Repeat(".", 100)} {
		require.Error(t, ValidateTypePattern(bad), bad)
	}
}

func TestMatchesType(t *testing.T) {
	cases := []struct {
		patterns  string
		eventType string
		want      bool
	}{
		{"", "anything.at.all", true},
		{"a.b", "a.b", true}, {"a.b", "a.c", false}, {"a.b", "a", false}, {"a.b", "a.b.c", false}, {"a", "a.b", false}, {"a", "A", false},
		{"*", "a", true}, {"*", "a.b", false}, {"a.*", "a.b", true}, {"a.*", "a", false}, {"a.*", "a.", false}, {"a.*", "a.b.c", false},
		{"*.b", "a.b", true}, {"*.b", "b", false}, {"a.*.c", "a.b.c", true}, {"a.*.c", "a.c", false},
		{"**", "a", true}, {"**", "a.b.c", true}, {"a.**", "a.b", true}, {"a.**", "a.b.c", true}, {"a.**", "a", false}, {"a.**", "ab.c", false}, {"a.*.**", "a.b.c", true}, {"a.*.**", "a.b", false},
		{"x a.b", "a.b", true}, {"x y", "a.b", false}, {"*", "com.example/x", false}, {"com.*", "com.example/x", true}, {"*", "", false}, {"**", "", false}, {"a.*", "a..", false},
	}
	for _, c := range cases {
		require.Equal(t, c.want, MatchesType(strings.Fields(c.patterns), c.eventType), "%q on %q", c.patterns, c.eventType)
	}
}

func FuzzTypePatterns(f *testing.F) {
	f.Add("a.*", "a.b")
	f.Add("a.**", "a")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, eventType string) {
		matched := MatchesType([]string{pattern}, eventType)
		if ValidateTypePattern(pattern) != nil {
			return
		}
		if strings.ContainsAny(pattern, " |\n") {
			t.Fatalf("%q is valid, but the store's list of patterns can't hold it", pattern)
		}
		p, e := strings.Split(pattern, "."), strings.Split(eventType, ".")
		want := eventType != "" && len(p) <= len(e)
		for i := range min(len(p), len(e)) {
			if p[i] == "**" {
				e = e[:len(p)]
				break
			}
			want = want && e[i] != "" && (p[i] == "*" || p[i] == e[i])
		}
		if want = want && len(p) == len(e); p[len(p)-1] == "**" && len(e) == len(p) && strings.Join(strings.Split(eventType, ".")[len(p)-1:], ".") == "" {
			want = false
		}
		if matched != want {
			t.Fatalf("%q on %q: %v, want %v", pattern, eventType, matched, want)
		}
		if !strings.Contains(pattern, "*") && !MatchesType([]string{pattern}, pattern) {
			t.Fatalf("%q does not match itself", pattern)
		}
	})
}

func TestDeliveryIDGolden(t *testing.T) {
	// A delivery's id is in consumers' hands as webhook-id: it may never change.
	require.Equal(t, "dlv_e35tsbbwtolevy4zxsu5xteqni", DeliveryID("/shop", "e1", "sub_1"))
	require.NotEqual(t, DeliveryID("a", "bc", "d"), DeliveryID("ab", "c", "d"))
	require.NotEqual(t, DeliveryID("a", "b", "cd"), DeliveryID("a", "bc", "d"))
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID("sub")
		require.Regexp(t, `^sub_[a-z2-7]{26}$`, id)
		seen[id] = true
	}
	require.Len(t, seen, 1000)
}

func TestHashKey(t *testing.T) {
	require.Equal(t, "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", HashKey("foo"))
}

func TestIsInternalHeader(t *testing.T) {
	for _, name := range []string{"X-Webhook-Statement", "x-webhook-pass", "X_Webhook_Statement", "x-consumer-id", "X-Consumer_Username", "X-Credential-Identifier", "X-WEBHOOK-", "x_consumer_"} {
		require.True(t, IsInternalHeader(name), name)
	}
	for _, name := range []string{"webhook-id", "X-Team", "X-Webhooks", "X-Consumer", "X-Consumerx-Id", "", "X-Request-Id"} {
		require.False(t, IsInternalHeader(name), name)
	}
}

func TestValidateResource(t *testing.T) {
	for _, good := range []string{"a", "orders", "a-1", "a" + strings.Repeat("b", 62)} {
		require.NoError(t, ValidateResource(good), good)
	}
	for _, bad := range append([]string{"", "-", "-a", "1a", "A", "a_b", "a.b", "a/b", "a%2Fb", "a\n", "ä", "..", "a" + strings.Repeat("b", 63)}, reserved...) {
		require.Error(t, ValidateResource(bad), bad)
	}
}

func TestActionsOn(t *testing.T) {
	c := Consumer{Grants: []Grant{{"orders", []string{"subscribe"}}, {"payments", []string{"publish"}}, {"orders", []string{"publish"}}}}
	require.Equal(t, []string{"subscribe", "publish"}, c.ActionsOn("orders"))
	require.Empty(t, c.ActionsOn("order"))
}

func TestSigningSecrets(t *testing.T) {
	s := Subscription{Confidential: Confidential{Secrets: []Secret{{Value: "new"}, {Value: "old", Until: now.Add(time.Hour)}, {Value: "ended", Until: now}}}}
	require.Equal(t, []string{"new", "old"}, s.SigningSecrets(now))
	require.Equal(t, []string{"new"}, s.SigningSecrets(now.Add(time.Hour)))
}

func TestPrintable(t *testing.T) {
	require.Equal(t, "a?b??", Printable("a\nb\x7f\xff"))
	require.LessOrEqual(t, len(Printable(strings.Repeat("ä", 200))), 110)
}
