package listener

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/index"
)

type nowhere struct{}

func (nowhere) Publish(context.Context, ...rabbit.Message) error { return nil }

type known []store.Candidate

func (known) Anchor(context.Context) (store.Anchor, error) { return store.Anchor{ID: "1"}, nil }

func (known) Look(_ context.Context, from store.Anchor, _ []string, events []store.EventKey) (store.Look, error) {
	return store.Look{Next: from, Exists: map[string]bool{"orders": true}, Seen: make([]bool, len(events))}, nil
}

func (k known) EachCandidate(_ context.Context, _ string, tell func(store.Candidate)) error {
	for _, c := range k {
		tell(c)
	}
	return nil
}

func (known) ResourceNames(context.Context) ([]string, error)          { return nil, nil }
func (known) FanOut(context.Context, store.EventKey) (string, error)   { return "", nil }
func (known) KeepFanOut(context.Context, store.EventKey, string) error { return nil }
func (known) MarkSeen(context.Context, []store.Mark) error             { return nil }
func (known) JoinLines(context.Context, []store.Place) error           { return nil }
func (known) Bury(context.Context, []contract.DeadLetter) error        { return nil }
func (known) LeaveLine(_ context.Context, _, _ string) error           { return nil }

// BenchmarkBatch is the listener's own work on a full batch: read, match, encode. Redis and the broker cost nothing here.
func BenchmarkBatch(b *testing.B) {
	for _, wanting := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("subscriptions=%d", wanting), func(b *testing.B) {
			var candidates known
			for i := range 10 * wanting { // one in ten wants the type
				candidates = append(candidates, store.Candidate{Subscription: fmt.Sprint("sub_", i), Types: []string{fmt.Sprintf("order.t%d", i%10)}})
			}
			l := &Listener{Store: candidates, Index: index.New(candidates, zap.NewNop()), Publisher: nowhere{}, Names: rabbit.NamesFor(""), Filters: expr.NewCache(10), Log: zap.NewNop(), Metrics: NewMetrics(prometheus.NewRegistry()), Now: time.Now}
			var batch []rabbit.Message
			for i := range maxBatch {
				batch = append(batch, binary("orders.order.t3", fmt.Sprint("e", i), "order.t3", []byte(`{"total": 1.50, "lines": [1, 2, 3]}`)))
			}
			b.ReportAllocs()
			for b.Loop() {
				l.process(never(), never(), batch)
			}
			b.ReportMetric(float64(b.N*maxBatch)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(b.N*maxBatch*wanting)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}
