package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/credential"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/egress"
)

// certificates reads client certificates where subscriptions are kept: a private key travels in no header.
type certificates struct {
	store interface {
		Subscription(ctx context.Context, id string) (contract.Subscription, error)
	}
	// opens says that the store has a key ring.
	opens bool
}

var errNoKeyring = errors.New("without WEBHOOK_KEYRING or WEBHOOK_KEYRING_FILE, callbacks with a client certificate wait")

// ClientCertificate makes certificates an egress.Certificates.
func (c certificates) ClientCertificate(ctx context.Context, subscription, id string) (*tls.Certificate, error) {
	if !c.opens {
		return nil, errNoKeyring
	}
	sub, err := c.store.Subscription(ctx, subscription)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrDamaged):
		return nil, egress.ErrNoCertificate
	case err != nil:
		return nil, fmt.Errorf("reading a client certificate: %w", err)
	case sub.Auth.CertificateID() != id:
		return nil, egress.ErrNoCertificate // replaced meanwhile: the next attempt names the new one
	}
	certificate, err := credential.Load(sub.Auth.Certificate)
	if err != nil {
		return nil, egress.ErrNoCertificate
	}
	return certificate, nil
}
