package api

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
)

// lookupTimeout bounds how long a call waits for DNS.
const lookupTimeout = 2 * time.Second

// reach asks the guard where a callback would go now. It tells consumers early; the egress asks again at every connection.
type reach struct {
	policy   *guard.Policy
	resolver guard.Resolver
}

// check returns what the guard has against a URL. A host that does not resolve is taken: a consumer may subscribe before its
// DNS is up, and the egress refuses it until then. The refusal does not tell which addresses there are, or of what kind.
func (r reach) check(ctx context.Context, callbackURL string) error {
	u, err := r.policy.CheckURL(callbackURL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if _, err := r.policy.Resolve(ctx, r.resolver, u.Hostname()); errors.Is(err, guard.ErrRefused) {
		return err
	}
	return nil
}

// kept refuses to call where a subscription leads.
func (r reach) kept(ctx context.Context, sub contract.Subscription) error {
	var errs []error
	for _, u := range urlsOf(sub) {
		errs = append(errs, urlFaults(u.field, r.check(ctx, u.url))...)
	}
	if len(errs) > 0 {
		return problem(contract.KindCallbackRefused, "the subscription leads where nothing may be called: change it", errs...)
	}
	return nil
}

// urlFaults are what the guard has against a URL, each a fault of the field.
func urlFaults(field string, err error) []error {
	var errs []error
	for _, err := range split(err) {
		errs = append(errs, fault(field, strings.TrimPrefix(err.Error(), guard.ErrRefused.Error()+": ")))
	}
	return errs
}
