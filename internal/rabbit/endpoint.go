package rabbit

import (
	"context"
	"errors"
	"net"
	"net/url"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

// securePort is where brokers take amqps.
const securePort = "5671"

// endpoint is where a broker is and how to get there. TLS is between our socket and the network, not the library's between the
// library and our socket: so each connection begins with the files as they are then, the handshake can be interrupted, and a
// batch that is held back becomes few records.
type endpoint struct {
	url      string // without TLS
	secure   *tlsconf.Client
	external bool
}

// endpointOf takes a URL apart. Its error does not quote the URL, as the library's would, and with it the password.
func endpointOf(broker string, secure *tlsconf.Client) (endpoint, error) {
	uri, err := amqp.ParseURI(broker)
	if err != nil {
		return endpoint{}, errors.New("the broker's URL is malformed: want amqp://user:password@host:port/vhost, reserved characters percent-encoded")
	}
	if uri.Scheme != "amqps" {
		return endpoint{url: broker}, nil
	}
	u, err := url.Parse(broker)
	if err != nil {
		return endpoint{}, errors.New("the broker's URL is malformed: want amqps://user:password@host:port/vhost, reserved characters percent-encoded")
	}
	if u.Scheme = "amqp"; u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), securePort)
	}
	if secure == nil {
		secure = &tlsconf.Client{}
	}
	return endpoint{url: u.String(), secure: secure, external: u.User == nil && secure.ShowsCertificate()}, nil
}

func (e endpoint) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: dialTimeout}
	if e.secure == nil {
		return dialer.DialContext(ctx, network, address)
	}
	return e.secure.Dial(ctx, dialer, network, address)
}

// sasl is how to sign in; nil: as the URL says.
func (e endpoint) sasl() []amqp.Authentication {
	if e.external {
		return []amqp.Authentication{&amqp.ExternalAuth{}}
	}
	return nil
}
