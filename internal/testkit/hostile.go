package testkit

import "strings"

// HostileURL is a callback URL that must be refused before anything is looked up or dialled.
type HostileURL struct {
	URL string
	// Says is a part of what is said of it.
	Says string
	// Opened says that it is fine where the admin has opened loopback and http, as `make up` does.
	Opened bool
}

// HostileURLs are ways into a private network by the spelling of a URL, and what else no callback may go to.
func HostileURLs() []HostileURL {
	var all []HostileURL
	for _, group := range hostileURLs {
		for _, url := range group.urls {
			all = append(all, HostileURL{url, group.says, group.opened})
		}
	}
	return all
}

var hostileURLs = []struct {
	says   string
	opened bool
	urls   []string
}{
	{"http", true, []string{"http://consumer.example/", "HTTP://consumer.example:80/x?y=z", "http://93.184.216.34/"}},
	{"relative", false, []string{"/hooks", "hooks", "//127.0.0.1/", "//consumer.example/", "consumer.example", "127.0.0.1/x", "?x=https://consumer.example/",
		"www.consumer.example/https://consumer.example/"}},
	{"scheme", false, []string{"ftp://consumer.example/", "file:///etc/passwd", "file://127.0.0.1/etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL",
		"dict://127.0.0.1:11211/stat", "ldap://consumer.example/", "jar:https://consumer.example!/", "javascript:alert(1)", "data:text/html,x",
		"unix:///run/docker.sock", "ws://consumer.example/", "wss://consumer.example/", "view-source:https://consumer.example/", "netdoc:///etc/passwd",
		"localhost:8080/x", "httpss://consumer.example/", "http+unix://run/docker.sock"}},
	{"not a URL", false, []string{"https://consumer.example:http/", "https://consumer.example:-1/", "https://consumer.example/%zz", "https://[::1/", "https://::1]/",
		"https://[::1]x/", "https://127.0.0.1:80:443/", "https://%31%32%37.0.0.1/", "https://127%2e0%2e0%2e1/", "https://%6c%6f%63%61%6c%68%6f%73%74/",
		"https://consumer.example%40127.0.0.1/", "https://consumer.example%00.evil.example/", "://consumer.example/",
		"https://[fe80::1%eth0]/", "https://[v1.fe80::a+en1]/", "https://[127.0.0.1]/", "https://[localhost]/", "https://[]/"}},
	{"space, a control character or a backslash", false, []string{"https://consumer.example/a b", " https://127.0.0.1/", "https://127.0.0.1 /", "https://consumer.example/\n",
		"https://consumer.example/\r\nHost: 127.0.0.1", "https://127.0.0.1\t/", "htt\tps://127.0.0.1/", "https:\n//127.0.0.1/", "https://consumer.example\\@127.0.0.1/",
		"https:\\\\127.0.0.1\\x", "https:/\\127.0.0.1/", "https://127.0.0.1\\.consumer.example/", "https://consumer.example/\x00"}},
	{"//", false, []string{"https:consumer.example", "https:127.0.0.1/"}},
	{"no host", false, []string{"https://", "https:///127.0.0.1/", "https:/127.0.0.1/", "https://:443/", "https://?x", "https:////127.0.0.1/"}},
	{"credentials", false, []string{"https://user:pw@consumer.example/", "https://user@consumer.example/", "https://@consumer.example/", "https://:@consumer.example/",
		"https://consumer.example@127.0.0.1/", "https://consumer.example:443@127.0.0.1/", "https://127.0.0.1@consumer.example/",
		"https://a@b@127.0.0.1/", "https://127.0.0.1%2f@consumer.example/", "https://consumer.example%2f@127.0.0.1/", "https://consumer.example%23@127.0.0.1/", "https://%5B::1%5D@consumer.example/",
		"https://consumer.example;@127.0.0.1/", "https://consumer.example&@127.0.0.1/"}},
	{"fragment", false, []string{"https://consumer.example/#x", "https://consumer.example/#", "https://127.0.0.1#@consumer.example/", "https://consumer.example#@127.0.0.1/",
		"https://consumer.example/?x#@127.0.0.1"}},
	{"port", false, []string{"https://consumer.example:/", "https://consumer.example:0/", "https://consumer.example:1/", "https://consumer.example:22/", "https://consumer.example:25/",
		"https://consumer.example:53/", "https://consumer.example:1023/", "https://consumer.example:2375/", "https://consumer.example:5672/",
		"https://consumer.example:6379/", "https://consumer.example:9200/", "https://consumer.example:11211/", "https://consumer.example:65536/",
		"https://consumer.example:4294967739/", "https://consumer.example:0443/", "https://consumer.example:00000000000443/", "https://[2606:2800:220:1::1]:22/"}},
	{"number", false, []string{"https://2130706433/", "https://017700000001/", "https://0x7f000001/", "https://0X7F000001/", "https://0x7f.1/", "https://0x7f.0x0.0x0.0x1/",
		"https://127.1/", "https://127.0.1/", "https://0177.0.0.1/", "https://0177.0.0.01/", "https://127.0.0.01/", "https://127.000.000.001/", "https://127.0.0.1./",
		"https://0/", "https://00/", "https://0x/", "https://0x0/", "https://1.2.3.4.5/", "https://256.256.256.256/", "https://127.0.0.0x1/", "https://2852039166/",
		"https://0xa9fea9fe/", "https://0251.0376.0251.0376/", "https://169.254.43518/", "https://425.510.425.510/", "https://7147006462/", "https://3232235777/",
		"https://consumer.example.1/", "https://consumer.example.0x7f/", "https://localhost.0/"}},
	{"DNS name", false, []string{"https://bücher.example/", "https://127。0。0。1/", "https://①②⑦.⓪.⓪.①/", "https://１２７.0.0.1/", "https://ｌｏｃａｌｈｏｓｔ/", "https://loc\u00adalhost/",
		"https://localhost\u200b/", "https://ⓛocalhost/", "https://localhoſt/", "https://consumer．example/", "https://consumer\u2024example/", "https://évil.example/",
		"https://a..b/", "https://.consumer.example/", "https://consumer.example../", "https://-a.example/", "https://a-.example/", "https://127.0.0.1../", "https://*.example/",
		"https://a,b.example/", "https://consumer.example;127.0.0.1/", "https://a$b.example/", "https://a!b.example/", "https://(127.0.0.1)/", "https://<127.0.0.1>/", "https://~/", "https://a%25b.example/",
		"https://a%C2%ADb.example/", "https://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1/", "https://" + strings.Repeat("a", 64) + ".example/", "https://" + strings.Repeat("a.", 130) + "example/"}},
	{"longer", false, []string{"https://consumer.example/" + strings.Repeat("a", 2048)}},
	{"private", true, []string{"https://127.0.0.1/", "https://127.0.0.1:8443/x", "https://127.8.9.10/", "https://127.255.255.254/", "https://[::1]/", "https://[0:0:0:0:0:0:0:1]/",
		"https://[0000:0000:0000:0000:0000:0000:0000:0001]/", "https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://localhost:8443/", "https://a.localhost/",
		"https://a.b.LocalHost./", "https://localhost.localdomain/", "https://localhost4/", "https://localhost6.localdomain6/", "https://ip6-localhost/", "https://ip6-loopback/"}},
	{"private", true, []string{"https://intranet/", "https://redis/", "https://gateway./", "https://printer.local/", "https://db.internal/", "https://nas.home.arpa/", "https://router.lan/",
		"https://wiki.corp/", "https://x.intranet/", "https://kubernetes.default.svc/", "https://kubernetes.default.svc.cluster.local/", "https://vm.localdomain/"}},
	{"private", false, []string{"https://0.0.0.0/", "https://0.1.2.3/", "https://10.0.0.1/", "https://10.255.255.255/", "https://100.64.0.1/", "https://100.127.255.255/",
		"https://169.254.0.1/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.0.0.1/", "https://192.0.0.170/", "https://192.0.2.1/", "https://192.31.196.1/",
		"https://192.52.193.1/", "https://192.88.99.1/", "https://192.168.0.1/", "https://192.175.48.1/", "https://198.18.0.1/", "https://198.19.255.255/", "https://198.51.100.1/",
		"https://203.0.113.1/", "https://224.0.0.1/", "https://239.255.255.255/", "https://240.0.0.1/", "https://255.255.255.255/"}},
	{"private", false, []string{"https://169.254.169.254/latest/meta-data", "https://169.254.170.2/v2/credentials", "https://169.254.170.23/", "https://168.63.129.16/",
		"https://100.100.100.200/", "https://192.0.0.192/", "https://[fd00:ec2::254]/", "https://[fd00:ec2::23]/", "https://[fd20:ce::254]/", "https://[fd00:42::42]/",
		"https://metadata/", "https://metadata.google.internal/computeMetadata/v1/", "https://METADATA.google.internal./", "https://metadata.goog/", "https://instance-data/",
		"https://instance-data.ec2.internal/", "https://metadata.azure.internal/", "https://metadata.tencentyun.com/", "https://metadata.packet.net/"}},
	{"private", false, []string{"https://[::]/", "https://[0:0::0]/", "https://[::2]/", "https://[::127.0.0.1]/", "https://[::93.184.216.34]/", "https://[::7f00:1]/", "https://[64:ff9b::7f00:1]/",
		"https://[64:ff9b::169.254.169.254]/", "https://[64:ff9b::93.184.216.34]/", "https://[64:ff9b:1::10.0.0.1]/", "https://[2002:7f00:1::]/", "https://[2002:a9fe:a9fe::1]/",
		"https://[2002:5db8:d822::1]/", "https://[2001:0:5db8:d822::80ff:fffe]/", "https://[2001::1]/", "https://[2606:2800:220:1:0:5efe:10.0.0.1]/",
		"https://[2606:2800:220:1:200:5efe:7f00:1]/", "https://[2001:db8::1]/", "https://[2001:2::1]/", "https://[2001:20::1]/", "https://[3fff::1]/", "https://[5f00::1]/",
		"https://[100::1]/", "https://[fc00::1]/", "https://[fd12:3456::1]/", "https://[fe80::1]/", "https://[febf::1]/", "https://[fec0::1]/", "https://[ff02::1]/",
		"https://[ff05::2]/", "https://[4000::1]/", "https://[2620:4f:8000::1]/"}},
	{"form of an IPv6", false, []string{"https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::FFFF:169.254.169.254]/", "https://[0:0:0:0:0:ffff:10.0.0.1]/",
		"https://[::ffff:93.184.216.34]/"}},
	{"zone", false, []string{"https://[fe80::1%25eth0]/", "https://[::1%25lo]/", "https://[2606:2800:220:1::1%25eth0]/", "https://[fe80::1%251]/"}},
}
