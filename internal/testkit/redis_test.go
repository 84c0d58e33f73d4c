package testkit

import (
	"net"
	"net/url"
	"testing"
)

func TestAPrivateRedisAnswersAndStops(t *testing.T) {
	server := StartRedis(t)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if !pong(c) {
		t.Fatal("no answer")
	}
	server.Stop()
	server.Stop()
	if c, err := net.Dial("tcp", u.Host); err == nil {
		_ = c.Close()
		t.Fatal("it answers after Stop")
	}
}

func TestNamespacesDiffer(t *testing.T) {
	if a, b := Namespace(t), Namespace(t); a == b {
		t.Fatalf("both are %q", a)
	}
}
