package guard

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"
)

const (
	// nextAfter is when the next address is tried beside the one that does not answer (RFC 8305, section 5).
	nextAfter = 250 * time.Millisecond
	// mostAddresses bounds what a name with very many can make us dial.
	mostAddresses = 8
)

// DialFunc connects to an address.
type DialFunc func(ctx context.Context, to netip.AddrPort) (net.Conn, error)

// Dial connects to the host:port of a URL. The host is resolved once and vetted, and dial gets only addresses of that answer:
// there is no second look-up that could say something else.
func (p *Policy) Dial(ctx context.Context, with Resolver, address string, dial DialFunc) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, refuse("the address has no port")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || badPort(uint16(n)) {
		return nil, refuse("the port is not one for webhooks")
	}
	addrs, err := p.Resolve(ctx, with, host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	return race(ctx, inTurns(addrs, uint16(n)), dial)
}

// inTurns takes IPv6 and IPv4 in turns, beginning with the kind that the resolver prefers (RFC 8305, section 4).
func inTurns(addrs []netip.Addr, port uint16) []netip.AddrPort {
	var first, second []netip.AddrPort
	for _, addr := range addrs {
		if at := netip.AddrPortFrom(addr, port); addr.Is4() == addrs[0].Is4() {
			first = append(first, at)
		} else {
			second = append(second, at)
		}
	}
	turns := make([]netip.AddrPort, 0, len(addrs))
	for i := range first {
		turns = append(turns, first[i])
		if i < len(second) {
			turns = append(turns, second[i])
		}
	}
	turns = append(turns, second[min(len(first), len(second)):]...)
	return turns[:min(len(turns), mostAddresses)]
}

type dialled struct {
	conn net.Conn
	err  error
}

// race returns the first connection. The next address is tried once the one before has failed, or beside it after nextAfter.
func race(ctx context.Context, to []netip.AddrPort, dial DialFunc) (net.Conn, error) {
	if len(to) == 1 {
		return dial(ctx, to[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results, failed := make(chan dialled, 2), make(chan struct{})
	go func() {
		conn, err := dial(ctx, to[0])
		results <- dialled{conn, err}
		if err != nil {
			close(failed)
		}
	}()
	go func() {
		wait(ctx, failed)
		conn, err := race(ctx, to[1:], dial)
		results <- dialled{conn, err}
	}()
	first := <-results
	if first.err == nil {
		go func() { (<-results).close() }() // the other one came too late, or ends with the context
		return first.conn, nil
	}
	if second := <-results; second.err == nil {
		return second.conn, nil
	}
	return nil, first.err
}

func wait(ctx context.Context, failed <-chan struct{}) {
	timer := time.NewTimer(nextAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-failed:
	case <-timer.C:
	}
}

func (d dialled) close() {
	if d.conn != nil {
		_ = d.conn.Close()
	}
}
