package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/credential"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/egress"
)

type shelf struct {
	sub contract.Subscription
	err error
}

func (s shelf) Subscription(context.Context, string) (contract.Subscription, error) {
	return s.sub, s.err
}

// That is no answer about the certificate: a callback must not use up an attempt for it.
func TestWithoutAKeyRingNothingIsSaidOfACertificate(t *testing.T) {
	_, err := certificates{shelf{}, false}.ClientCertificate(t.Context(), "sub_1", "id")
	if !errors.Is(err, errNoKeyring) || errors.Is(err, egress.ErrNoCertificate) {
		t.Errorf("got %v", err)
	}
}

func TestACertificateIsReadWhereItsSubscriptionIsKept(t *testing.T) {
	chain, key := testkit.NewAuthority(t).Issue("client", nil, nil)
	record, err := credential.Check(chain, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	damaged := &contract.ClientCertificate{ID: record.ID, Chain: record.Chain, Key: "s3cr3t"}
	of := func(c *contract.ClientCertificate) shelf {
		return shelf{sub: contract.Subscription{Confidential: contract.Confidential{Auth: &contract.Auth{Type: contract.AuthMTLS, Certificate: c}}}}
	}
	away := errors.New("redis is away")
	for name, c := range map[string]struct {
		kept shelf
		id   string
		want error
	}{
		"as named":             {of(record), record.ID, nil},
		"replaced meanwhile":   {of(record), "another", egress.ErrNoCertificate},
		"damaged":              {of(damaged), record.ID, egress.ErrNoCertificate},
		"no certificate":       {of(nil), record.ID, egress.ErrNoCertificate},
		"no credential":        {shelf{}, record.ID, egress.ErrNoCertificate},
		"unsubscribed":         {shelf{err: fmt.Errorf("subscription: %w", store.ErrNotFound)}, record.ID, egress.ErrNoCertificate},
		"a damaged record":     {shelf{err: fmt.Errorf("subscription: %w", store.ErrDamaged)}, record.ID, egress.ErrNoCertificate},
		"Redis can't be asked": {shelf{err: away}, record.ID, away},
		"a key is missing":     {shelf{err: fmt.Errorf("subscription: %w", store.ErrSealed)}, record.ID, store.ErrSealed},
	} {
		got, err := certificates{c.kept, true}.ClientCertificate(t.Context(), "sub_1", c.id)
		if !errors.Is(err, c.want) || (err == nil) != (got != nil) || c.want == nil && err != nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func TestASealedCertificateIsReadWithTheKeyRingAndNotWithout(t *testing.T) {
	chain, key := testkit.NewAuthority(t).Issue("client", nil, nil)
	record, err := credential.Check(chain, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	options := store.Options{URL: testkit.Redis(t), Namespace: testkit.Namespace(t), Keyring: keyring.Ephemeral()}
	open := func(o store.Options) *store.Store {
		s, err := store.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	kept := open(options)
	if _, err := kept.PutResource(t.Context(), contract.Resource{Name: "orders"}); err != nil {
		t.Fatal(err)
	}
	sub := contract.Subscription{ID: "sub_1", Consumer: "con_1", Resource: "orders", CallbackURL: "https://consumer.example/", Status: contract.StatusActive}
	sub.Auth = &contract.Auth{Type: contract.AuthMTLS, Certificate: record}
	if _, _, err := kept.CreateSubscription(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	if got, err := (certificates{kept, true}).ClientCertificate(t.Context(), "sub_1", record.ID); err != nil || got.Leaf.Subject.CommonName != "client" {
		t.Errorf("with the key ring: %v, %v", got, err)
	}
	for name, keys := range map[string]*keyring.Keyring{"none": nil, "another": keyring.Ephemeral()} {
		options.Keyring = keys
		if got, err := (certificates{open(options), keys != nil}).ClientCertificate(t.Context(), "sub_1", record.ID); err == nil || errors.Is(err, egress.ErrNoCertificate) {
			t.Errorf("with %s: %v, %v", name, got, err)
		}
	}
}
