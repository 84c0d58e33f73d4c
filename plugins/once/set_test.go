package once_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/once"
)

const life = 25 * time.Second

func want(t *testing.T, got, want error) {
	t.Helper()
	if got != want { //nolint:errorlint // the very value
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestAnIDIsTakenOnce(t *testing.T) {
	s := once.New(life, 1<<16, time.Now)
	for _, id := range []string{"st_1", "st_2", ""} {
		want(t, s.Use(id), nil)
		want(t, s.Use(id), once.ErrUsed)
	}
}

func TestOfManyWhoUseAnIDAtOnceOneMay(t *testing.T) {
	s := once.New(life, 1<<16, time.Now)
	var may atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if s.Use("st_1") == nil {
				may.Add(1)
			}
		})
	}
	all.Wait()
	if may.Load() != 1 {
		t.Fatalf("%d may", may.Load())
	}
}

// Whenever in a generation an id comes, it is remembered for its whole life, and not for ever.
func TestAnIDIsRememberedForItsLife(t *testing.T) {
	for _, into := range []time.Duration{0, time.Second, life - time.Nanosecond, life, 10 * life} {
		c := &testkit.Clock{}
		s := once.New(life, 1<<16, c.Now)
		c.Advance(into)
		want(t, s.Use("st_1"), nil)
		for step := range 25 {
			want(t, s.Use("st_1"), once.ErrUsed)
			_ = s.Use(fmt.Sprint(step)) // others turn the generations
			c.Advance(time.Second - 1)
		}
		want(t, s.Use("st_1"), once.ErrUsed)
		c.Advance(2 * life)
		want(t, s.Use("st_1"), nil)
	}
}

func TestAFullSetRefusesUntilSomeAreOver(t *testing.T) {
	const most = 6400
	c := &testkit.Clock{}
	s := once.New(life, most, c.Now)
	full := 0
	for i := range 2 * most {
		if err := s.Use(fmt.Sprint(i)); err == once.ErrFull { //nolint:errorlint // the very value
			full++
		} else {
			want(t, err, nil)
		}
	}
	if full < most {
		t.Fatalf("only %d of %d were refused", full, 2*most)
	}
	want(t, s.Use("0"), once.ErrUsed)
	c.Advance(2 * life)
	want(t, s.Use("new"), nil)
}

func BenchmarkUse(b *testing.B) {
	s := once.New(time.Second, 1<<20, time.Now)
	ids := make([]string, 1<<16)
	for i := range ids {
		ids[i] = fmt.Sprintf("st_%026d", i)
	}
	var next atomic.Uint32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = s.Use(ids[next.Add(1)%(1<<16)])
		}
	})
}
