package rabbit

import (
	"context"
	"testing"
)

func BenchmarkPublish100(b *testing.B) {
	url := brokerURL(b)
	c := openIn(b, url, namespace(b, url))
	// The dead queue: no broker needs to hand these on.
	messages := each(numbered(100), func(m Message) Message { return c.Names().ToDead("benchmark", m) })
	p, ctx := c.Publisher(), context.Background()
	b.Run("batch", func(b *testing.B) {
		for b.Loop() {
			if err := p.Publish(ctx, messages...); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("singly", func(b *testing.B) {
		for b.Loop() {
			for _, m := range messages {
				if err := p.Publish(ctx, m); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
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
				publish(b, c, each(numbered(min(left, 1000)), c.Names().ToCommands)...)
			}
			seen, done := 0, make(chan struct{})
			b.ResetTimer()
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
