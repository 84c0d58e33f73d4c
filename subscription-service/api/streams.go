package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// StreamBounds are those of answers that stay open, in one process. A zero field is DefaultStreams'.
type StreamBounds struct {
	// Consumer and All are how many may be open, of one consumer and in all.
	Consumer, All int
	// Beat is the longest silence, Write the longest wait for a client that does not read.
	Beat, Write time.Duration
	// Recheck is how often it is asked whether callers may still do what they do. A stream ends of which that is not known for
	// Unsure.
	Recheck, Unsure time.Duration
}

// DefaultStreams hold where nothing else is said.
var DefaultStreams = StreamBounds{
	Consumer: 100, All: 2000, Beat: 5 * time.Second, Write: 10 * time.Second, Recheck: 2 * time.Second, Unsure: 5 * time.Second,
}

func (b StreamBounds) orDefault() StreamBounds {
	d := DefaultStreams
	return StreamBounds{
		Consumer: cmp.Or(b.Consumer, d.Consumer), All: cmp.Or(b.All, d.All), Beat: cmp.Or(b.Beat, d.Beat), Write: cmp.Or(b.Write, d.Write),
		Recheck: cmp.Or(b.Recheck, d.Recheck), Unsure: cmp.Or(b.Unsure, d.Unsure),
	}
}

const limitStreams = "streams"

// Why a stream ends that could have gone on.
var (
	errStopping = errors.New("the service stops: come back")
	errRevoked  = errors.New("the credential or its grant was revoked")
	errExpired  = errors.New("the credential has expired")
	errUnsure   = errors.New("it is not known whether the credential still holds: come back")
)

// streams are the answers of this process that stay open. Each ends by itself when its caller may not go on, or the service stops.
type streams struct {
	store  *store.Store
	now    func() time.Time
	bounds StreamBounds
	opened prometheus.Gauge
	ended  *prometheus.CounterVec

	mu   sync.Mutex
	open map[*stream]struct{}
	of   map[string]int
}

// stream is one of them.
type stream struct {
	holder string
	right  store.Right  // zero: an admin's
	until  time.Time    // of the credential; zero: no end
	known  atomic.Int64 // when it was last known to hold
	over   chan error
}

// end ends a stream, the first time.
func (st *stream) end(why error) {
	select {
	case st.over <- why:
	default:
	}
}

func newStreams(o Options) *streams {
	s := &streams{
		store: o.Store, now: o.Now, bounds: o.Streams.orDefault(), open: map[*stream]struct{}{}, of: map[string]int{},
		opened: prometheus.NewGauge(prometheus.GaugeOpts{Name: "webhook_streams_open", Help: "Answers that stay open: event streams and long polls."}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "webhook_streams_ended_total", Help: "Streams that ended: by their client (or one that does not read), done, revoked, expired, unsure, or stopping.",
		}, []string{"reason"}),
	}
	o.Metrics.MustRegister(s.opened, s.ended)
	return s
}

// enter gives a call a place among the streams, if its caller may have one. leave gives it back.
func (s *streams) enter(ctx context.Context) (*stream, error) {
	caller := callerOf(ctx)
	st := &stream{holder: cmp.Or(caller.Consumer, "admin "+recordOf(ctx).admin), until: caller.Until, over: make(chan error, 1)}
	if caller.Consumer != "" {
		st.right = store.Right{Consumer: caller.Consumer, Resource: caller.Resource, Action: caller.Action, Key: caller.Key}
		if err := s.confirm(ctx, st); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.of[st.holder] >= s.bounds.Consumer:
		return nil, tooMany(ctx, http.StatusTooManyRequests, fmt.Sprintf("you have %d streams open here, which is the most: close one", s.bounds.Consumer))
	case len(s.open) >= s.bounds.All:
		return nil, tooMany(ctx, http.StatusServiceUnavailable, "too many streams are open here: try again")
	}
	s.open[st] = struct{}{}
	s.of[st.holder]++
	s.opened.Inc()
	return st, nil
}

func tooMany(ctx context.Context, status int, detail string) error {
	recordOf(ctx).limited = limitStreams
	return huma.ErrorWithHeaders(huma.NewError(status, detail), http.Header{"Retry-After": {"5"}})
}

// confirm asks at the beginning: what the gateway knows of a caller may be as old as its cache.
func (s *streams) confirm(ctx context.Context, st *stream) error {
	asked := time.Now()
	held, err := s.store.Hold(ctx, []store.Right{st.right})
	if err != nil {
		return err
	}
	if !held[0] {
		return huma.Error403Forbidden(errRevoked.Error())
	}
	st.known.Store(asked.UnixNano())
	return nil
}

func (s *streams) leave(st *stream, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, st)
	if s.of[st.holder]--; s.of[st.holder] == 0 {
		delete(s.of, st.holder)
	}
	s.opened.Dec()
	s.ended.WithLabelValues(reasonOf(why)).Inc()
}

func reasonOf(why error) string {
	switch {
	case errors.Is(why, errStopping):
		return "stopping"
	case errors.Is(why, errRevoked):
		return "revoked"
	case errors.Is(why, errExpired):
		return "expired"
	case errors.Is(why, errUnsure):
		return "unsure"
	case why == nil:
		return "done"
	}
	return "client"
}

// hold runs a task within a stream's place: its context ends once the caller may not go on, has gone, or the service stops. The
// error is the task's, or why its context ended.
func (s *streams) hold(ctx context.Context, st *stream, also func(), task func(context.Context) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var tending sync.WaitGroup
	defer func() { cancel(nil); tending.Wait(); s.leave(st, err) }()
	tending.Go(func() { cancel(s.tend(ctx, st, also)) })
	err = task(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// tend returns why a stream is to end once it is, and does what else is to be done from time to time.
func (s *streams) tend(ctx context.Context, st *stream, also func()) error {
	ticker := time.NewTicker(min(s.bounds.Beat, s.bounds.Unsure) / 5)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-service.Stopping(ctx):
			return errStopping
		case why := <-st.over:
			return why
		case <-ticker.C:
		}
		switch {
		case !st.until.IsZero() && !s.now().Before(st.until):
			return errExpired
		case st.right != (store.Right{}) && time.Since(time.Unix(0, st.known.Load())) > s.bounds.Unsure:
			return errUnsure
		}
		also()
	}
}

// run asks, from time to time and for all streams at once, whether their callers may go on.
func (s *streams) run(ctx context.Context) error {
	service.Every(ctx, s.bounds.Recheck, s.recheck)
	return nil
}

// recheck ends the streams whose rights hold no longer. A failure leaves them as they are: see tend.
func (s *streams) recheck(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.bounds.Recheck)
	defer cancel()
	var open []*stream
	var rights []store.Right
	s.mu.Lock()
	for st := range s.open {
		if st.right != (store.Right{}) {
			open, rights = append(open, st), append(rights, st.right)
		}
	}
	s.mu.Unlock()
	asked := time.Now().UnixNano()
	held, err := s.store.Hold(ctx, rights)
	if err != nil {
		return
	}
	for i, st := range open {
		if st.known.Store(asked); !held[i] {
			st.end(errRevoked)
		}
	}
}

// feed writes a stream's events until its context ends. With an error it ends earlier.
type feed func(ctx context.Context, to *eventWriter) error

// answer is what an operation returns to become a stream of events. Its error is the answer where the stream can't begin.
func (s *streams) answer(ctx context.Context, next feed) (*huma.StreamResponse, error) {
	st, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(call huma.Context) {
		_, w := humago.Unwrap(call)
		s.serve(call.Context(), w, st, next)
	}}, nil
}

func (s *streams) serve(ctx context.Context, w http.ResponseWriter, st *stream, next feed) {
	recordOf(ctx).stays = true
	out := openEvents(w, s.bounds.Write)
	err := s.hold(ctx, st, func() { out.beat(s.bounds.Beat) }, func(ctx context.Context) error { return next(ctx, out) })
	if err != nil && ctx.Err() == nil {
		out.comment("end: " + endText(err))
	}
}

// endText tells a client no more than what is its own business.
func endText(err error) string {
	if reason := reasonOf(err); reason != "client" && reason != "done" {
		return err.Error()
	}
	return "something went wrong here: come back"
}

// streamOperation is an operation whose answer is a stream of events.
func streamOperation(id, path, summary string, errors ...int) huma.Operation {
	op := operation(id, http.MethodGet, path, summary, append(errors, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests)...)
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Events until the client hangs up, its credential ends, or the service stops",
		Content:     map[string]*huma.MediaType{mediaEvents: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	return op
}
