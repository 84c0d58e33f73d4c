package world

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const secret = `s3cr3t/of "the" <tests>+ä=`

func finder(t testing.TB, secrets map[string]string) *Finder {
	t.Helper()
	f, err := NewFinder(secrets)
	require.NoError(t, err)
	return f
}

func TestASecretIsFoundInEveryFormAndPlace(t *testing.T) {
	f := finder(t, map[string]string{"it": secret})
	quoted, err := json.Marshal(map[string]string{"a": secret})
	require.NoError(t, err)
	forms := map[string]string{
		"plain": secret, "JSON": string(quoted), "a query": url.Values{"a": {secret}}.Encode(), "a path": url.PathEscape(secret),
		"hexadecimal": hex.EncodeToString([]byte(secret)), "HEXADECIMAL": strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for shift := range 4 {
		around := strings.Repeat("x", shift) + secret + strings.Repeat("y", 3-shift)
		forms[fmt.Sprint("base64 behind ", shift)] = base64.StdEncoding.EncodeToString([]byte(around))
		forms[fmt.Sprint("base64 for URLs behind ", shift)] = base64.RawURLEncoding.EncodeToString([]byte(around))
	}
	for name, text := range forms {
		require.NotEmpty(t, f.In([]byte(text)), name)
		require.NotEmpty(t, f.In([]byte("before "+text+" after")), name)
		require.Empty(t, f.In([]byte(strings.ReplaceAll(text, text[len(text)/2:len(text)/2+6], "------"))), name)
	}
	require.Empty(t, f.In(nil))
	require.Empty(t, f.In([]byte(secret[:len(secret)-3])))
}

func TestASigningSecretIsFoundByItsBytesToo(t *testing.T) {
	raw := []byte("0123456789abcdefghijklmnopqrstuv")
	f := finder(t, map[string]string{"it": "whsec_" + base64.StdEncoding.EncodeToString(raw)})
	require.Equal(t, []string{"it, decoded"}, f.In(raw))
	require.Equal(t, []string{"it, decoded in hexadecimal"}, f.In([]byte(hex.EncodeToString(raw))))
	require.Contains(t, f.In([]byte(base64.StdEncoding.EncodeToString(raw))), "it without its prefix")
}

func TestChanceIsNoFinding(t *testing.T) {
	secrets := map[string]string{}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		secrets[fmt.Sprint(i)] = fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64())
	}
	f, text := finder(t, secrets), make([]byte, 1<<20)
	for i := range text {
		text[i] = "0123456789abcdef"[random.IntN(16)]
	}
	require.Empty(t, f.In(text))
	copy(text[1<<19:], secrets["7"])
	require.Contains(t, f.In(text), "7")
}

func TestAShortSecretIsRefused(t *testing.T) {
	_, err := NewFinder(map[string]string{"it": "password"})
	require.ErrorContains(t, err, "it has 8 bytes")
}

func BenchmarkFinder(b *testing.B) {
	secrets := map[string]string{}
	for i := range 30 {
		secrets[fmt.Sprint(i)] = fmt.Sprintf("secret-%032d", i)
	}
	f, text := finder(b, secrets), bytes.Repeat([]byte("a log line of nothing much "), 1<<15)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		f.In(text)
	}
}
