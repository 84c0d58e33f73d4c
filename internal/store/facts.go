package store

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Facts are what Redis says of itself, for who looks after it.
type Facts struct {
	Version string
	// Role is master, or that of a replica, which takes no writes.
	Role string
	// Latency is the median of a few round trips.
	Latency time.Duration
	// Ahead is by how much Redis's clock is ahead of this machine's.
	Ahead time.Duration
	// UsedMemory and MaxMemory are in bytes; MaxMemory is zero for no bound.
	UsedMemory, MaxMemory int64
	// Policy is what Redis does when it is full: noeviction refuses writes, every other one forgets records.
	Policy string
	// AppendOnly tells whether changes are written to disk as they come.
	AppendOnly bool
	// SaveFailed says what could not be written to disk last, "" for nothing.
	SaveFailed string
}

// factPings is how many round trips are measured.
const factPings = 5

// Facts asks Redis about itself.
func (s *Store) Facts(ctx context.Context) (Facts, error) {
	var f Facts
	trips := make([]time.Duration, factPings)
	for i := range trips {
		begin := time.Now()
		if err := s.Ping(ctx); err != nil {
			return f, err
		}
		trips[i] = time.Since(begin)
	}
	slices.Sort(trips)
	f.Latency = trips[factPings/2]
	var info *redis.StringCmd
	var clock *redis.TimeCmd
	begin := time.Now()
	_, err := s.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		clock, info = pipe.Time(ctx), pipe.Info(ctx)
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("asking Redis about itself: %w", err)
	}
	f.Ahead = clock.Val().Sub(begin.Add(time.Since(begin) / 2)).Round(time.Millisecond)
	f.read(info.Val())
	return f, nil
}

// read takes the lines of INFO, NAME:VALUE each.
func (f *Facts) read(info string) {
	values := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(info)); lines.Scan(); {
		if name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":"); ok {
			values[name] = value
		}
	}
	f.Version, f.Role, f.Policy = values["redis_version"], values["role"], values["maxmemory_policy"]
	f.UsedMemory, _ = strconv.ParseInt(values["used_memory"], 10, 64) // a number, or not told
	f.MaxMemory, _ = strconv.ParseInt(values["maxmemory"], 10, 64)
	f.AppendOnly = values["aof_enabled"] == "1"
	for _, what := range []string{"aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"} {
		if status := values[what]; status != "" && status != "ok" {
			f.SaveFailed = what + " is " + status
			break
		}
	}
}
