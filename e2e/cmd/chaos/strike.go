package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// strike makes the faults happen, each when its event is about to be published.
func (s *storm) strike(ctx context.Context) error {
	for i, f := range s.plan.faults {
		if err := s.await(ctx, func() bool { return s.about >= f.at }); err != nil {
			return err
		}
		h := happened{fault: f, began: time.Since(s.endpoints.start)}
		var err error
		if h.inFlight, err = s.cause(ctx, f); err != nil {
			return fmt.Errorf("%v: %w", f, err)
		}
		h.over = time.Since(s.endpoints.start)
		s.happened = append(s.happened, h)
		s.say("%2d/%d at %3.0f s: %v, %.1f s, %d attempts in flight", i+1, len(s.plan.faults), h.began.Seconds(), f, (h.over - h.began).Seconds(), h.inFlight)
		s.progress(func() { s.done = i + 1 })
	}
	return nil
}

// cause makes one fault happen, undoes it, and returns how many attempts were in flight when it struck.
func (s *storm) cause(ctx context.Context, f fault) (inFlight int, err error) {
	l := s.links[strings.TrimSuffix(f.target, " link")]
	switch f.kind {
	case kindKill:
		return s.kill(ctx, f)
	case kindRestart:
		inFlight, err = s.watch(ctx, func() error { return s.control.Do(ctx, "stop", f.target) })
		if err == nil {
			err = s.control.Do(ctx, "start", f.target)
		}
	case kindCut:
		inFlight, err = s.watch(ctx, func() error { l.cut(); return nil })
		pause(ctx, f.lasts)
		if err == nil {
			err = l.mend()
		}
	case kindStall:
		// What it breaks is what is under way when it ends.
		return s.watch(ctx, func() error {
			err := l.stall()
			pause(ctx, f.lasts)
			l.cure(ctx)
			return err
		})
	case kindSlow:
		err = l.slow()
		pause(ctx, 2*f.lasts)
		l.cure(ctx)
	}
	return inFlight, err
}

// kill starts the part again after a while. The gateway starts its runner by itself.
func (s *storm) kill(ctx context.Context, f fault) (int, error) {
	inFlight, err := s.watch(ctx, func() error { return s.control.Do(ctx, "kill", f.target) })
	if err != nil {
		return 0, err
	}
	if f.target != "runner" {
		pause(ctx, f.lasts)
		return inFlight, s.control.Do(ctx, "start", f.target)
	}
	for !s.gatewayWorks(ctx) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		pause(ctx, 50*time.Millisecond)
	}
	return inFlight, nil
}

// watch returns the most attempts in flight from just before to just after something was done. It does nothing before it has
// an answer: without one the account would excuse too little.
func (s *storm) watch(ctx context.Context, do func() error) (most int, err error) {
	for known := false; !known; {
		if most, known = s.inFlight(ctx); ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			return most, err
		case <-time.After(10 * time.Millisecond):
			n, _ := s.inFlight(ctx)
			most = max(most, n)
		}
	}
}
