package pass_test

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
)

func book() (*pass.Book, *testkit.Clock) { c := &testkit.Clock{}; return pass.NewBook(c.Now), c }
func grant() pass.Grant {
	return pass.Grant{Target: &url.URL{Host: "a.example"}, Timeouts: contract.Timeouts{Total: contract.Duration(time.Second)}}
}
func issue(t testing.TB, b *pass.Book) string {
	t.Helper()
	p, err := b.Issue(grant())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPassOpensItsGrantOnce(t *testing.T) {
	b, _ := book()
	p := issue(t, b)
	if g, ok := b.Redeem(p); !ok || g.Target.Host != "a.example" || time.Duration(g.Timeouts.Total) != time.Second {
		t.Fatalf("got %+v, %t", g, ok)
	}
	if _, ok := b.Redeem(p); ok {
		t.Fatal("it opens twice")
	}
	if n := b.Outstanding(); n != 0 {
		t.Fatalf("%d outstanding", n)
	}
}

func TestOnlyOneOfManyRedeems(t *testing.T) {
	b, _ := book()
	p := issue(t, b)
	var opened atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if _, ok := b.Redeem(p); ok {
				opened.Add(1)
			}
		})
	}
	wg.Wait()
	if opened.Load() != 1 {
		t.Fatalf("it opened %d times", opened.Load())
	}
}

func TestWhatIsNoPassOpensNothing(t *testing.T) {
	b, _ := book()
	p := issue(t, b)
	for _, forged := range []string{"", "x", p[:31], p + "0", strings.Repeat("0", 32), strings.Repeat("z", 32), p + " "} {
		if _, ok := b.Redeem(forged); ok {
			t.Errorf("%q opens", forged)
		}
	}
}

func TestAPassExpires(t *testing.T) {
	b, c := book()
	in, late := issue(t, b), issue(t, b)
	c.Advance(pass.Life - 1)
	if _, ok := b.Redeem(in); !ok {
		t.Error("it is refused before its end")
	}
	c.Advance(1)
	if _, ok := b.Redeem(late); ok {
		t.Error("it opens after its end")
	}
}

func TestAPassSurvivesTheTurnOfGenerationsAndNotItsEnd(t *testing.T) {
	b, c := book()
	c.Advance(pass.Life / 2)
	p, q := issue(t, b), issue(t, b)
	c.Advance(pass.Life * 3 / 4) // the generations have turned, the passes still hold
	if _, ok := b.Redeem(p); !ok {
		t.Error("it is refused after three quarters of its life")
	}
	c.Advance(pass.Life)
	if _, ok := b.Redeem(q); ok {
		t.Error("it opens after its end")
	}
}

func TestTheBookIsBoundedAndForgetsWhatIsNeverRedeemed(t *testing.T) {
	b, c := book()
	for range pass.MaxOutstanding {
		issue(t, b)
	}
	if _, err := b.Issue(grant()); !errors.Is(err, pass.ErrFull) {
		t.Fatalf("got %v", err)
	}
	c.Advance(pass.Life)
	for range 2000 { // touches every shard
		_, _ = b.Issue(grant())
	}
	c.Advance(pass.Life)
	for range 2000 {
		issue(t, b)
	}
	if n := b.Outstanding(); n > 4000 {
		t.Fatalf("%d outstanding", n)
	}
}

func BenchmarkIssueAndRedeem(b *testing.B) {
	book := pass.NewBook(time.Now)
	g := grant()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _ := book.Issue(g)
			book.Redeem(p)
		}
	})
}
