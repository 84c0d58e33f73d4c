package main

import "context"

func (b *bench) latency(context.Context) error   { return nil }
func (b *bench) isolation(context.Context) error { return nil }
func (b *bench) memory(context.Context) error    { return nil }
func (b *bench) traffic(context.Context) error   { return nil }
