package rabbit

import (
	"context"
	"fmt"
	"syscall"
	"testing"
)

// cpu makes the benchmark tell what an operation costs this process: the time it takes is mostly the broker's.
func cpu(b *testing.B) {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	b.Cleanup(func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") })
}

// realistic are n messages as a command is.
func realistic(n int) []Message {
	messages := numbered(n)
	for i := range messages {
		messages[i].Body = fmt.Appendf(nil, "%0400d", i)
		messages[i].Headers = map[string]any{
			"cloudEvents_id": "0198a1f2-7d5e-7000-8000-000000000000", "cloudEvents_type": "order.created", "cloudEvents_source": "/orders",
			"cloudEvents_specversion": "1.0", "x-webhook-subscription": "sub_0123456789abcdef", "x-webhook-attempt": int64(1),
			"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		}
	}
	return messages
}

// One operation is one message published and confirmed.
func BenchmarkPublish(b *testing.B) {
	url := brokerURL(b)
	c := openIn(b, url, namespace(b, url))
	for _, size := range []int{1, 20, 200} {
		b.Run(fmt.Sprint("by ", size), func(b *testing.B) {
			// The dead queue: the broker has nothing to hand on.
			messages := each(realistic(size), func(m Message) Message { m.Exchange = c.Names().Dead; return m })
			b.ReportAllocs()
			cpu(b)
			for done := 0; done < b.N; done += size {
				if err := c.Publisher().Publish(context.Background(), messages...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// One operation is one message consumed and acknowledged.
func BenchmarkConsume(b *testing.B) {
	for name, settle := range map[string]func([]*Delivery){
		"batch": AckAll,
		"singly": func(batch []*Delivery) {
			for _, d := range batch {
				d.Ack()
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			url := brokerURL(b)
			c := openIn(b, url, namespace(b, url))
			for left := b.N; left > 0; left -= 1000 {
				publish(b, c, each(realistic(min(left, 1000)), c.Names().ToCommands)...)
			}
			seen, done := 0, make(chan struct{})
			b.ReportAllocs()
			b.ResetTimer()
			cpu(b)
			stop := consuming(b, c, c.Names().Commands, ConsumeOptions{Prefetch: 500}, func(_ context.Context, batch []*Delivery) {
				settle(batch)
				if seen += len(batch); seen == b.N {
					close(done)
				}
			})
			receive(b, done)
			b.StopTimer()
			if err := stop(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
