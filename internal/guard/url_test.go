package guard

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// opened is what `make up` opens.
func opened(t testing.TB) *Policy { return policy(t, true, "127.0.0.0/8", "::1/128") }

func TestHostileURLsAreRefusedAndToldWhy(t *testing.T) {
	strict, open, seen := policy(t, false), opened(t), map[string]bool{}
	for _, hostile := range testkit.HostileURLs() {
		require.False(t, seen[hostile.URL], "%q is there twice", hostile.URL)
		seen[hostile.URL] = true
		_, err := strict.CheckURL(hostile.URL)
		require.ErrorIs(t, err, ErrRefused, "%q", hostile.URL)
		require.ErrorContains(t, err, hostile.Says, "%q", hostile.URL)
		_, err = open.CheckURL(strings.Replace(hostile.URL, "https://", "http://", 1))
		if hostile.Opened {
			require.NoError(t, err, "opened: %q", hostile.URL)
		} else {
			require.ErrorContains(t, err, hostile.Says, "opened: %q", hostile.URL)
		}
	}
	require.GreaterOrEqual(t, len(seen), 150)
}

func TestURLsOfConsumersAreTaken(t *testing.T) {
	for _, raw := range []string{
		"https://consumer.example/", "https://consumer.example", "HTTPS://Consumer.Example/Path?q=1&r=%20", "https://consumer.example:443/",
		"https://consumer.example:8443/", "https://consumer.example:80/", "https://consumer.example./", "https://xn--bcher-kva.example/",
		"https://my_host.example/", "https://1and1.example/", "https://0x7f.example/", "https://127.0.0.1.example/", "https://localhost.example/",
		"https://internal.example/", "https://93.184.216.34/", "https://[2606:2800:220:1::1]/", "https://[2606:2800:220:1::1]:8443/",
		"https://consumer.example/ü?ü=ü", "https://consumer.example/@x:y//z;a=b?u=https://127.0.0.1/%23",
	} {
		_, err := policy(t, false).CheckURL(raw)
		require.NoError(t, err, raw)
	}
}

// A network opens what is in it and nothing beside.
func TestTheAdminsNetworksOpenWhatIsInThem(t *testing.T) {
	wide := policy(t, false, "10.0.0.0/8", "169.254.0.0/16", "fd00::/8", "64:ff9b::/96", "::1/128")
	everything := policy(t, false, "0.0.0.0/0", "::/0")
	for host, want := range map[string]struct{ wide, everything bool }{
		"10.1.2.3":                         {true, true},
		"11.1.2.3":                         {true, true}, // a public one
		"192.168.0.1":                      {false, true},
		"127.0.0.1":                        {false, true},
		"localhost":                        {true, true}, // ::1 is
		"redis":                            {true, true}, // whatever it resolves to is vetted
		"db.internal":                      {true, true},
		"[fd00::5]":                        {true, true},
		"[::1]":                            {true, true},
		"[fe80::1]":                        {false, true},
		"169.254.1.1":                      {true, true},
		"169.254.169.254":                  {false, false},
		"metadata.google.internal":         {false, false},
		"metadata":                         {false, false},
		"[fd00:ec2::254]":                  {false, false},
		"168.63.129.16":                    {false, false},
		"[64:ff9b::10.1.2.3]":              {true, false}, // ::/0 is not a translator's network
		"[64:ff9b::93.184.216.34]":         {true, false},
		"[64:ff9b::192.168.0.1]":           {false, false},
		"[64:ff9b::169.254.169.254]":       {false, false},
		"[64:ff9b:1::10.1.2.3]":            {false, false},
		"[2002:a01:203::1]":                {false, false},
		"[2001:0:1:2:3:4:5:6]":             {false, false},
		"[::10.1.2.3]":                     {false, false},
		"[fd00::5efe:10.1.2.3]":            {false, false},
		"[::ffff:10.1.2.3]":                {false, false},
		"[2606:2800:220:1:0:5efe:5db8:1]":  {false, false},
		"[2606:2800:220:1:ff:5efe:5db8:1]": {true, true},
	} {
		_, err := wide.CheckURL("https://" + host + "/")
		require.Equal(t, want.wide, err == nil, "%s: %v", host, err)
		_, err = everything.CheckURL("https://" + host + "/")
		require.Equal(t, want.everything, err == nil, "%s, everything open: %v", host, err)
	}
}

func TestAMetadataServiceIsOpenedByItsOwnAddress(t *testing.T) {
	named := policy(t, true, "169.254.169.254/32")
	for _, host := range []string{"169.254.169.254", "metadata.google.internal", "metadata"} {
		_, err := named.CheckURL("http://" + host + "/")
		require.NoError(t, err, host)
	}
	_, err := named.CheckURL("http://[fd00:ec2::254]/")
	require.ErrorIs(t, err, ErrRefused)
}

func FuzzCheckURL(f *testing.F) {
	for _, hostile := range testkit.HostileURLs() {
		f.Add(hostile.URL)
	}
	f.Add("https://consumer.example:8443/a?b=%20")
	f.Add("https://[2606:2800:220:1::1]/")
	p := policy(f, false)
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := p.CheckURL(raw)
		if err != nil {
			require.ErrorIs(t, err, ErrRefused)
			return
		}
		require.Equal(t, "https", u.Scheme)
		require.Nil(t, u.User)
		require.Empty(t, u.Fragment)
		require.NotContains(t, raw, "\\")
		requirePublic(t, u.Hostname())
		again, err := p.CheckURL(u.String())
		require.NoError(t, err, "written anew")
		require.Equal(t, u.Host, again.Host, "written anew")
	})
}

// requirePublic has an opinion of its own on what a host is.
func requirePublic(t *testing.T, host string) {
	t.Helper()
	addr, err := netip.ParseAddr(host)
	if err != nil {
		require.Regexp(t, `^[A-Za-z0-9._-]+$`, host)
		require.Contains(t, strings.TrimSuffix(host, "."), ".", "a name of one label")
		require.NotRegexp(t, `(?i)(^|\.)localhost\.?$|\.(local|internal)\.?$|(^|\.)(0x[0-9a-f]*|[0-9]+)\.?$`, host)
		return
	}
	require.Empty(t, addr.Zone())
	require.False(t, addr.Is4In6())
	require.True(t, addr.IsGlobalUnicast() && !addr.IsPrivate(), "%s", addr)
	if addr.Is6() {
		require.Equal(t, byte(0x20), addr.As16()[0]&0xe0)
	}
}

func BenchmarkCheckURL(b *testing.B) {
	p := policy(b, false)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.CheckURL("https://hooks.consumer.example:8443/v1/events?tenant=7"); err != nil {
			b.Fatal(err)
		}
	}
}
