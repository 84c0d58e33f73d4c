package main

import (
	"context"
	"errors"
)

var (
	errEgress   = errors.New("the egress does not listen: another process holds its port")
	errSettings = errors.New("the environment is not right: the log says why")
)

// observe registers what there is of every runner, and what makes one ready.
func (p *process) observe(fault error) {
	p.registry.MustRegister(p.health, p.gate, p.book)
	p.health.Check("environment", func(context.Context) error {
		if fault != nil {
			return errSettings
		}
		return nil
	})
	if fault != nil {
		return
	}
	p.health.Check("egress", func(context.Context) error {
		if p.server == nil || !p.server.Ready() {
			return errEgress
		}
		return nil
	})
	p.health.Check("redis", func(ctx context.Context) error { return p.parts.store.Ping(ctx) })
}
