package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

var at = time.Unix(1_700_000_000, 0)

func signed(t *testing.T, body string) Message {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	signature, err := hook.Sign("msg_1", at, []byte(body))
	require.NoError(t, err)
	return Message{http.Header{"Webhook-Id": {"msg_1"}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)}, "Webhook-Signature": {signature}}, []byte(body)}
}

func with(m Message, name, value string) Message {
	m.Header = m.Header.Clone()
	if m.Header.Del(name); value != "" {
		m.Header.Set(name, value)
	}
	return m
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	const body = `{"a":1,"b":[2]}`
	good := signed(t, body)
	raw, err := standardwebhooks.NewWebhookRaw([]byte(secret))
	require.NoError(t, err)
	asText, err := raw.Sign("msg_1", at, []byte(body))
	require.NoError(t, err)
	other := "whsec_" + base64.StdEncoding.EncodeToString([]byte("another secret of 24 byt"))
	for name, c := range map[string]struct {
		m       Message
		secrets []string
		now     time.Time
		want    string // "" where it holds
	}{
		"it holds":                 {good, []string{secret}, at, ""},
		"one of two secrets":       {good, []string{other, secret}, at, ""},
		"one of two signatures":    {with(good, "webhook-signature", "v1,AAAA "+good.Header.Get("webhook-signature")), []string{secret}, at, ""},
		"just within":              {good, []string{secret}, at.Add(5 * time.Minute), ""},
		"too old":                  {good, []string{secret}, at.Add(6 * time.Minute), "too old: it was 6m0s ago"},
		"in the future":            {good, []string{secret}, at.Add(-6 * time.Minute), "in the future by 6m0s"},
		"another secret":           {good, []string{other}, at, "another secret, or the body or webhook-id was changed"},
		"another body":             {Message{good.Header, []byte(`{"a":2}`)}, []string{secret}, at, "another secret, or the body or webhook-id was changed"},
		"another id":               {with(good, "webhook-id", "msg_2"), []string{secret}, at, "another secret, or the body or webhook-id was changed"},
		"a line end more":          {Message{good.Header, []byte(body + "\n")}, []string{secret}, at, "a line end was added"},
		"a line end less":          {Message{signed(t, body+"\n").Header, []byte(body)}, []string{secret}, at, "a line end at its end was lost"},
		"CR LF":                    {Message{signed(t, "a\nb").Header, []byte("a\r\nb")}, []string{secret}, at, "made CR LF"},
		"LF":                       {Message{signed(t, "a\r\nb").Header, []byte("a\nb")}, []string{secret}, at, "made LF"},
		"white space":              {Message{good.Header, []byte(`{"a": 1, "b": [2]}`)}, []string{secret}, at, "white space was put into the JSON"},
		"a byte order mark":        {Message{good.Header, []byte("\xef\xbb\xbf" + body)}, []string{secret}, at, "byte order mark"},
		"the secret's text":        {with(good, "webhook-signature", asText), []string{secret}, at, "the text of the secret as the key"},
		"no id":                    {with(good, "webhook-id", ""), []string{secret}, at, "webhook-id is missing"},
		"no signature":             {with(good, "webhook-signature", ""), []string{secret}, at, "webhook-signature is missing"},
		"a timestamp of words":     {with(good, "webhook-timestamp", "today"), []string{secret}, at, "no number of seconds"},
		"a signature of no scheme": {with(good, "webhook-signature", "abc"), []string{secret}, at, "no signature of v1 or v1a"},
		"a signature that is cut":  {with(good, "webhook-signature", "v1,K5oZ"), []string{secret}, at, "no signature of v1 or v1a"},
		"no key for the scheme":    {good, nil, at, "signed with v1 alone"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, Keys{Secrets: c.secrets}.Check())
			v := Verify(c.m, Keys{Secrets: c.secrets}, c.now, 5*time.Minute)
			require.Equal(t, c.want == "", v.Holds, "%v", v.Faults)
			require.Contains(t, strings.Join(v.Faults, "; "), c.want)
			for _, text := range append(v.Faults, v.Hints...) {
				require.NotContains(t, text, secret)
			}
		})
	}
	require.True(t, Verify(good, Keys{Secrets: []string{secret}}, at.Add(time.Hour), 0).Holds, "no tolerance: any time will do")
}

func TestPublicKeysCheckV1a(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	m := signed(t, "x")
	content := "msg_1." + m.Header.Get("webhook-timestamp") + ".x"
	m = with(m, "webhook-signature", "v1a,"+base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(content))))
	key, err := ParsePublic("whpk_" + base64.StdEncoding.EncodeToString(public))
	require.NoError(t, err)
	v := Verify(m, Keys{Public: []ed25519.PublicKey{key}}, at, time.Minute)
	require.True(t, v.Holds, "%v", v.Faults)
	require.Equal(t, "v1a", v.By)
	require.False(t, Verify(Message{m.Header, []byte("y")}, Keys{Public: []ed25519.PublicKey{key}}, at, time.Minute).Holds)
	require.Contains(t, Verify(m, Keys{Secrets: []string{secret}}, at, time.Minute).Faults[0], "signed with v1a alone")
	_, err = ParsePublic("whpk_AAAA")
	require.Error(t, err)
}

func TestABadSecretIsRefusedAndNotRepeated(t *testing.T) {
	err := Keys{Secrets: []string{"whsec_not*base64*at*all"}}.Check()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "not*base64")
	require.Error(t, Keys{Secrets: []string{""}}.Check())
}

func TestPastedRequestsAreRead(t *testing.T) {
	for name, c := range map[string]struct{ text, id, body string }{
		"with CR LF":        {"POST /h HTTP/1.1\r\nHost: a\r\nwebhook-id: m\r\n\r\n{}", "m", "{}"},
		"with LF":           {"\n\nPOST /h HTTP/1.1\nwebhook-id: m\n\n{\"a\":\n1}\n", "m", "{\"a\":\n1}\n"},
		"of HTTP/2":         {"POST /h?a=b:c HTTP/2\nwebhook-id: m\n\n{}", "m", "{}"},
		"without its line":  {"webhook-id: m\nHost: a\n\nx", "m", "x"},
		"of a length":       {"POST /h HTTP/1.1\nwebhook-id: m\ncontent-length: 2\n\n{}\n", "m", "{}"},
		"without a body":    {"POST /h HTTP/1.1\nwebhook-id: m\n\n", "m", ""},
		"without its blank": {"POST /h HTTP/1.1\nwebhook-id: m\n", "m", ""},
	} {
		m, err := ReadRequest(strings.NewReader(c.text))
		require.NoError(t, err, name)
		require.Equal(t, c.id, m.Header.Get("Webhook-Id"), name)
		require.Equal(t, c.body, string(m.Body), name)
	}
	for _, text := range []string{"", "\n", "POST / HTTP/1.1\nno header\n\n", "content-length: 5\n\nabc", "content-length: x\n\nabc"} {
		_, err := ReadRequest(strings.NewReader(text))
		require.Error(t, err, "%q", text)
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add("POST /h HTTP/1.1\r\nwebhook-id: m\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,a\r\n\r\n{}")
	f.Add("a: b\n\nc")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ReadRequest(strings.NewReader(text))
		if err == nil && Verify(m, Keys{Secrets: []string{secret}}, at, time.Minute).Holds {
			t.Fatal("a forged request")
		}
	})
}
