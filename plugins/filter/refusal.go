package filter

import (
	"encoding/json"
	"net/http"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Refusal is a plugin's own answer in place of the upstream's.
type Refusal struct {
	problem contract.Problem
	header  map[string]string
}

// Refuse answers a status from 400 up with a problem. detail is read by the caller: it names the fix and no secret.
func Refuse(status int, detail string) *Refusal {
	return &Refusal{problem: contract.NewProblem(status, detail)}
}

// RefuseAs answers with a problem of the kind, which also has the status.
func RefuseAs(kind contract.Kind, detail string) *Refusal {
	return &Refusal{problem: kind.Problem(detail)}
}

// With adds a header. A second value for the same name would be lost on the way, so it replaces the first.
func (r *Refusal) With(name, value string) *Refusal {
	if r.header == nil {
		r.header = map[string]string{}
	}
	r.header[name] = value
	return r
}

// Problem is what the caller will read.
func (r *Refusal) Problem() contract.Problem { return r.problem }

// write sets no Content-Length, since APISIX would cut the body by it, and always a body, since APISIX would put an HTML
// page in the place of an empty one.
func (r *Refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", contract.MediaProblem)
	for name, value := range r.header {
		h.Set(name, value)
	}
	w.WriteHeader(r.problem.Status)
	body, _ := json.Marshal(r.problem) // strings and a number: never fails
	_, _ = w.Write(body)               // into the library's buffer: never fails
}
