package testkit

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// DNS is a name server that a test has in its hand.
type DNS struct {
	// Address is where it listens, as 127.0.0.1:53535.
	Address string
	conn    net.PacketConn

	mu      sync.Mutex
	names   map[string][][]string
	aliases map[string]string
	asked   map[dnsmessage.Question]int
}

// NewDNS starts a name server that knows no name.
func NewDNS(t testing.TB) *DNS {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &DNS{
		Address: conn.LocalAddr().String(), conn: conn,
		names: map[string][][]string{}, aliases: map[string]string{}, asked: map[dnsmessage.Question]int{},
	}
	done := make(chan struct{})
	go func() { defer close(done); d.serve() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return d
}

// Set gives a name addresses: a list for the first question of each kind, one for the second, and so on; the last one stays.
func (d *DNS) Set(name string, lists ...[]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[name] = lists
}

// Alias makes a name a CNAME of another one.
func (d *DNS) Alias(name, of string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.aliases[name] = of
}

// Asked is how often the IPv4 addresses of a name were asked for.
func (d *DNS) Asked(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[dnsmessage.Question{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}]
}

func (d *DNS) serve() {
	packet := make([]byte, 4096)
	for {
		n, from, err := d.conn.ReadFrom(packet)
		if err != nil {
			return
		}
		if reply := d.reply(packet[:n]); reply != nil {
			_, _ = d.conn.WriteTo(reply, from)
		}
	}
}

// reply is nil for what is no question.
func (d *DNS) reply(packet []byte) []byte {
	var parser dnsmessage.Parser
	header, err := parser.Start(packet)
	if err != nil {
		return nil
	}
	question, err := parser.Question()
	if err != nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	answers, known := d.answers(question)
	header = dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionAvailable: true}
	if !known {
		header.RCode = dnsmessage.RCodeNameError
	}
	message := dnsmessage.Message{Header: header, Questions: []dnsmessage.Question{question}, Answers: answers}
	reply, _ := message.Pack() // of our own making
	return reply
}

func (d *DNS) answers(q dnsmessage.Question) (answers []dnsmessage.Resource, known bool) {
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	owner := q.Name
	if of, is := d.aliases[name]; is {
		name, owner = of, dnsmessage.MustNewName(of+".")
		answers = append(answers, resource(q.Name, &dnsmessage.CNAMEResource{CNAME: owner}))
	}
	lists, known := d.names[name]
	nth := min(d.asked[q], len(lists)-1)
	d.asked[q]++
	if !known {
		return answers, false
	}
	for _, text := range lists[nth] {
		addr := netip.MustParseAddr(text)
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			answers = append(answers, resource(owner, &dnsmessage.AResource{A: addr.As4()}))
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			answers = append(answers, resource(owner, &dnsmessage.AAAAResource{AAAA: addr.As16()}))
		}
	}
	return answers, true
}

// resource lives for no time at all: whoever asks again may get another answer.
func resource(name dnsmessage.Name, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: body}
}
