package world

import (
	"fmt"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// known refuses a problem whose type is not in the catalogue of errors, or has another status there: over all calls of all tests.
func (a Answer) known() error {
	if a.Header.Get("Content-Type") != contract.MediaProblem {
		return nil
	}
	var p contract.Problem
	if err := a.Decode(&p); err != nil {
		return err
	}
	if kind, known := p.Kind(); !known || kind.Status() != a.Status {
		return fmt.Errorf("a problem of status %d has the type %q, which docs/errors.md does not know for it", a.Status, p.Type)
	}
	return nil
}
