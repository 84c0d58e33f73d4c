package egress

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const (
	defaultConnect = 5 * time.Second
	defaultTotal   = 15 * time.Second
)

// limits bound the parts of one call, each from the call's start.
type limits struct{ connect, header, total time.Duration }

// limitsOf fills what a statement leaves open. No part may take longer than the one that it belongs to.
func limitsOf(t contract.Timeouts) limits {
	total := given(t.Total, defaultTotal, contract.MaxTimeout)
	header := given(t.Header, total, total)
	return limits{connect: given(t.Connect, defaultConnect, header), header: header, total: total}
}

func given(d contract.Duration, otherwise, most time.Duration) time.Duration {
	if d <= 0 {
		return min(otherwise, most)
	}
	return min(time.Duration(d), most)
}

var (
	errConnectTimeout = errors.New("no connection in time")
	errHeaderTimeout  = errors.New("no header in time")
)

type attemptKey struct{}

// attempt is what the dialer knows of the call that it dials for: the transport gives a dial a context without the call's
// end, since a connection that comes too late may serve another call.
type attempt struct {
	connectBy time.Time
	dialling  atomic.Bool
	watch     stopwatch
}

// begin bounds a call up to its answer's header, and times it. extend gives it the rest of its time.
func begin(parent context.Context, l limits) (ctx context.Context, watch *stopwatch, extend, end func()) {
	start := time.Now()
	a := &attempt{connectBy: start.Add(l.connect), watch: stopwatch{begun: start, since: start}}
	ctx, cancel := context.WithCancelCause(httptrace.WithClientTrace(context.WithValue(parent, attemptKey{}, a), a.watch.hooks()))
	timer := time.AfterFunc(l.header, func() { cancel(a.late()) })
	extend = func() {
		if timer.Stop() {
			timer.Reset(l.total - time.Since(start))
		}
	}
	return ctx, &a.watch, extend, func() { timer.Stop(); cancel(context.Canceled) }
}

func (a *attempt) late() error {
	if a.dialling.Load() {
		return errConnectTimeout
	}
	return errHeaderTimeout
}

// connecting bounds a dial. Its error is errConnectTimeout where the bound was what ended it.
func connecting[C any](ctx context.Context, dial func(context.Context) (C, error)) (C, error) {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return dial(ctx)
	}
	a.dialling.Store(true)
	ctx, cancel := context.WithDeadline(ctx, a.connectBy)
	defer cancel()
	conn, err := dial(ctx)
	a.dialling.Store(false)
	if err != nil && !time.Now().Before(a.connectBy) {
		err = errConnectTimeout
	}
	return conn, err
}
