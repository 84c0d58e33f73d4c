package api

import (
	"context"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// unaudited are the operations with a changing method that change neither a subscription nor what admins keep. All others are
// audited, also those that are not written yet.
var unaudited = map[string]bool{"publish-event": true, "preview": true, "acknowledge": true}

// Calls of strangers, who are let in nowhere, can be as many as they like: so many a second are written, the rest is counted.
const unknownPerSecond, unknownAtOnce = 10, 100

// trail writes the audit log: an entry before a change is made, without which it is not, and the entry with its end in the place
// of that before the answer is sent.
type trail struct {
	store   *store.Store
	log     *zap.Logger
	actions map[string]string // operation by route
	unknown *rate.Limiter
	now     func() time.Time
	left    *prometheus.CounterVec
}

func newTrail(o Options) *trail {
	t := &trail{store: o.Store, log: o.Log, actions: map[string]string{}, unknown: rate.NewLimiter(unknownPerSecond, unknownAtOnce), now: o.Now,
		left: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "webhook_audit_skipped_total", Help: "Audit entries that were not written: of too many unknown callers, or since Redis failed after the change.",
		}, []string{"reason"})}
	o.Metrics.MustRegister(t.left)
	return t
}

// learn takes the operations in that change something.
func (t *trail) learn(document *huma.OpenAPI) {
	for path, item := range document.Paths {
		for _, op := range []*huma.Operation{item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil && !unaudited[op.OperationID] {
				t.actions[op.Method+" "+path] = op.OperationID
			}
		}
	}
}

// entry is one call's audit entry on its way.
type entry struct {
	contract.AuditEntry

	begun store.BegunAudit
	once  sync.Once
	skip  bool // it is refused for being one of too many
}

type entryKey struct{}

// entryOf returns the call's entry; one that nobody writes where there is none.
func entryOf(ctx context.Context) *entry {
	if e, ok := ctx.Value(entryKey{}).(*entry); ok {
		return e
	}
	return &entry{}
}

func actorIs(ctx context.Context, kind contract.ActorKind, id string) {
	entryOf(ctx).Actor = contract.Actor{Kind: kind, ID: id}
}

// watch writes an entry for each call of the mux that changes something, whoever refuses it.
func (t *trail) watch(mux *http.ServeMux, prefix string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		action, object := t.about(mux, prefix, r)
		if action == "" {
			next.ServeHTTP(w, r)
			return
		}
		e := &entry{AuditEntry: contract.AuditEntry{
			Actor: contract.Actor{Kind: contract.ActorUnknown}, Action: action, Object: object, From: peer(r), Request: recordOf(r.Context()).id,
		}}
		ctx := context.WithValue(store.Called(r.Context()), entryKey{}, e)
		answer := &auditedWriter{ResponseWriter: w, end: func(status int) { t.end(ctx, e, status, w.Header().Get("Location")) }}
		defer answer.end(http.StatusInternalServerError) // a panic: every other end was written by now
		next.ServeHTTP(answer, r.WithContext(ctx))
		answer.end(http.StatusOK)
	})
}

// peer is the address at the other end of a call's connection.
func peer(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// about returns the operation of a call and the path of its object.
func (t *trail) about(mux *http.ServeMux, prefix string, r *http.Request) (action, object string) {
	if r.Method == http.MethodGet {
		return "", ""
	}
	below := r
	if prefix != "" {
		http.StripPrefix(prefix, http.HandlerFunc(func(_ http.ResponseWriter, stripped *http.Request) { below = stripped })).ServeHTTP(nowhere{}, r)
	}
	_, pattern := mux.Handler(below)
	return t.actions[pattern], auditObject(pattern, below.URL.EscapedPath())
}

// nowhere is the answer of what only looks at a request.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}

var ourID = regexp.MustCompile(`^[a-z]{2,4}_[a-z2-7]{26}$`)

// auditObject keeps of a path what the route says and what is a name or an id of ours: anything else may be a key that was sent in
// the wrong place.
func auditObject(pattern, path string) string {
	_, route, _ := strings.Cut(pattern, " ")
	segments := strings.Split(route, "/")
	sent := strings.Split(path, "/")
	for i, segment := range segments {
		if !strings.HasPrefix(segment, "{") {
			continue
		}
		segments[i] = "?"
		if i < len(sent) && (ourID.MatchString(sent[i]) || contract.ValidateResource(sent[i]) == nil) {
			segments[i] = sent[i]
		}
	}
	return strings.Join(segments, "/")
}

// begin lets an operation start once its entry is written.
func (t *trail) begin(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		e := entryOf(ctx.Context())
		if e.Action == "" {
			next(ctx)
			return
		}
		var err error
		if e.begun, err = t.store.BeginAudit(ctx.Context(), e.AuditEntry); err != nil {
			rec := recordOf(ctx.Context())
			rec.err = err
			_ = huma.WriteErr(api, ctx, http.StatusServiceUnavailable, "the audit log can't be written, so nothing was changed: try again (request "+rec.id+")")
			return
		}
		next(ctx)
	}
}

// end writes the entry, once. Where that fails the one that was begun stays, which lacks the end alone.
func (t *trail) end(ctx context.Context, e *entry, status int, location string) {
	e.once.Do(func() {
		if e.Status = status; location != "" {
			e.Object = location
		}
		stranger := e.Actor.Kind == contract.ActorUnknown && e.begun == (store.BegunAudit{})
		if e.skip || stranger && !t.unknown.AllowN(t.now(), 1) {
			t.left.WithLabelValues("too many").Inc()
			return
		}
		if err := t.store.EndAudit(context.WithoutCancel(ctx), e.begun, e.AuditEntry); err != nil {
			t.left.WithLabelValues("store").Inc()
			t.log.Error("the end of an audit entry was not written", zap.String("request", e.Request), zap.Int("status", status), zap.Error(err))
		}
	})
}

// auditedWriter ends an entry before the answer begins.
type auditedWriter struct {
	http.ResponseWriter
	end func(status int)
}

func (w *auditedWriter) WriteHeader(status int) {
	w.end(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *auditedWriter) Write(b []byte) (int, error) {
	w.end(http.StatusOK)
	return w.ResponseWriter.Write(b) //nolint:wrapcheck // a writer between two
}

// Unwrap lets http.ResponseController reach the connection.
func (w *auditedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// note keeps the names of the fields that a request's body sets.
func (e *entry) note(in any) {
	if e.Action == "" {
		return
	}
	body := reflect.Indirect(reflect.ValueOf(in)).FieldByName("Body")
	if body.IsValid() && body.Kind() == reflect.Struct {
		e.Fields = setFields(nil, body)
	}
}

func setFields(names []string, body reflect.Value) []string {
	for i := range body.NumField() {
		field := body.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "" && field.Type.Kind() == reflect.Struct:
			names = setFields(names, body.Field(i))
		case name != "" && name != "-" && !body.Field(i).IsZero():
			names = append(names, name)
		}
	}
	return names
}

// audits is the admins' way to read the audit log.
type audits struct{ store *store.Store }

func (a audits) register(api huma.API) {
	op := operation("list-audit", http.MethodGet, "/admin/v1/audit", "Who changed what, when and from where, newest first", http.StatusBadRequest)
	op.Description = "Changes and refused changes of resources, consumers, grants, keys and subscriptions. A page looks at 5,000 entries at most: " +
		"it may have fewer items than asked for, and still a next_cursor."
	register(api, op, a.list)
}

type auditRequest struct {
	Page
	Actor  string    `query:"actor" maxLength:"100" doc:"admin, consumer, service or unknown; or the actor's id"`
	Action string    `query:"action" maxLength:"100" doc:"an operation's id, as in this document"`
	Object string    `query:"object" maxLength:"300" doc:"a path, or a segment of one, such as a resource's name or a subscription's id"`
	Since  time.Time `query:"since"`
	Until  time.Time `query:"until"`
}

func (a audits) list(ctx context.Context, in *auditRequest) (*listAnswer[contract.AuditEntry], error) {
	found, next, err := a.store.Audit(ctx, store.AuditQuery{
		Actor: in.Actor, Action: in.Action, Object: in.Object, Since: in.Since, Until: in.Until, Cursor: in.Cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, badCursor(err)
	}
	return &listAnswer[contract.AuditEntry]{listBody[contract.AuditEntry]{found, next}}, nil
}
