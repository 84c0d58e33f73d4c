// Package guard is the one place that says where callbacks may go: which URLs, hosts, ports and addresses. The same policy
// is asked when a consumer subscribes or tests, and whenever a callback is made: about the URL, about every address that DNS
// gives for its host, and about the address that is dialled.
package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrRefused is what every refusal wraps. Its text says the fix and never repeats the URL.
var ErrRefused = errors.New("refused")

// Policy decides over callback URLs and addresses. Without exceptions it wants https and public addresses.
type Policy struct {
	allowHTTP bool
	// opened are the admin's networks.
	opened   []netip.Prefix
	guardian *ssrf.Guardian
}

// New builds a policy from the admin's exceptions: networks in CIDR form that may be dialled though they are private,
// and whether plain http is allowed.
func New(cidrs []string, allowHTTP bool) (*Policy, error) {
	p := &Policy{allowHTTP: allowHTTP}
	var v4, v6 []netip.Prefix
	for _, cidr := range cidrs {
		cidr = strings.TrimSpace(cidr)
		if cidr == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil || prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("network %q: write it as 10.0.0.0/8 or fd00::/8", cidr)
		}
		p.opened = append(p.opened, prefix)
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	p.guardian = ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	return p, nil
}

// Control is a net.Dialer's Control function: it sees the very address that is about to be dialled, after DNS. It knows
// nothing of the other addresses of the name: see Dial.
func (p *Policy) Control(network, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" || !p.allows(at.Addr()) {
		return refuse("the address is not a public one")
	}
	if badPort(at.Port()) {
		return refuse("the port is not one for webhooks")
	}
	return nil
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...)
}

// otherProtocols are ports above 1023 of the WHATWG Fetch standard's bad ports, and of data stores and control planes
// that answer to whatever resembles a command.
var otherProtocols = []uint16{
	1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
	1433, 1521, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5671, 5672, 5900, 6379, 6443, 9042, 9092, 9200, 9300,
	10250, 11211, 25672, 27017,
}

func badPort(port uint16) bool {
	return port < 1024 && port != 80 && port != 443 || slices.Contains(otherProtocols, port)
}
