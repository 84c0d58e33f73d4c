// Package guard is the one place that says where callbacks may go. The same policy is asked when a consumer subscribes
// and, with the address that DNS gave, when the egress dials.
package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrRefused is what every refusal wraps. Its text says the fix and never repeats the URL.
var ErrRefused = errors.New("refused")

// maxURL is the longest callback URL that is taken, in bytes.
const maxURL = 2048

// Policy decides over callback URLs and addresses. Without exceptions it wants https and public addresses.
type Policy struct {
	allowHTTP bool
	guardian  *ssrf.Guardian
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
		if err != nil {
			return nil, fmt.Errorf("network %q: write it as 10.0.0.0/8 or fd00::/8", cidr)
		}
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	p.guardian = ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	return p, nil
}

// Control is a net.Dialer's Control function: it sees the very address that is about to be dialled, after DNS.
func (p *Policy) Control(network, address string, c syscall.RawConn) error {
	if err := p.guardian.Safe(network, address, c); err != nil {
		return fmt.Errorf("%w: the address is not a public one", ErrRefused)
	}
	if _, port, err := net.SplitHostPort(address); err != nil || badPort(port) {
		return fmt.Errorf("%w: the port is not one for webhooks", ErrRefused)
	}
	return nil
}

// CheckURL refuses a callback URL that can never be called. A name is not resolved here: what it resolves to is checked
// when it is dialled, since it may change at any time.
func (p *Policy) CheckURL(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, refuse("is longer than %d bytes", maxURL)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return nil, refuse("has a space, a control character or a backslash: percent-encode it")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, refuse("is not a URL: write it as https://host/path")
	}
	return u, errors.Join(p.checkScheme(u), checkShape(u, raw), p.checkHost(u), checkPort(u))
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...)
}

func (p *Policy) checkScheme(u *url.URL) error {
	switch {
	case u.Scheme == "https", u.Scheme == "http" && p.allowHTTP:
		return nil
	case u.Scheme == "":
		return refuse("is relative: start it with https://")
	case u.Scheme == "http":
		return refuse("uses http: use https, or ask the administrator to allow http")
	}
	return refuse("has a scheme other than https: use https")
}

func checkShape(u *url.URL, raw string) error {
	switch {
	case u.User != nil:
		return refuse("has credentials in it: take them out; a subscription's auth is the place for them")
	case strings.Contains(raw, "#"):
		return refuse("has a fragment (#…): take it out")
	case u.Opaque != "":
		return refuse("has no //: write it as https://host/path")
	}
	return nil
}

var (
	hostName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)
	// A last label of digits, or 0x and hex digits, makes some resolvers read the host as an IPv4 address (WHATWG URL,
	// "ends in a number").
	numericLabel = regexp.MustCompile(`^([0-9]+|0[xX][0-9A-Fa-f]*)$`)
)

func (p *Policy) checkHost(u *url.URL) error {
	host := u.Hostname()
	if host == "" {
		return refuse("has no host: write it as https://host/path")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.checkAddr(addr)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	switch {
	case len(host) > 253 || !hostName.MatchString(host):
		return refuse("has a host that is no DNS name: use letters, digits, - and dots (punycode for others)")
	case numericLabel.MatchString(name[strings.LastIndexByte(name, '.')+1:]):
		return refuse("has a host that reads as a number: write an IPv4 address as four decimal numbers")
	case name == "localhost" || strings.HasSuffix(name, ".localhost"):
		return p.checkAddr(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	return nil
}

func (p *Policy) checkAddr(addr netip.Addr) error {
	if addr.Zone() != "" {
		return refuse("has an IPv6 zone: use a public address")
	}
	if p.guardian.SafeAddr(addr) != nil {
		return refuse("points to a private, loopback or otherwise special address: use a public one, or ask the administrator to allow its network")
	}
	return nil
}

// checkPort wants 80, 443 or a port above 1023 on which no other well-known protocol listens.
func checkPort(u *url.URL) error {
	if strings.HasSuffix(u.Host, ":") {
		return refuse("has an empty port: leave the colon out")
	}
	if port := u.Port(); port != "" && badPort(port) {
		return refuse("has port %s: use 443, 80, or one above 1023 that is not another protocol's", port)
	}
	return nil
}

// otherProtocols are ports above 1023 of the WHATWG Fetch standard's bad ports, and of data stores and control planes
// that answer to whatever resembles a command.
var otherProtocols = []uint16{
	1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
	1433, 1521, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5671, 5672, 5900, 6379, 6443, 9042, 9092, 9200, 9300,
	10250, 11211, 25672, 27017,
}

func badPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return true
	}
	port := uint16(n)
	return port < 1024 && port != 80 && port != 443 || slices.Contains(otherProtocols, port)
}
