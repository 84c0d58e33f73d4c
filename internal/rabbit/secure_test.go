package rabbit

import (
	"context"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

// over opens a connection over TLS. It returns what was logged while it could not.
func over(t *testing.T, url string, f tlsconf.Files, patience time.Duration) (*Conn, *observer.ObservedLogs, error) {
	t.Helper()
	secure, err := tlsconf.NewClient(tlsconf.AMQP(url), f, zap.NewNop())
	require.NoError(t, err)
	core, logs := observer.New(zap.WarnLevel)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := Open(ctx, url, Options{Namespace: testkit.Namespace(t), Name: t.Name(), Log: zap.New(core), TLS: secure})
	return c, logs, err
}

// The subtests share a broker: it takes seconds to start.
func TestTheBrokerOverTLS(t *testing.T) {
	ours, theirs := testkit.NewAuthority(t), testkit.NewAuthority(t)
	b := testkit.StartSecureRabbit(t, ours)
	withUser := strings.Replace(b.SecureURL, "localhost", "guest:guest@localhost", 1)
	secret := strings.Replace(b.SecureURL, "localhost", "guest:hunter2@localhost", 1)
	good, foreign, misled := ours.Files(t, "anybody"), theirs.Files(t, "guest"), ours.Files(t, "guest")
	testkit.Put(t, foreign.CA, ours.PEM())
	testkit.Put(t, misled.CA, theirs.PEM())
	for name, test := range map[string]struct {
		url, fault string
		files      tlsconf.Files
	}{
		"no certificate":                           {secret, "connecting to the broker", tlsconf.Files{CA: good.CA}},
		"one of another authority":                 {secret, "unknown", foreign},
		"a server of an unknown one":               {secret, "unknown authority", misled},
		"another password":                         {secret, "username or password not allowed", good},
		"no user, and a certificate of nobody":     {b.SecureURL, "username or password not allowed", good},
		"without TLS, where the broker expects it": {strings.Replace(secret, "amqps", "amqp", 1), "connecting to the broker", tlsconf.Files{}},
	} {
		t.Run(name, func(t *testing.T) {
			_, logs, err := over(t, test.url, test.files, 500*time.Millisecond)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "hunter2")
			said := ""
			for _, e := range logs.All() {
				said += e.ContextMap()["error"].(string) + "\n"
			}
			require.Contains(t, said+err.Error(), test.fault)
			require.NotContains(t, said, "hunter2")
		})
	}
	for name, url := range map[string]string{"a user and a password": withUser, "the certificate's name": b.SecureURL} {
		t.Run("in with "+name, func(t *testing.T) {
			files := ours.Files(t, "guest")
			c, _, err := over(t, url, files, patience)
			require.NoError(t, err)
			defer c.Close()
			carries(t, c)
			sent, received := c.Frames()
			require.Positive(t, sent)
			require.Positive(t, received)
		})
	}
	t.Run("certificates are replaced under a running process", func(t *testing.T) {
		files := ours.Files(t, "guest")
		c, _, err := over(t, b.SecureURL, files, patience)
		require.NoError(t, err)
		defer c.Close()
		ours.Renew(t, files, "nobody", nil) // whom the broker does not know
		c.link.dropSocket()
		eventually(t, "the connection is lost", func() bool { return c.Ready(t.Context()) != nil })
		ours.Renew(t, files, "guest", nil)
		eventually(t, "it is back with the new certificate", func() bool { return c.Ready(t.Context()) == nil })
		carries(t, c)
	})
}

// carries sends a message there and back.
func carries(t *testing.T, c *Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	names := c.Names()
	require.NoError(t, c.Publisher().Publish(ctx, names.ToCommands(Message{Body: []byte("body")})))
	var got string
	require.NoError(t, c.Consume(ctx, names.Commands, ConsumeOptions{}, func(_ context.Context, batch []*Delivery) {
		got = string(batch[0].Body)
		AckAll(batch)
		cancel()
	}))
	require.Equal(t, "body", got)
}

func TestAnEndpointIsWhereTheURLSays(t *testing.T) {
	for url, want := range map[string]string{
		"amqp://u:p@h/v": "amqp://u:p@h/v", "amqps://u:p%2F@h/v?heartbeat=5": "amqp://u:p%2F@h:5671/v?heartbeat=5", "amqps://h:1/": "amqp://h:1/",
		"amqps://[::1]/": "amqp://[::1]:5671/", "amqps:///v": "amqp://:5671/v",
	} {
		e, err := endpointOf(url, nil)
		require.NoError(t, err)
		require.Equal(t, want, e.url)
		require.Equal(t, strings.HasPrefix(url, "amqps"), e.secure != nil)
		uri, err := amqp.ParseURI(e.url)
		require.NoError(t, err)
		require.NotEmpty(t, uri.Host)
	}
	_, err := endpointOf("amqps://u:hunter2@h h", nil)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}
