package settings

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func layer(from string, pairs ...string) Layer {
	l := Layer{From: from, Values: map[Name]string{}}
	for i := 0; i < len(pairs); i += 2 {
		l.Values[Name(pairs[i])] = pairs[i+1]
	}
	return l
}

func TestTheNearerLayerCounts(t *testing.T) {
	s := Merge(layer("the context a", "GATEWAY_URL", "http://c", "ADMIN_URL", "http://ca", "AMQP_URL", "amqp://c"),
		layer(FromFlag, "GATEWAY_URL", "http://f"), layer(FromEnvironment, "GATEWAY_URL", "http://e", "ADMIN_URL", "http://ea"))
	require.Equal(t, "http://f", s.Get(GatewayURL))
	require.Equal(t, "http://ea", s.Get(AdminURL))
	require.Equal(t, FromEnvironment, s.From(AdminURL))
	require.Equal(t, "amqp://c", s.Get(AMQPURL))
	require.Equal(t, "the context a", s.From(AMQPURL))
}

func TestAContextsCredentialGoesToItsOwnAddressAlone(t *testing.T) {
	context := layer("the context a", "GATEWAY_URL", "http://c", "WEBHOOK_API_KEY", "secret-key", "ADMIN_URL", "http://ca", "ADMIN_TOKEN", "secret-token")
	s := Merge(context, layer(FromFlag, "GATEWAY_URL", "http://elsewhere"))
	require.False(t, s.Has(APIKey))
	require.Equal(t, "secret-token", s.Get(AdminToken))
	require.Len(t, s.Notes, 1)
	require.NotContains(t, s.Notes[0], "secret")
	require.Equal(t, "secret-key", Merge(context, layer(FromEnvironment, "GATEWAY_URL", "http://c")).Get(APIKey), "the same address")
	require.Equal(t, "own", Merge(context, layer(FromFlag, "GATEWAY_URL", "http://elsewhere", "WEBHOOK_API_KEY", "own")).Get(APIKey))
}

func TestOfKeyAndTokenTheNearerOneCounts(t *testing.T) {
	for name, c := range map[string]struct {
		flag, env   []string
		key, bearer bool
	}{
		"token in a flag": {[]string{"WEBHOOK_TOKEN", "t"}, []string{"WEBHOOK_API_KEY", "k"}, false, true},
		"key in a flag":   {[]string{"WEBHOOK_API_KEY", "k"}, []string{"WEBHOOK_TOKEN", "t"}, true, false},
		"both equal":      {nil, []string{"WEBHOOK_TOKEN", "t", "WEBHOOK_API_KEY", "k"}, true, false},
	} {
		s := Merge(layer("none"), layer(FromFlag, c.flag...), layer(FromEnvironment, c.env...))
		require.Equal(t, c.key, s.Has(APIKey), name)
		require.Equal(t, c.bearer, s.Has(Token), name)
	}
}

func TestAMissingSettingSaysHowToGiveIt(t *testing.T) {
	for _, name := range []Name{GatewayURL, AdminURL, AMQPURL, AdminToken, RedisURL, APIKey} {
		_, err := Settings{}.Need(name)
		require.ErrorIs(t, err, ErrMissing)
		require.ErrorContains(t, err, "give ")
	}
}

func TestAnAddressIsChecked(t *testing.T) {
	for text, ok := range map[string]bool{
		"http://127.0.0.1:9080": true, "https://hooks.example.com/": true, "hooks.example.com": false, "ftp://a": false, "http://user:secret@a": false, "http://": false,
	} {
		_, err := Merge(layer("x", "GATEWAY_URL", text)).URL(GatewayURL)
		require.Equal(t, ok, err == nil, text)
		if err != nil {
			require.NotContains(t, err.Error(), "secret")
		}
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	return path
}

func TestAStacksFileIsRead(t *testing.T) {
	dir := t.TempDir()
	_, ok, err := ReadStack(dir)
	require.NoError(t, err)
	require.False(t, ok)
	write(t, filepath.Join(dir, StackFile), "# a stack\nGATEWAY_URL='http://127.0.0.1:1'\nexport ADMIN_URL=http://[::1]:2\nADMIN_TOKEN=\"x y\"\nAMQP_URL=amqp://u:p@localhost:1/a=b\n", 0o600)
	found, ok, err := ReadStack(dir)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "http://127.0.0.1:1", found.Values[GatewayURL])
	require.Equal(t, "http://[::1]:2", found.Values[AdminURL])
	require.Equal(t, "x y", found.Values[AdminToken])
	require.Equal(t, "amqp://u:p@localhost:1/a=b", found.Values[AMQPURL])
}

func TestAForeignDirectoryGetsNoCredential(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, StackFile), "GATEWAY_URL=https://thief.example\nADMIN_URL=http://thief.example\nAMQP_URL=amqp://thief.example/\n", 0o600)
	found, _, err := ReadStack(dir)
	require.NoError(t, err)
	s := Merge(found, layer(FromEnvironment, "WEBHOOK_API_KEY", "k", "ADMIN_TOKEN", "t"))
	require.False(t, s.Has(GatewayURL))
	require.False(t, s.Has(AdminURL))
	require.False(t, s.Has(AMQPURL), "events would go there")
}

func TestContextsAreKeptForTheirOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "below", "contexts.yaml")
	c, err := ReadContexts(path)
	require.NoError(t, err)
	c.Set("a", Context{GatewayURL: "http://a", APIKey: "k"})
	c.Set("a", Context{AdminURL: "http://b", APIKey: ""})
	c.Current = "a"
	require.NoError(t, c.Save())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	again, err := ReadContexts(path)
	require.NoError(t, err)
	found, err := again.Layer("")
	require.NoError(t, err)
	require.Equal(t, map[Name]string{GatewayURL: "http://a", AdminURL: "http://b"}, found.Values)
	_, err = again.Layer("b")
	require.ErrorIs(t, err, ErrNoContext)

	require.NoError(t, os.Chmod(path, 0o644))
	_, err = ReadContexts(path)
	require.ErrorContains(t, err, "chmod 600")
	write(t, path, "contexts: [1", 0o600)
	require.NoError(t, os.Chmod(path, 0o600))
	_, err = ReadContexts(path)
	require.ErrorContains(t, err, "mend or remove it")
}

func TestASecretIsReadFromWhatIsTheOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	secret, err := ReadSecret(write(t, filepath.Join(dir, "key"), " the-key\n", 0o600), nil)
	require.NoError(t, err)
	require.Equal(t, "the-key", secret)
	_, err = ReadSecret(write(t, filepath.Join(dir, "open"), "the-key\n", 0o644), nil)
	require.ErrorContains(t, err, "chmod 600")
	require.NotContains(t, err.Error(), "the-key")
	_, err = ReadSecret(write(t, filepath.Join(dir, "empty"), "\n", 0o600), nil)
	require.ErrorContains(t, err, "is empty")
	read, wrote, err := os.Pipe()
	require.NoError(t, err)
	_, _ = wrote.WriteString("piped\n")
	require.NoError(t, wrote.Close())
	secret, err = ReadSecret("-", read)
	require.NoError(t, err)
	require.Equal(t, "piped", secret)
}
