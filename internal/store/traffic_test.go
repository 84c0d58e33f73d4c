package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

const perBatch = 100

// work is a world of subscriptions whose deliveries come in batches.
type work struct {
	*Store

	subs, batches int
	ordered       bool
}

func newWork(tb testing.TB, s *Store, subs int, ordered bool) *work {
	tb.Helper()
	policy := contract.Resource{Name: "orders", Policy: []byte(`{"retry_schedule":["5s"]}`)}
	_, err := s.PutResource(ctx, policy)
	require.NoError(tb, err)
	for i := range subs {
		_, _, err := s.CreateSubscription(ctx, subscription(fmt.Sprint("sub_", i)))
		require.NoError(tb, err)
	}
	return &work{s, subs, 0, ordered}
}

// batch does for deliveries what the listener and the engine do with Redis.
func (w *work) batch(tb testing.TB) {
	tb.Helper()
	w.batches++
	events, places := make([]EventKey, perBatch), []Place{}
	asked, records := make([]Pending, perBatch), make([]Record, perBatch)
	for i := range perBatch {
		id := fmt.Sprintf("dlv_%06d_%03d", w.batches, i)
		d := delivery(id, time.Duration(w.batches)*time.Millisecond, contract.DeliverySucceeded, attempt(1))
		d.Subscription = fmt.Sprint("sub_", i%w.subs)
		events[i], asked[i], records[i].Delivery = EventKey{"orders", "/s", id}, Pending{id, d.Subscription, "orders", ""}, d
		if w.ordered {
			asked[i].Line, records[i].Line = "line_"+id, "line_"+id
			places = append(places, Place{"line_" + id, id})
		}
	}
	_, err := w.Look(ctx, Anchor{}, []string{"orders"}, events)
	require.NoError(tb, err)
	require.NoError(tb, w.JoinLines(ctx, places))
	require.NoError(tb, w.MarkSeen(ctx, marked(events, 1)))
	standings, err := w.Standings(ctx, asked)
	require.NoError(tb, err)
	require.Nil(tb, standings[0].Ahead)
	require.NoError(tb, w.Record(ctx, records))
}

// served counts the commands that Redis served, those inside scripts included.
func served(tb testing.TB, s *Store) (n int) {
	tb.Helper()
	stats, err := s.rdb.Info(ctx, "commandstats").Result()
	require.NoError(tb, err)
	for line := range strings.Lines(stats) {
		var calls int
		name, rest, _ := strings.Cut(line, ":")
		if _, err := fmt.Sscanf(rest, "calls=%d,", &calls); err == nil && !strings.HasPrefix(name, "cmdstat_info") {
			n += calls
		}
	}
	return n
}

// spent is the CPU time that Redis used, in seconds.
func spent(tb testing.TB, s *Store) (seconds float64) {
	tb.Helper()
	usage, err := s.rdb.Info(ctx, "cpu").Result()
	require.NoError(tb, err)
	for line := range strings.Lines(usage) {
		var used float64
		name, rest, _ := strings.Cut(line, ":")
		if _, err := fmt.Sscanf(rest, "%g", &used); err == nil && (name == "used_cpu_sys" || name == "used_cpu_user") {
			seconds += used
		}
	}
	return seconds
}

// The figure: at most 4 commands and a tenth of a round trip per delivery, all processes and all that is inside
// scripts included.
func TestTrafficPerDelivery(t *testing.T) {
	for _, subs := range []int{1, 50, perBatch} {
		s := openAs(t, testkit.StartRedis(t).URL, "test")
		w := newWork(t, s, subs, false)
		w.batch(t) // scripts are loaded, caches filled
		const batches = 20
		commands, trips := s.Traffic()
		before := served(t, s)
		for range batches {
			w.batch(t)
		}
		after := served(t, s)
		c, r := s.Traffic()
		perDelivery := func(n float64) float64 { return n / batches / perBatch }
		inside, sent, tripped := perDelivery(float64(after-before)), perDelivery(float64(c-commands)), perDelivery(float64(r-trips))
		t.Logf("%d subscriptions: per delivery %.2f commands served, %.2f sent, %.3f round trips", subs, inside, sent, tripped)
		require.LessOrEqual(t, inside, 4.0)
		require.LessOrEqual(t, sent, 4.0)
		require.LessOrEqual(t, tripped, 0.1)
	}
}

func TestTrafficIsCounted(t *testing.T) {
	s := open(t)
	require.NoError(t, s.Ping(ctx))
	_, err := s.Look(ctx, Anchor{}, []string{"a", "b"}, nil)
	require.NoError(t, err)
	c, r := s.Traffic()
	require.EqualValues(t, 4, c)
	require.EqualValues(t, 2, r)
}

func BenchmarkDeliveries(b *testing.B) {
	for _, ordered := range []bool{false, true} {
		b.Run(map[bool]string{false: "unordered", true: "ordered"}[ordered], func(b *testing.B) {
			s, err := Open(Options{URL: testkit.StartRedis(b).URL, Namespace: testkit.Namespace(b), Keyring: oneRing})
			require.NoError(b, err)
			defer s.Close()
			w := newWork(b, s, 50, ordered)
			w.batch(b)
			before, used := served(b, s), spent(b, s)
			c, r := s.Traffic()
			b.ReportAllocs()
			for b.Loop() {
				w.batch(b)
			}
			commands, trips := s.Traffic()
			used = spent(b, s) - used
			deliveries := float64(b.N) * perBatch
			b.ReportMetric(float64(served(b, s)-before)/deliveries, "served/delivery")
			b.ReportMetric(float64(commands-c)/deliveries, "sent/delivery")
			b.ReportMetric(float64(trips-r)/deliveries, "trips/delivery")
			b.ReportMetric(used*1e9/deliveries, "redis-ns/delivery")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/deliveries, "ns/delivery")
		})
	}
}
