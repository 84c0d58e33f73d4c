package callback

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// signed returns the signatures of one callback by scheme.
func signed(t *testing.T, sub *contract.Subscription, now time.Time, body string) map[string][]string {
	t.Helper()
	header := http.Header{}
	require.NoError(t, sign(header, "msg_p5jXN8AQM9LWM0D4loKWxJek", sub, now, []byte(body)))
	by := map[string][]string{}
	for one := range strings.FieldsSeq(header.Get("webhook-signature")) {
		scheme, _, _ := strings.Cut(one, ",")
		by[scheme] = append(by[scheme], one)
	}
	return by
}

// The vectors are those of the Standard Webhooks project's own tests: one for each scheme.
func TestTheOfficialVectorsOfBothSchemes(t *testing.T) {
	sub := &contract.Subscription{
		Signatures: []contract.Signature{contract.SignatureV1, contract.SignatureV1a},
		Confidential: contract.Confidential{
			Secrets:     []contract.Secret{{Value: secretOne}},
			SigningKeys: []contract.Secret{{Value: "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="}},
		},
	}
	require.Equal(t, map[string][]string{
		"v1":  {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		"v1a": {"v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="},
	}, signed(t, sub, time.Unix(1614265330, 0), `{"test": 2432232314}`))
}

func TestOnlyTheSchemesThatWereAskedForSign(t *testing.T) {
	sub := subscription(contract.FormatData)
	require.Equal(t, []string{"v1"}, keysOf(signed(t, sub, noon, "1")), "what was subscribed before there was a choice")
	sub.Signatures, sub.SigningKeys = []contract.Signature{contract.SignatureV1a}, []contract.Secret{{Value: contract.NewSigningKey()}}
	require.Equal(t, []string{"v1a"}, keysOf(signed(t, sub, noon, "1")))
}

func keysOf(by map[string][]string) (names []string) {
	for name := range by {
		names = append(names, name)
	}
	return names
}

func TestBothKeysSignDuringAnOverlapAndOnlyTheNewOneAfter(t *testing.T) {
	sub := subscription(contract.FormatData)
	sub.Signatures = []contract.Signature{contract.SignatureV1a}
	sub.SigningKeys = []contract.Secret{{Value: contract.NewSigningKey()}, {Value: contract.NewSigningKey(), Until: noon}}
	keys, err := sub.LiveKeys(noon.Add(-time.Second))
	require.NoError(t, err)
	both := signed(t, sub, noon.Add(-time.Second), "1")["v1a"]
	require.Len(t, both, 2)
	for i, signature := range both {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signature, "v1a,"))
		require.NoError(t, err)
		content := "msg_p5jXN8AQM9LWM0D4loKWxJek.1767355199.1"
		require.True(t, ed25519.Verify(keys[i].Public().(ed25519.PublicKey), []byte(content), raw), "number %d", i)
	}
	require.Len(t, signed(t, sub, noon, "1")["v1a"], 1)
}

func TestAKeyThatCanNotSignIsAnErrorWithoutTheKey(t *testing.T) {
	for name, keys := range map[string][]contract.Secret{
		"none": nil, "no base64": {{Value: "whsk_not!base64"}}, "too short": {{Value: "whsk_AAAA"}}, "of the other scheme": {{Value: secretOne}},
		"over": {{Value: contract.NewSigningKey(), Until: noon}},
	} {
		sub := subscription(contract.FormatData)
		sub.Signatures, sub.SigningKeys = []contract.Signature{contract.SignatureV1a}, keys
		sub.Prepare()
		_, _, err := build(command("", `1`), sub, noon)
		require.ErrorIs(t, err, errSecret, name)
		require.NotContains(t, err.Error(), "wh", name)
	}
}

func TestAPreparedKeySignsAsOneThatIsRead(t *testing.T) {
	sub := subscription(contract.FormatData)
	sub.Signatures, sub.SigningKeys = []contract.Signature{contract.SignatureV1a}, []contract.Secret{{Value: contract.NewSigningKey()}}
	before := signed(t, sub, noon, "1")
	sub.Prepare()
	require.Equal(t, before, signed(t, sub, noon, "1"))
	text, err := json.Marshal(sub)
	require.NoError(t, err)
	require.NotContains(t, string(text), `"key"`, "what is prepared is not kept")
}

func TestEveryCredentialArrivesInItsHeader(t *testing.T) {
	for name, c := range map[string]struct {
		auth  contract.Auth
		token string
		want  http.Header
	}{
		"bearer":  {contract.Auth{Type: contract.AuthBearer, Token: "t0ken"}, "", http.Header{"Authorization": {"Bearer t0ken"}}},
		"basic":   {contract.Auth{Type: contract.AuthBasic, Username: "me", Password: "pw"}, "", http.Header{"Authorization": {"Basic bWU6cHc="}}},
		"oauth2":  {contract.Auth{Type: contract.AuthOAuth2, OAuth2: &contract.OAuth2{}}, "got", http.Header{"Authorization": {"Bearer got"}}},
		"headers": {contract.Auth{Type: contract.AuthHeaders, Headers: map[string]string{"x-api-key": "k", "Authorization": "Custom c"}}, "", http.Header{"X-Api-Key": {"k"}, "Authorization": {"Custom c"}}},
		"mtls":    {contract.Auth{Type: contract.AuthMTLS, Certificate: &contract.ClientCertificate{}}, "", http.Header{}},
	} {
		sub := subscription(contract.FormatData)
		sub.Auth = &c.auth
		sub.Headers = map[string]string{"X-Api-Key": "the one of headers gives way"}
		header, _, err := Build(command("", `1`), sub, c.token, trace.SpanContext{}, transforms, noon)
		require.NoError(t, err, name)
		require.Equal(t, c.want["Authorization"], header["Authorization"], name)
		if want := c.want["X-Api-Key"]; want != nil {
			require.Equal(t, want, header["X-Api-Key"], name)
		}
	}
}

func BenchmarkSignV1a(b *testing.B) {
	sub := subscription(contract.FormatData)
	sub.Signatures, sub.SigningKeys = []contract.Signature{contract.SignatureV1a}, []contract.Secret{{Value: contract.NewSigningKey()}}
	sub.Prepare()
	body := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if err := sign(http.Header{}, "dlv_1", sub, noon, body); err != nil {
			b.Fatal(err)
		}
	}
}
