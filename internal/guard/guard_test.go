package guard

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func policy(t testing.TB, allowHTTP bool, cidrs ...string) *Policy {
	t.Helper()
	p, err := New(cidrs, allowHTTP)
	require.NoError(t, err)
	return p
}

func TestNew(t *testing.T) {
	for _, bad := range []string{"10.0.0.0", "10.0.0.0/33", "nonsense", "::1", "10.0.0.0/8/8", "::ffff:10.0.0.0/104"} {
		_, err := New([]string{"127.0.0.0/8", bad}, false)
		require.ErrorContains(t, err, bad)
	}
	_, err := New([]string{" 10.0.0.0/8 ", "", "fd00::/8"}, false)
	require.NoError(t, err)
}

func TestRefusalsDoNotRepeatTheURL(t *testing.T) {
	for _, url := range []string{"https://user:s3cr3t@127.0.0.1:22/#x", "s3cr3t://x", "https://s3cr3t\x00/", "https://h/%zz-s3cr3t", "https://127.0.0.1/?token=s3cr3t", "https://s3cr3t:s3cr3t/"} {
		_, err := policy(t, false).CheckURL(url)
		require.ErrorIs(t, err, ErrRefused)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
}

func TestControl(t *testing.T) {
	strict, open := policy(t, false), policy(t, true, "127.0.0.0/8", "::1/128")
	cases := []struct {
		network, address string
		strict, open     bool
	}{
		{"tcp4", "93.184.216.34:443", true, true},
		{"tcp6", "[2606:2800:220:1::1]:443", true, true},
		{"tcp4", "93.184.216.34:8443", true, true},
		{"tcp4", "93.184.216.34:22", false, false},
		{"tcp4", "93.184.216.34:6379", false, false},
		{"tcp4", "93.184.216.34:0", false, false},
		{"tcp4", "127.0.0.1:443", false, true},
		{"tcp6", "[::1]:443", false, true},
		{"tcp4", "10.0.0.1:443", false, false},
		{"tcp4", "169.254.169.254:80", false, false},
		{"tcp4", "0.0.0.0:443", false, false},
		{"tcp6", "[::]:443", false, false},
		{"tcp6", "[fe80::1]:443", false, false},
		{"tcp6", "[::ffff:10.0.0.1]:443", false, false},
		{"tcp6", "[64:ff9b::a00:1]:443", false, false},
		{"udp4", "93.184.216.34:443", false, false},
		{"unix", "/run/socket", false, false},
		{"tcp", "consumer.example:443", false, false}, // not resolved: nothing to check
		{"tcp4", "93.184.216.34", false, false},
	}
	for _, c := range cases {
		for _, p := range []struct {
			policy *Policy
			ok     bool
		}{{strict, c.strict}, {open, c.open}} {
			err := p.policy.Control(c.network, c.address, nil)
			if p.ok {
				require.NoError(t, err, "%s %s", c.network, c.address)
			} else {
				require.ErrorIs(t, err, ErrRefused, "%s %s", c.network, c.address)
			}
		}
	}
}

// The dialler itself asks: a listener on loopback is there, and can't be reached.
func TestADialIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, err = (&net.Dialer{Control: policy(t, false).Control}).Dial("tcp", l.Addr().String())
	require.ErrorIs(t, err, ErrRefused)
	c, err := (&net.Dialer{Control: policy(t, false, "127.0.0.0/8").Control}).Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// Whatever network an admin opens, it opens addresses in it, and a metadata service only by its own address.
func FuzzANetworkOpensNothingBeside(f *testing.F) {
	add := func(network, address string) {
		prefix, addr := netip.MustParsePrefix(network), netip.MustParseAddr(address)
		f.Add(prefix.Addr().AsSlice(), uint8(prefix.Bits()), addr.AsSlice())
	}
	add("127.0.0.0/8", "::ffff:169.254.169.254")
	add("127.0.0.0/8", "127.0.0.1")
	add("::/0", "64:ff9b::a00:1")
	add("::/0", "2002:a00:1::")
	add("64:ff9b::/96", "64:ff9b::a00:1")
	add("169.254.0.0/16", "169.254.169.254")
	add("fd00::/8", "fd00:ec2::254")
	closed := policy(f, false)
	f.Fuzz(func(t *testing.T, network []byte, bits uint8, address []byte) {
		base, isBase := netip.AddrFromSlice(network)
		addr, isAddr := netip.AddrFromSlice(address)
		prefix, err := base.Prefix(int(bits))
		if !isBase || !isAddr || err != nil || base.Is4In6() {
			return
		}
		addr = addr.Unmap()
		if closed.allows(addr) {
			require.True(t, addr.IsGlobalUnicast() && !addr.IsPrivate(), "%s", addr)
			return
		}
		if policy(t, false, prefix.String()).allows(addr) {
			require.True(t, prefix.Contains(addr), "%s opens %s", prefix, addr)
			require.True(t, !metadata[addr] && !tunnelled(addr) || prefix.IsSingleIP(), "%s opens %s", prefix, addr)
		}
	})
}
