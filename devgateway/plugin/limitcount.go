package plugin

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
)

// LimitCount is how many calls one address may make in a fixed window.
type LimitCount struct {
	Count        int64  `yaml:"count"`
	TimeWindow   int64  `yaml:"time_window"` // seconds
	Key          string `yaml:"key"`
	RejectedCode int    `yaml:"rejected_code"`
	Policy       string `yaml:"policy"`
}

func addLimitCount(c *Chain, p config.Plugin) error {
	l := &LimitCount{Key: "remote_addr", RejectedCode: 503, Policy: "local"}
	c.LimitCount = l
	if err := config.Strict(p.Path, p.Raw, l); err != nil {
		return err
	}
	switch {
	case l.Count <= 0 || l.TimeWindow <= 0:
		return fmt.Errorf("%s: count and time_window must be above 0", p.Path)
	case l.Key != "remote_addr":
		return fmt.Errorf("%s.key is %q: devgateway knows remote_addr only", p.Path, l.Key)
	case l.Policy != "local":
		return fmt.Errorf("%s.policy is %q: devgateway knows local only", p.Path, l.Policy)
	case l.RejectedCode < 200 || l.RejectedCode > 599:
		return fmt.Errorf("%s.rejected_code is %d: use 200 to 599", p.Path, l.RejectedCode)
	}
	return nil
}

// Limiter counts for one route. Its counters outlive a reload that does not change the configuration.
type Limiter struct {
	LimitCount
	now     func() time.Time
	windows sync.Map // netip.Addr → *window
	size    atomic.Int64
}

// maxWindows is when a limiter looks for windows that have ended.
const maxWindows = 10_000

type window struct {
	end  time.Time
	used atomic.Int64
}

// NewLimiter makes a limiter with a clock.
func NewLimiter(conf LimitCount, now func() time.Time) *Limiter {
	return &Limiter{LimitCount: conf, now: now}
}

// Quota is the answer of a limiter.
type Quota struct {
	Allowed   bool
	Remaining int64
	Reset     time.Duration
}

// Take counts one call of addr.
func (l *Limiter) Take(addr netip.Addr) Quota {
	now := l.now()
	w := l.window(addr, now)
	used := w.used.Add(1)
	return Quota{
		Allowed:   used <= l.Count,
		Remaining: max(0, l.Count-used),
		Reset:     max(0, w.end.Sub(now)),
	}
}

func (l *Limiter) window(addr netip.Addr, now time.Time) *window {
	for {
		old, found := l.windows.Load(addr)
		if found && now.Before(old.(*window).end) {
			return old.(*window)
		}
		fresh := &window{end: now.Add(time.Duration(l.TimeWindow) * time.Second)}
		if found && l.windows.CompareAndSwap(addr, old, fresh) {
			return fresh
		}
		if found {
			continue
		}
		if _, raced := l.windows.LoadOrStore(addr, fresh); !raced {
			l.sweep(now)
			return fresh
		}
	}
}

// sweep drops ended windows now and then, so that many addresses do not fill the memory.
func (l *Limiter) sweep(now time.Time) {
	if l.size.Add(1)%maxWindows != 0 {
		return
	}
	l.windows.Range(func(addr, w any) bool {
		if !now.Before(w.(*window).end) && l.windows.CompareAndDelete(addr, w) {
			l.size.Add(-1)
		}
		return true
	})
}

// ResetSeconds writes the rest of a window as APISIX does: seconds, cut to two places.
func ResetSeconds(d time.Duration) string {
	return strconv.FormatFloat(math.Floor(d.Seconds()*100)/100, 'f', -1, 64)
}
