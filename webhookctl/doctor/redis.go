package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// latencyWarning and latencyFault are round trips to Redis: every subscribe call makes several.
	latencyWarning, latencyFault = 10 * time.Millisecond, 200 * time.Millisecond
	// memoryWarning is the part of maxmemory that may be in use.
	memoryWarning = 0.8
)

// redis looks at Redis as it says it is.
func redis(ctx context.Context, p Patient, e *examination) {
	if p.RedisURL == "" {
		e.skip("reachable", "set REDIS_URL to have Redis looked at")
		return
	}
	s, err := store.Open(store.Options{URL: p.RedisURL, Namespace: p.Namespace, TLS: p.Redis, Timeout: p.Timeout})
	if err != nil {
		e.fault("reachable", err.Error(), "mend REDIS_URL")
		return
	}
	defer func() { _ = s.Close() }() // nothing is under way
	facts, err := s.Facts(ctx)
	if err != nil {
		e.fault("reachable", err.Error(), "start Redis, or mend REDIS_URL: its host, port, user and password")
		return
	}
	e.fine("reachable", "Redis "+facts.Version)
	e.version(facts.Version, 6, 2)
	e.clock(facts.Ahead)
	e.latency(facts.Latency)
	e.memory(facts)
	e.disk(facts)
	if err := s.Writable(ctx); err != nil {
		e.fault("takes writes", err.Error(), "look at Redis's log: it is full, a replica, or can't save")
		return
	}
	e.fine("takes writes", "")
}

func (e *examination) version(text string, major, minor int) {
	parts := strings.Split(text+".0.0", ".")
	a, _ := strconv.Atoi(parts[0]) // a version that can't be read counts as an old one
	b, _ := strconv.Atoi(parts[1])
	if a < major || a == major && b < minor {
		e.warn("version", text, fmt.Sprintf("use %d.%d or later: older ones are not tested", major, minor))
	}
}

func (e *examination) latency(trip time.Duration) {
	detail := trip.Round(10 * time.Microsecond).String()
	const fix = "bring Redis nearer, or look at what slows it: SLOWLOG, swapping, a slow disk"
	switch {
	case trip > latencyFault:
		e.fault("round trip", detail, fix)
	case trip > latencyWarning:
		e.warn("round trip", detail, fix)
	default:
		e.fine("round trip", detail)
	}
}

func (e *examination) memory(f store.Facts) {
	if f.Policy != "noeviction" {
		e.fault("maxmemory-policy", f.Policy+": when it is full, Redis forgets subscriptions", "CONFIG SET maxmemory-policy noeviction, and in redis.conf")
	} else {
		e.fine("maxmemory-policy", f.Policy)
	}
	if f.MaxMemory == 0 {
		e.fine("memory", fmt.Sprintf("%d MiB in use, no bound", f.UsedMemory>>20))
		return
	}
	detail := fmt.Sprintf("%d of %d MiB in use", f.UsedMemory>>20, f.MaxMemory>>20)
	if float64(f.UsedMemory) > memoryWarning*float64(f.MaxMemory) {
		e.warn("memory", detail, "raise maxmemory: when it is full, nothing can be written")
		return
	}
	e.fine("memory", detail)
}

func (e *examination) disk(f store.Facts) {
	switch {
	case f.Role != "master":
		e.fault("role", f.Role, "REDIS_URL must lead to the primary: a replica takes no writes")
	case f.SaveFailed != "":
		e.fault("persistence", f.SaveFailed, "look at Redis's log: its disk may be full")
	case !f.AppendOnly:
		e.warn("persistence", "there is no append-only file: a crash of Redis loses what was written since the last snapshot", "appendonly yes, appendfsync everysec")
	default:
		e.fine("persistence", "append-only file")
	}
}
