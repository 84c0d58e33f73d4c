package guard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// Resolver looks up the addresses of a host. A *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// NewResolver asks the DNS server at an address, such as 10.0.0.53:53, or the system's for "". It is Go's own resolver, so
// that it means the same everywhere.
func NewResolver(server string) (*net.Resolver, error) {
	resolver := &net.Resolver{PreferGo: true}
	if server == "" {
		return resolver, nil
	}
	at, err := netip.ParseAddrPort(server)
	if err != nil || at.Port() == 0 {
		return nil, errors.New("is not a DNS server's address: write it as 10.0.0.53:53")
	}
	resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, at.String())
	}
	return resolver, nil
}

// Resolve looks up the host of a URL and returns its addresses, all of which may be dialled. If one may not, the host is
// refused: an answer with both kinds is how DNS rebinding is made. Other errors are the resolver's.
func (p *Policy) Resolve(ctx context.Context, with Resolver, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, p.checkLiteral(addr)
	}
	if err := p.checkName(host); err != nil {
		return nil, err
	}
	if isLocalhost(strings.ToLower(strings.TrimSuffix(host, "."))) {
		return p.loopback(), nil
	}
	addrs, err := with.LookupNetIP(ctx, "ip", absolute(host))
	if err != nil {
		return nil, err
	}
	for i, addr := range addrs {
		if !p.allows(addr) {
			return nil, refuse("has a host that resolves to %s", special)
		}
		addrs[i] = addr.Unmap()
	}
	return addrs, nil
}

// absolute keeps a name from being completed by the system's search domains, which would lead into a cluster's own network. A
// name of one label gets this far only where the admin has opened a network.
func absolute(host string) string {
	if strings.HasSuffix(host, ".") || !strings.Contains(host, ".") {
		return host
	}
	return host + "."
}
