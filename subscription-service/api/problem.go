package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// writeProblem answers outside of an operation.
func writeProblem(w http.ResponseWriter, p contract.Problem) {
	w.Header().Set("Content-Type", contract.MediaProblem)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client hung up: nobody left to tell
}

// problem is the error of an operation with a problem of the kind.
func problem(kind contract.Kind, detail string, errs ...error) huma.StatusError {
	err := huma.NewError(kind.Status(), detail, errs...)
	if model, ok := err.(*huma.ErrorModel); ok {
		model.Type = kind.URL()
	}
	return err
}

// problemOf is the one place where errors become answers.
func problemOf(ctx context.Context, err error) error {
	var asIs huma.StatusError
	switch {
	case errors.As(err, &asIs):
		return err
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound(notFound(err))
	case errors.Is(err, store.ErrConflict):
		if errors.Is(err, store.ErrQuota) {
			recordOf(ctx).limited = limitSubscriptions
		}
		return problem(kindOfConflict(err), conflict(err))
	}
	rec := recordOf(ctx)
	rec.err = err
	switch {
	case errors.Is(err, store.ErrSealed):
		return problem(contract.KindKeyMissing, "a key is missing here: try again (request "+rec.id+")")
	case errors.Is(err, store.ErrDamaged):
		p := bare500(rec)
		return huma.NewError(p.Status, p.Detail)
	case isBroker(err):
		return problem(contract.KindBrokerUnavailable, "the broker can't be reached: try again (request "+rec.id+")")
	}
	return problem(contract.KindStoreUnavailable, storeAway(rec))
}

func storeAway(rec *record) string {
	return "the store can't be reached: try again (request " + rec.id + ")"
}

// errBroker marks what the publisher returned; everything else that is unknown comes from the store.
var errBroker = errors.New("publishing")

func isBroker(err error) bool {
	return errors.Is(err, errBroker) || errors.Is(err, rabbit.ErrUnavailable)
}

func bare500(rec *record) contract.Problem {
	return contract.NewProblem(http.StatusInternalServerError, "something went wrong here (request "+rec.id+")")
}

// notFound names what is not there, as the store does: "subscription: not found".
func notFound(err error) string {
	what, _, _ := strings.Cut(err.Error(), ":")
	return "there is no such " + what
}

func kindOfConflict(err error) contract.Kind {
	if errors.Is(err, store.ErrFull) {
		return contract.KindTooMany
	}
	return contract.KindConflict
}

func conflict(err error) string {
	text, _, _ := strings.Cut(err.Error(), ": "+store.ErrConflict.Error())
	return text
}

// fault is one field's error; it has no value, since a value may be a secret.
func fault(location, message string) error {
	return &huma.ErrorDetail{Location: location, Message: message}
}

func unprocessable(errs ...error) error {
	return huma.Error422UnprocessableEntity("validation failed", errs...)
}

// badCursor translates the store's word for an unreadable cursor.
func badCursor(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return huma.Error400BadRequest("the cursor is not one of ours", fault("query.cursor", "use next_cursor of the page before, as it came"))
	}
	return err
}

const missing = "expected required property "

// tidy works over every error answer: it takes out the values that huma echoes, for they may be secrets (a malformed body
// is echoed whole), gives a problem of no kind that of its status, and makes the location of a missing property the property itself.
func tidy(_ huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	model.Type = cmp.Or(model.Type, contract.KindOf(model.Status).URL())
	model.Detail = plainLimit(model.Detail)
	for _, detail := range model.Errors {
		detail.Value = nil
		if rest, found := strings.CutPrefix(detail.Message, missing); found {
			name, _, _ := strings.Cut(rest, " ")
			detail.Location, detail.Message = detail.Location+"."+name, "is required"
		}
	}
	return model, nil
}

// plainLimit says in words what huma says of a body over a limit, which was set one byte above the last that is taken.
func plainLimit(detail string) string {
	var limit int
	if _, err := fmt.Sscanf(detail, "request body is too large limit=%d bytes", &limit); err != nil {
		return detail
	}
	return fmt.Sprintf("the body may have %d bytes: send less", limit-1)
}
