package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Certificates has the client certificates that callbacks show.
type Certificates interface {
	// ClientCertificate returns the certificate of a subscription if it has the ID. ErrNoCertificate: there is none of that ID
	// that can be used. Any other error: it is not known now.
	ClientCertificate(ctx context.Context, subscription, id string) (*tls.Certificate, error)
}

// ErrNoCertificate means that a subscription has no client certificate of the ID that was asked for, or none that can be read.
var ErrNoCertificate = errors.New("no such client certificate")

var (
	errCertificate        = errors.New("the call's client certificate cannot be used")
	errCertificateUnknown = errors.New("client certificates cannot be read now")
)

// maxClients bounds the certificates that are ready for use; each has connections of its own.
const maxClients = 1024

// clients keeps connections apart by the client certificate that they were made with: a kept connection, HTTP/2 or a resumed TLS
// session would otherwise let one subscription's call speak with another's identity.
type clients struct {
	source Certificates
	dialer *dialer
	kept   *lru.Cache[string, *http.Transport]
	flight singleflight.Group
}

func newClients(source Certificates, d *dialer) *clients {
	kept, err := lru.NewWithEvict(maxClients, func(_ string, t *http.Transport) { t.CloseIdleConnections() })
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &clients{source: source, dialer: d, kept: kept}
}

// transport returns the connections of a certificate. The ID names what is in it, so one that is kept is never out of date.
func (c *clients) transport(ctx context.Context, subscription, id string) (*http.Transport, error) {
	if t, ok := c.kept.Get(id); ok {
		return t, nil
	}
	if c.source == nil {
		return nil, errCertificate
	}
	made, err, _ := c.flight.Do(subscription+" "+id, func() (any, error) { return c.make(context.WithoutCancel(ctx), subscription, id) })
	if err != nil {
		return nil, err
	}
	return made.(*http.Transport), nil
}

func (c *clients) make(ctx context.Context, subscription, id string) (*http.Transport, error) {
	certificate, err := c.source.ClientCertificate(ctx, subscription, id)
	switch {
	case errors.Is(err, ErrNoCertificate):
		return nil, errCertificate
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errCertificateUnknown, err)
	}
	if t, ok := c.kept.Get(id); ok { // another subscription with the same certificate was faster
		return t, nil
	}
	t := newTransport(c.dialer.showing(certificate))
	t.MaxIdleConnsPerHost = maxIdlePerClient
	c.kept.Add(id, t)
	return t, nil
}

// maxIdlePerClient bounds the connections kept to one host with one certificate.
const maxIdlePerClient = 32

func (c *clients) close() { c.kept.Purge() }
