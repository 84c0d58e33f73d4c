package guard

import (
	"errors"
	"net"
	"net/netip"
	"strings"
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
	for _, bad := range []string{"10.0.0.0", "10.0.0.0/33", "nonsense", "::1", "10.0.0.0/8/8"} {
		_, err := New([]string{"127.0.0.0/8", bad}, false)
		require.ErrorContains(t, err, bad)
	}
	_, err := New([]string{" 10.0.0.0/8 ", "", "fd00::/8"}, false)
	require.NoError(t, err)
}

func TestCheckURL(t *testing.T) {
	strict := policy(t, false)
	open := policy(t, true, "127.0.0.0/8", "::1/128", "10.1.0.0/16", "fd00:1::/32")
	const ok = ""
	cases := []struct {
		url          string
		strict, open string // what is said; "" if it is fine
	}{
		{"https://consumer.example/", ok, ok},
		{"https://consumer.example", ok, ok},
		{"HTTPS://Consumer.Example/Path?q=1&r=%20", ok, ok},
		{"https://consumer.example:443/", ok, ok},
		{"https://consumer.example:8443/", ok, ok},
		{"https://consumer.example:80/", ok, ok},
		{"https://consumer.example./", ok, ok},
		{"https://xn--bcher-kva.example/", ok, ok},
		{"https://my_host.example/", ok, ok},
		{"https://intranet/", ok, ok}, // whatever it resolves to is checked when it is dialled
		{"https://93.184.216.34/", ok, ok},
		{"https://[2606:2800:220:1::1]/", ok, ok},
		{"http://consumer.example/", "uses http", ok},

		{"", "relative", "relative"},
		{"/hooks", "relative", "relative"},
		{"//consumer.example/", "relative", "relative"},
		{"consumer.example", "relative", "relative"},
		{"ftp://consumer.example/", "scheme", "scheme"},
		{"file:///etc/passwd", "scheme", "scheme"},
		{"gopher://consumer.example/", "scheme", "scheme"},
		{"javascript:alert(1)", "scheme", "scheme"},
		{"https:consumer.example", "//", "//"},
		{"https:///path", "no host", "no host"},
		{"https://", "no host", "no host"},
		{"https://:443/", "no host", "no host"},
		{"https://user:pw@consumer.example/", "credentials", "credentials"},
		{"https://user@consumer.example/", "credentials", "credentials"},
		{"https://@consumer.example/", "credentials", "credentials"},
		{"https://consumer.example/#x", "fragment", "fragment"},
		{"https://consumer.example/#", "fragment", "fragment"},
		{"https://consumer.example:/", "empty port", "empty port"},
		{"https://consumer.example:0/", "port 0", "port 0"},
		{"https://consumer.example:22/", "port 22", "port 22"},
		{"https://consumer.example:25/", "port 25", "port 25"},
		{"https://consumer.example:1023/", "port", "port"},
		{"https://consumer.example:6379/", "port 6379", "port 6379"},
		{"https://consumer.example:5672/", "port 5672", "port 5672"},
		{"https://consumer.example:65536/", "port", "port"},
		{"https://consumer.example:http/", "not a URL", "not a URL"},
		{"https://consumer.example/a b", "space", "space"},
		{"https://consumer.example/\n", "control", "control"},
		{"https://consumer.example/\x00", "control", "control"},
		{"https://consumer.example\\@127.0.0.1/", "backslash", "backslash"},
		{" https://consumer.example/", "space", "space"},
		{"https://consumer.example/%zz", "not a URL", "not a URL"},
		{"https://bücher.example/", "DNS name", "DNS name"},
		{"https://a..b/", "DNS name", "DNS name"},
		{"https://-a.example/", "DNS name", "DNS name"},
		{"https://" + strings.Repeat("a", 64) + ".example/", "DNS name", "DNS name"},
		{"https://" + strings.Repeat("a.", 130) + "example/", "DNS name", "DNS name"},
		{"https://consumer.example/" + strings.Repeat("a", 2048), "longer", "longer"},

		{"https://127.0.0.1/", "private", ok},
		{"https://127.8.9.1:8443/", "private", ok},
		{"https://localhost/", "private", ok},
		{"https://LOCALHOST./", "private", ok},
		{"https://a.localhost/", "private", ok},
		{"https://[::1]/", "private", ok},
		{"https://10.1.2.3/", "private", ok},
		{"https://[fd00:1::5]/", "private", ok},
		{"https://10.2.0.1/", "private", "private"},
		{"https://192.168.1.1/", "private", "private"},
		{"https://172.16.0.1/", "private", "private"},
		{"https://169.254.169.254/latest/meta-data", "private", "private"},
		{"https://100.64.0.1/", "private", "private"},
		{"https://0.0.0.0/", "private", "private"},
		{"https://255.255.255.255/", "private", "private"},
		{"https://224.0.0.1/", "private", "private"},
		{"https://192.0.2.1/", "private", "private"},
		{"https://198.18.0.1/", "private", "private"},
		{"https://[::]/", "private", "private"},
		{"https://[fe80::1]/", "private", "private"},
		{"https://[fe80::1%25eth0]/", "zone", "zone"},
		{"https://[fd00::1]/", "private", "private"},
		{"https://[ff02::1]/", "private", "private"},
		{"https://[::ffff:10.2.0.1]/", "private", "private"},
		{"https://[64:ff9b::7f00:1]/", "private", "private"},
		{"https://[2002:7f00:1::]/", "private", "private"},
		{"https://[2001:db8::1]/", "private", "private"},
		{"https://2130706433/", "number", "number"},
		{"https://0x7f000001/", "number", "number"},
		{"https://0x7f.1/", "number", "number"},
		{"https://127.1/", "number", "number"},
		{"https://0177.0.0.1/", "number", "number"},
		{"https://127.0.0.1./", "number", "number"},
		{"https://1.2.3.4.5/", "number", "number"},
	}
	require.GreaterOrEqual(t, len(cases), 40)
	for _, c := range cases {
		for name, p := range map[string]struct {
			policy *Policy
			says   string
		}{"strict": {strict, c.strict}, "open": {open, c.open}} {
			_, err := p.policy.CheckURL(c.url)
			if p.says == "" {
				require.NoError(t, err, "%s: %q", name, c.url)
				continue
			}
			require.ErrorIs(t, err, ErrRefused, "%s: %q", name, c.url)
			require.ErrorContains(t, err, p.says, "%s: %q", name, c.url)
		}
	}
}

// What one reader takes for another host than the next one does must not come through the strict policy.
func TestUnusualSpellings(t *testing.T) {
	for _, url := range []string{
		"https://%6c%6f%63%61%6c%68%6f%73%74/", "https://a%00b/", "https://[::ffff:127.0.0.1]/", "https://127.0.0.1%2f@consumer.example/",
		"https://consumer.example%40127.0.0.1/", "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://[::1%25lo]/", "https://[127.0.0.1]/",
	} {
		_, err := policy(t, false).CheckURL(url)
		require.ErrorIs(t, err, ErrRefused, url)
	}
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

func FuzzCheckURL(f *testing.F) {
	for _, url := range []string{"https://consumer.example/", "https://127.0.0.1/", "https://[::ffff:127.0.0.1]:443/", "https://0x7f.1/", "//x", "https://a@b#c", "https://%31/"} {
		f.Add(url)
	}
	p := policy(f, false)
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := p.CheckURL(raw)
		if err != nil {
			if !errors.Is(err, ErrRefused) {
				t.Fatalf("%v is not ErrRefused", err)
			}
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Hostname() == "" || strings.ContainsAny(raw, "\r\n\t \\#") {
			t.Fatalf("%q is fine?", raw)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && (addr.Unmap().IsPrivate() || addr.Unmap().IsLoopback() || addr.Unmap().IsLinkLocalUnicast()) {
			t.Fatalf("%q is private", raw)
		}
		if again, err := p.CheckURL(u.String()); err != nil || again.Hostname() != u.Hostname() {
			t.Fatalf("%q is another URL once it was written anew: %q %v", raw, u.String(), err)
		}
	})
}
