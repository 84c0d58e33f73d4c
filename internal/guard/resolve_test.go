package guard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// asking makes a resolver of our own kind that asks a test's name server.
func asking(t testing.TB, dns *testkit.DNS) Resolver {
	t.Helper()
	r, err := NewResolver(dns.Address)
	require.NoError(t, err)
	return r
}

func TestANameIsRefusedForAnyOfItsAddresses(t *testing.T) {
	const public, public6 = "93.184.216.34", "2606:2800:220:1::1"
	dns := testkit.NewDNS(t)
	dns.Alias("alias.example", "db.corp.example")
	dns.Set("db.corp.example", []string{"10.0.0.7"})
	for name, c := range map[string]struct {
		addresses []string
		strict    bool
		open      bool // with loopback open
	}{
		"public":         {[]string{public}, true, true},
		"both":           {[]string{public, public6}, true, true},
		"many":           {[]string{public, "93.184.216.35", public6, "2606:2800:220:1::2"}, true, true},
		"mapped-public":  {[]string{"::ffff:93.184.216.34"}, true, true},
		"loopback":       {[]string{"127.0.0.1"}, false, true},
		"loopback6":      {[]string{"::1"}, false, true},
		"rebinding":      {[]string{public, "127.0.0.1"}, false, true},
		"mixed":          {[]string{public, "192.168.0.1"}, false, false},
		"mixed6":         {[]string{public, "fd00::1"}, false, false},
		"mixed4":         {[]string{public6, "10.0.0.1"}, false, false},
		"last":           {[]string{public, "93.184.216.35", "93.184.216.36", "10.0.0.1"}, false, false},
		"metadata":       {[]string{"169.254.169.254"}, false, false},
		"azure":          {[]string{"168.63.129.16"}, false, false},
		"mapped":         {[]string{"::ffff:10.0.0.1"}, false, false},
		"mapped-meta":    {[]string{"::ffff:169.254.169.254"}, false, false},
		"nat64":          {[]string{"64:ff9b::7f00:1"}, false, false},
		"6to4":           {[]string{"2002:7f00:1::"}, false, false},
		"unspecified":    {[]string{"0.0.0.0"}, false, false},
		"multicast":      {[]string{"224.0.0.251"}, false, false},
		"carrier-grade":  {[]string{"100.64.1.1"}, false, false},
		"documentation6": {[]string{"2001:db8::1"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			dns.Set(name+".example", c.addresses)
			for policy, fine := range map[*Policy]bool{policy(t, false): c.strict, opened(t): c.open} {
				addrs, err := policy.Resolve(t.Context(), asking(t, dns), name+".example")
				if fine {
					require.NoError(t, err)
					require.Len(t, addrs, len(c.addresses))
				} else {
					require.ErrorIs(t, err, ErrRefused)
					require.Empty(t, addrs)
				}
			}
		})
	}
	_, err := policy(t, false).Resolve(t.Context(), asking(t, dns), "alias.example")
	require.ErrorIs(t, err, ErrRefused, "a CNAME to a private name")
	require.NotContains(t, err.Error(), "10.0.0.7", "what DNS says is not told")
}

func TestHostsThatNobodyLooksUp(t *testing.T) {
	dns := testkit.NewDNS(t)
	refusing, open := policy(t, false), opened(t)
	for _, host := range []string{"localhost", "a.localhost", "LOCALHOST.", "metadata.google.internal", "db.internal", "redis", "127.0.0.1", "::ffff:93.184.216.34", "fe80::1%eth0", "127.1", "a b"} {
		_, err := refusing.Resolve(t.Context(), asking(t, dns), host)
		require.ErrorIs(t, err, ErrRefused, host)
		require.Zero(t, dns.Asked(strings.TrimSuffix(strings.ToLower(host), ".")), host)
	}
	addrs, err := open.Resolve(t.Context(), asking(t, dns), "LocalHost.")
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}, addrs)
	addrs, err = policy(t, false, "127.0.0.0/8").Resolve(t.Context(), asking(t, dns), "a.localhost")
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, addrs)
}

// lookups notes what is looked up.
type lookups struct{ hosts []string }

func (l *lookups) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	l.hosts = append(l.hosts, host)
	return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
}

func TestNamesAreNotCompletedBySearchDomains(t *testing.T) {
	var l lookups
	for _, host := range []string{"consumer.example", "consumer.example.", "redis.default"} {
		_, err := policy(t, false).Resolve(t.Context(), &l, host)
		require.NoError(t, err)
	}
	require.Equal(t, []string{"consumer.example.", "consumer.example.", "redis.default."}, l.hosts)
}

func TestAnAddressOfADNSServer(t *testing.T) {
	for _, bad := range []string{"10.0.0.53", "dns.example:53", "10.0.0.53:0", ":53", "10.0.0.53:dns", "https://10.0.0.53:53"} {
		_, err := NewResolver(bad)
		require.ErrorContains(t, err, "10.0.0.53:53", bad)
		require.NotContains(t, err.Error(), "dns.example")
	}
	for _, good := range []string{"", "10.0.0.53:53", "[fd00::53]:5353"} {
		_, err := NewResolver(good)
		require.NoError(t, err, good)
	}
}

func TestWhatIsVettedIsWhatIsDialled(t *testing.T) {
	dns := testkit.NewDNS(t)
	dns.Set("rebind.example", []string{"93.184.216.34"}, []string{"127.0.0.1"})
	var got []netip.AddrPort
	dial := func(_ context.Context, to netip.AddrPort) (net.Conn, error) {
		got = append(got, to)
		return nil, nil
	}
	_, err := policy(t, false).Dial(t.Context(), asking(t, dns), "rebind.example:443", dial)
	require.NoError(t, err)
	require.Equal(t, 1, dns.Asked("rebind.example"), "there is no second look-up")
	_, err = policy(t, false).Dial(t.Context(), asking(t, dns), "rebind.example:443", dial)
	require.ErrorIs(t, err, ErrRefused)
	for _, port := range []string{"22", "0", "99999", "x", ""} {
		_, err = policy(t, false).Dial(t.Context(), asking(t, dns), "rebind.example:"+port, dial)
		require.ErrorIs(t, err, ErrRefused, port)
	}
	_, err = policy(t, false).Dial(t.Context(), asking(t, dns), "nobody.example:443", dial)
	var unknown *net.DNSError
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("93.184.216.34:443")}, got)
}

func TestAddressesAreTriedInTurns(t *testing.T) {
	addrs := func(texts ...string) (all []netip.Addr) {
		for _, text := range texts {
			all = append(all, netip.MustParseAddr(text))
		}
		return all
	}
	for want, given := range map[string][]netip.Addr{
		"::1 1.1.1.1 ::2 1.1.1.2 ::3":     addrs("::1", "::2", "::3", "1.1.1.1", "1.1.1.2"),
		"1.1.1.1 ::1 ::2 ::3":             addrs("1.1.1.1", "::1", "::2", "::3"),
		"1.1.1.1":                         addrs("1.1.1.1"),
		"::1 ::2 ::3 ::4 ::5 ::6 ::7 ::8": addrs("::1", "::2", "::3", "::4", "::5", "::6", "::7", "::8", "::9"),
	} {
		var got []string
		for _, at := range inTurns(given, 443) {
			got = append(got, at.Addr().String())
		}
		require.Equal(t, want, strings.Join(got, " "))
	}
}

// conn knows whether it was closed.
type conn struct {
	net.Conn
	closed bool
}

func (c *conn) Close() error { c.closed = true; return nil }

func TestASlowAddressDoesNotHoldUpTheNext(t *testing.T) {
	to := []netip.AddrPort{netip.MustParseAddrPort("[2606:2800::1]:443"), netip.MustParseAddrPort("93.184.216.34:443"), netip.MustParseAddrPort("93.184.216.35:443")}
	fail := errors.New("unreachable")
	for name, c := range map[string]struct {
		// takes is how long each address needs; a negative one fails then
		takes []time.Duration
		after time.Duration
		wins  int
	}{
		"the first":           {[]time.Duration{10, 1, 1}, 10, 0},
		"the first is broken": {[]time.Duration{-10, 20, 1}, 30, 1},
		"the first is silent": {[]time.Duration{9000, 20, 1}, 270, 1},
		"two are silent":      {[]time.Duration{9000, 9000, 7}, 507, 2},
		"slow, but it wins":   {[]time.Duration{300, 9000, 1}, 300, 0},
		"all are broken":      {[]time.Duration{-10, -20, -30}, 60, -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, conns := time.Now(), [3]*conn{{}, {}, {}}
				got, err := race(t.Context(), to, func(_ context.Context, at netip.AddrPort) (net.Conn, error) {
					for i := range to {
						if at == to[i] {
							time.Sleep(max(c.takes[i], -c.takes[i]) * time.Millisecond)
							if c.takes[i] > 0 {
								return conns[i], nil
							}
						}
					}
					return nil, fail
				})
				require.Equal(t, c.after*time.Millisecond, time.Since(begun))
				if c.wins < 0 {
					require.ErrorIs(t, err, fail)
					return
				}
				require.NoError(t, err)
				require.Same(t, conns[c.wins], got)
				time.Sleep(time.Minute) // the bubble's
				synctest.Wait()
				require.False(t, conns[c.wins].closed)
				for i, other := range conns {
					if i < c.wins && c.takes[i] > 0 {
						require.True(t, other.closed, "the late connection to %s", to[i])
					}
				}
			})
		})
	}
}
