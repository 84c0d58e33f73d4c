package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"

	"go.uber.org/zap"
)

// Files name the PEM files of the side that connects.
type Files struct {
	// The authorities that the server's certificate may be of; the system's unless it is set.
	CA string `env:"CA"`
	// The certificate for a server that asks for one.
	Cert string `env:"CERT"`
	// The certificate's key.
	Key string `env:"KEY"`
}

// Where is a URL with the variable that it is from, and the prefix of the variables that name its files: WEBHOOK_REDIS_ for
// WEBHOOK_REDIS_CA.
type Where struct{ Variable, URL, Prefix string }

// Redis is where REDIS_URL is.
func Redis(url string) Where { return Where{"REDIS_URL", url, "WEBHOOK_REDIS_"} }

// AMQP is where AMQP_URL is.
func AMQP(url string) Where { return Where{"AMQP_URL", url, "WEBHOOK_AMQP_"} }

// Client makes the connections to one server. Its zero value believes the system's authorities and shows no certificate. It is
// safe for concurrent use.
type Client struct{ source *source }

// encrypted are the schemes that mean TLS.
var encrypted = map[string]bool{"rediss": true, "amqps": true, "https": true}

// ours are parameters by which the libraries would take TLS into their own hands.
var ours = []string{"cacertfile", "certfile", "keyfile", "server_name_indication", "verify", "skip_verify"}

// NewClient makes what connections to a URL need. Files for a URL without TLS are refused: who names them believes that the
// connection is encrypted. Its error names all faults at once, with neither the URL nor what is in a file.
func NewClient(w Where, f Files, log *zap.Logger) (*Client, error) {
	s, err := open(names{ca: file{w.Prefix + "CA", f.CA}, cert: file{w.Prefix + "CERT", f.Cert}, key: file{w.Prefix + "KEY", f.Key}}, log)
	if err := errors.Join(w.check(f), err); err != nil {
		return nil, err
	}
	return &Client{source: s}, nil
}

func (w Where) check(f Files) error {
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil //nolint:nilerr // whoever reads the URL says so, without quoting it
	}
	var errs []error
	if f != (Files{}) && !encrypted[u.Scheme] {
		errs = append(errs, fmt.Errorf("%s is a URL without TLS, but %sCA, _CERT or _KEY is set: begin it with rediss, amqps or https, or unset them",
			w.Variable, w.Prefix))
	}
	for _, name := range ours {
		if u.Query().Has(name) {
			errs = append(errs, fmt.Errorf("%s has the parameter %s: take it out, %sCA, _CERT and _KEY name the files, and servers are always verified",
				w.Variable, name, w.Prefix))
		}
	}
	return errors.Join(errs...)
}

// ShowsCertificate reports whether the server is shown a certificate.
func (c *Client) ShowsCertificate() bool { return c.source != nil && c.source.names.cert.path != "" }

// Dial connects and shakes hands, all within the dialer's timeout. The server must be who address says.
func (c *Client) Dial(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	raw, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // as without TLS
	}
	host, _, _ := net.SplitHostPort(address) // it was dialled
	conn := tls.Client(raw, c.config(host))
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake with %s: %w", address, errors.Join(err, raw.Close()))
	}
	return conn, nil
}

func (c *Client) config(server string) *tls.Config {
	var m material
	if c.source != nil {
		m = c.source.current()
	}
	config := &tls.Config{ServerName: server, RootCAs: m.roots, MinVersion: tls.VersionTLS12}
	// Always this certificate: the library would show none where the server's list of authorities lacks its issuer, and the server
	// would say that there is none.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if m.pair == nil {
			c.missed()
			return &tls.Certificate{}, nil
		}
		return m.pair, nil
	}
	return config
}

// missed says once that a server asked for a certificate. One that insists refuses only after the handshake, often with no more
// than a broken connection.
func (c *Client) missed() {
	if c.source == nil {
		return
	}
	c.source.asked.Do(func() {
		c.source.log.Warn("the server asks for a client certificate, and there is none: if it refuses the connection, set both variables",
			zap.String("certificate", c.source.names.cert.variable), zap.String("key", c.source.names.key.variable))
	})
}
