package egress

import (
	"context"
	"net"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
)

// phase of a call, in their order.
type phase int

const (
	phaseBegun phase = iota
	phaseDNS
	phaseConnect
	phaseTLS
	phaseFirstByte
	phaseBody
	phases
)

// stopwatch tells where the time of a call goes.
type stopwatch struct {
	begun time.Time

	mu     sync.Mutex
	now    phase
	since  time.Time
	spent  [phases]time.Duration
	reused bool
}

// enter begins a phase. There is no way back: a dial that goes on for another call changes nothing any more.
func (s *stopwatch) enter(p phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p > s.now {
		s.move(p)
	}
}

func (s *stopwatch) move(p phase) {
	now := time.Now()
	s.spent[s.now] += now.Sub(s.since)
	s.now, s.since = p, now
}

// wants is a httptrace hook: a connection is looked for, for the first time or after a kept one turned out to be closed.
func (s *stopwatch) wants(string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent = [phases]time.Duration{}
	s.now, s.since, s.reused = phaseBegun, time.Now(), false
}

// got is a httptrace hook. With a connection that was there already, whatever was dialled meanwhile was for nothing.
func (s *stopwatch) got(info httptrace.GotConnInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.move(phaseFirstByte)
	if s.reused = info.Reused; s.reused {
		s.spent[phaseDNS], s.spent[phaseConnect], s.spent[phaseTLS] = 0, 0, 0
	}
}

func (s *stopwatch) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GetConn: s.wants, GotConn: s.got, GotFirstResponseByte: func() { s.enter(phaseBody) }}
}

// read ends the current phase and returns all of them. A call that failed was up to now in the phase in which it did.
func (s *stopwatch) read() contract.Timings {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.move(s.now)
	return contract.Timings{
		DNSMS: contract.Milliseconds(s.spent[phaseDNS]), ConnectMS: contract.Milliseconds(s.spent[phaseConnect]),
		TLSMS: contract.Milliseconds(s.spent[phaseTLS]), FirstByteMS: contract.Milliseconds(s.spent[phaseFirstByte]),
		TotalMS: contract.Milliseconds(time.Since(s.begun)), Reused: s.reused,
	}
}

// ends tells each phase that took place and when it ended. Call it once all of them are read.
func (s *stopwatch) ends(tell func(p phase, at time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.since
	for _, spent := range s.spent {
		at = at.Add(-spent)
	}
	for p, spent := range s.spent[:phaseBody] {
		if at = at.Add(spent); spent > 0 && phase(p) != phaseBegun {
			tell(phase(p), at)
		}
	}
}

// enter begins a phase of the call that a dial is for, if it is for one.
func enter(ctx context.Context, p phase) {
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		a.watch.enter(p)
	}
}

// timedResolver tells when it is asked.
type timedResolver struct{ guard.Resolver }

func (r timedResolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	enter(ctx, phaseDNS)
	return r.Resolver.LookupNetIP(ctx, network, host)
}

// timed tells when the first address is dialled.
func timed(dial guard.DialFunc) guard.DialFunc {
	return func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		enter(ctx, phaseConnect)
		return dial(ctx, to)
	}
}
