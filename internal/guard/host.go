package guard

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	hostName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)
	// A last label of digits, or 0x and hex digits, makes some resolvers read the host as an IPv4 address (WHATWG URL,
	// "ends in a number").
	numericLabel = regexp.MustCompile(`^([0-9]+|0[xX][0-9A-Fa-f]*)$`)
)

const special = "a private, loopback or otherwise special address: use a public one, or ask the administrator to allow its network"

func (p *Policy) checkHost(u *url.URL) error {
	host := u.Hostname()
	if host == "" {
		return refuse("has no host: write it as https://host/path")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.checkLiteral(addr)
	}
	return p.checkName(host)
}

func (p *Policy) checkLiteral(addr netip.Addr) error {
	switch {
	case addr.Zone() != "":
		return refuse("has an IPv6 zone: use a public address")
	case addr.Is4In6():
		return refuse("has an IPv4 address in the form of an IPv6 one: write it as four decimal numbers")
	case !p.allows(addr):
		return refuse("points to %s", special)
	}
	return nil
}

// checkName refuses what is no DNS name, and by their name hosts that are never public.
func (p *Policy) checkName(host string) error {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	last := name[strings.LastIndexByte(name, '.')+1:]
	switch {
	case len(host) > 253 || !hostName.MatchString(host):
		return refuse("has a host that is no DNS name: use letters, digits, - and dots (punycode for others)")
	case numericLabel.MatchString(last):
		return refuse("has a host that reads as a number: write an IPv4 address as four decimal numbers")
	case isLocalhost(name):
		if len(p.loopback()) == 0 {
			return refuse("points to %s", special)
		}
	case metadataNames[name] && !p.allows(linkLocalMetadata):
		return refuse("points to a cloud's metadata service, which is private: use a public host")
	case isPrivateName(name) && len(p.opened) == 0:
		return refuse("has a host that only a private network knows: use a public one, or ask the administrator to allow its network")
	}
	return nil
}

// localhosts are what /etc/hosts often has beside localhost.
var localhosts = []string{
	"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback",
	"localhost.localdomain", "localhost4.localdomain4", "localhost6.localdomain6",
}

// isLocalhost knows the names of this machine, and those below localhost (RFC 6761, section 6.3).
func isLocalhost(name string) bool {
	return slices.Contains(localhosts, name) || strings.HasSuffix(name, ".localhost")
}

// loopback is what the names of this machine stand for, as far as the admin has opened it. DNS is not asked.
func (p *Policy) loopback() []netip.Addr {
	var open []netip.Addr
	for _, addr := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		if p.allows(addr) {
			open = append(open, addr)
		}
	}
	return open
}

var linkLocalMetadata = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// metadataNames stand for that address, where there is such a service.
var metadataNames = map[string]bool{
	"metadata": true, "metadata.internal": true, "metadata.google.internal": true, "metadata.goog": true, "instance-data": true,
	"instance-data.ec2.internal": true, "metadata.azure.internal": true, "metadata.tencentyun.com": true, "metadata.packet.net": true,
	"metadata.platformequinix.com": true, "api.metadata.cloud.ibm.com": true,
}

// privateZones are never in the public DNS: RFC 6762 (with its appendix G), RFC 8375, ICANN's .internal, and a cluster's own.
var privateZones = []string{".local", ".internal", ".home.arpa", ".lan", ".intranet", ".private", ".corp", ".home", ".localdomain", ".svc"}

func isPrivateName(name string) bool {
	return !strings.Contains(name, ".") || slices.ContainsFunc(privateZones, func(zone string) bool { return strings.HasSuffix(name, zone) })
}
