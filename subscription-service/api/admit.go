package api

import (
	"errors"
	"fmt"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// mostRefused bounds the faults that one answer names.
const mostRefused = 100

// admit refuses a request of whose events the catalogue refuses one, field by field. What it only warns of the event listener
// counts, to which every event comes.
func (e events) admit(resource string, got received) error {
	var errs []error
	for i, ev := range got.events {
		_, refuse := e.catalogue.Check(resource, ev)
		e.violations.Count(resource, contract.SchemaReject, refuse)
		var faults *catalogue.Faults
		switch {
		case errors.Is(refuse, catalogue.ErrNotLoaded):
			return refuse
		case refuse != nil && !errors.As(refuse, &faults):
			return fmt.Errorf("%w: %w", store.ErrDamaged, refuse)
		case refuse != nil && len(errs) < mostRefused:
			errs = append(errs, refusedAt(got, i, faults)...)
		}
	}
	if errs != nil {
		return unprocessable(errs...)
	}
	return nil
}

func refusedAt(got received, i int, faults *catalogue.Faults) []error {
	errs := make([]error, len(faults.Places))
	for n, f := range faults.Places {
		errs[n] = fault(got.place(i, f.At), f.Message)
	}
	return errs
}
