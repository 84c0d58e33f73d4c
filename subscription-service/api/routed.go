package api

import (
	"mime"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// routed serves a mux, names the route in the request's record, and answers what the mux has no handler for as a problem.
func routed(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern == "" {
			unrouted(w, r, handler)
			return
		}
		if pattern != "/" {
			recordOf(r.Context()).route = pattern
		}
		mux.ServeHTTP(w, r)
	})
}

// unrouted asks the mux's own error handler for its status and Allow header, and leaves its text out.
func unrouted(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	answer := &silent{ResponseWriter: w}
	handler.ServeHTTP(answer, r)
	if answer.status == http.StatusMethodNotAllowed {
		writeProblem(w, contract.NewProblem(answer.status, "use one of the methods that the Allow header lists"))
		return
	}
	writeProblem(w, contract.NewProblem(http.StatusNotFound, "there is nothing at this path"))
}

// silent lets headers through, and nothing else.
type silent struct {
	http.ResponseWriter
	status int
}

func (s *silent) WriteHeader(status int)         { s.status = status }
func (s *silent) Write(body []byte) (int, error) { return len(body), nil }

// mediaTypes refuses a body that is not JSON before it is read.
func mediaTypes(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		body := ctx.Operation().RequestBody
		if body != nil && body.Content[mediaJSON] != nil && !takesJSON(ctx) {
			_ = huma.WriteErr(api, ctx, http.StatusUnsupportedMediaType, "send the body as content-type "+mediaJSON)
			return
		}
		if body != nil && body.Content[mediaJSON] != nil {
			r, _ := humago.Unwrap(ctx)
			r.Header.Set("Content-Type", mediaJSON) // huma knows it in this one spelling
		}
		next(ctx)
	}
}

const (
	mediaJSON  = "application/json"
	mediaPatch = "application/merge-patch+json" // RFC 7396
)

func takesJSON(ctx huma.Context) bool {
	sent := ctx.Header("Content-Type")
	if sent == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(sent)
	return err == nil && (media == mediaJSON || media == mediaPatch && ctx.Method() == http.MethodPatch)
}

func isAdmin(pattern string) bool {
	_, path, _ := strings.Cut(pattern, " ")
	return strings.HasPrefix(path, "/admin/")
}
