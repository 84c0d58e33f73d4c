package guard

import (
	"net/netip"
)

// allows reports whether an address may be dialled.
func (p *Policy) allows(addr netip.Addr) bool {
	if addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap() // ::ffff:10.0.0.1 is dialled as 10.0.0.1
	switch {
	case p.opens(addr, addr.BitLen()): // named by the admin, and no other with it
		return true
	case metadata[addr] || tunnelled(addr):
		return false
	case isNAT64(addr):
		return p.opens(addr, nat64Bits) && p.allows(last4(addr))
	}
	return p.guardian.SafeAddr(addr) == nil
}

// opens reports whether the address is in one of the admin's networks that is as narrow as bits says.
func (p *Policy) opens(addr netip.Addr, bits int) bool {
	for _, network := range p.opened {
		if network.Bits() >= bits && network.Contains(addr) {
			return true
		}
	}
	return false
}

// metadata are where clouds hand credentials to whoever asks from inside. A network that the admin opens does not open them:
// only the address itself does.
var metadata = addresses(
	"169.254.169.254", "fd00:ec2::254", // AWS; the first is Google's, Azure's, Oracle's and many others' as well
	"169.254.170.2", "169.254.170.23", "fd00:ec2::23", // AWS containers and pods
	"fd20:ce::254",                 // Google
	"168.63.129.16",                // Azure's host, in the middle of the public space
	"100.100.100.200",              // Alibaba
	"192.0.0.192",                  // Oracle
	"169.254.42.42", "fd00:42::42", // Scaleway
	"169.254.0.23",       // Tencent
	"fe80::a9fe:a9fe",    // OpenStack
	"fd00:c1::a9fe:a9fe", // Oracle
)

func addresses(texts ...string) map[netip.Addr]bool {
	set := make(map[netip.Addr]bool, len(texts))
	for _, text := range texts {
		set[netip.MustParseAddr(text)] = true
	}
	return set
}

var (
	// tunnels are IPv6 networks whose addresses lead to the IPv4 address that they contain, by ways that are long out of use:
	// IPv4-compatible, Teredo, 6to4. No network of the admin's opens them.
	tunnels = prefixes("::/96", "2001::/32", "2002::/16")
	// nat64 are translators' networks (RFC 6052, RFC 8215), a /96 each: where the admin opens one, the IPv4 address in it counts.
	nat64 = prefixes("64:ff9b::/96", "64:ff9b:1::/48")
)

const nat64Bits = 96

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

func within(networks []netip.Prefix, addr netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// tunnelled knows ISATAP by its interface id (RFC 5214), which any network can have.
func tunnelled(addr netip.Addr) bool {
	if !addr.Is6() || addr.IsLoopback() || addr.IsUnspecified() {
		return false
	}
	b := addr.As16()
	isatap := b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
	return isatap || within(tunnels, addr)
}

func isNAT64(addr netip.Addr) bool { return within(nat64, addr) }

func last4(addr netip.Addr) netip.Addr {
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}
