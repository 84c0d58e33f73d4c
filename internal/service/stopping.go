package service

import (
	"context"
	"net"
	"net/http"
)

type stoppingKey struct{}

// Stopping returns a channel that is closed once the server of a call takes no more of them: an answer that has no end of its own
// ends then, for the server waits for it. It is nil, which is never, outside of a call to a server of Listen.
func Stopping(ctx context.Context) <-chan struct{} {
	stopping, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return stopping
}

// tellsStopping makes a server tell its calls.
func tellsStopping(server *http.Server) {
	stopping, stop := context.WithCancel(context.Background())
	server.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.Background(), stoppingKey{}, stopping.Done())
	}
	server.RegisterOnShutdown(stop)
}
