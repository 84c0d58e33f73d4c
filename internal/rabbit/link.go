package rabbit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"
)

const (
	dialTimeout  = 10 * time.Second // TCP, TLS and AMQP handshake
	closeTimeout = 5 * time.Second  // the closing handshake
	retryMax     = 2 * time.Second  // between two attempts to connect
)

// ErrClosed is wrapped by the errors of what was asked after Close.
var ErrClosed = errors.New("broker connection closed")

// ErrUnavailable is wrapped by the errors of what was asked while the broker is away or blocks
// publishers because it is short of memory or disk. It passes by itself.
var ErrUnavailable = errors.New("broker unavailable")

// link is one connection that recovers for ever. The recovery is the library's: it dials again,
// reopens every channel, restores prefetch and confirm mode, and declares again what was declared.
// Link adds what the library leaves to its hooks:
//
//   - It retries without end from OnConnectionClose, one library attempt at a time. The library's
//     own count, set to practically endless, also governs a loop inside each attempt that reopens
//     channels; a connection that breaks again right there would keep it there for ever.
//   - Both hooks run before the library touches the channels again. They cut off publishers and
//     acknowledgements first: the library itself would let their frames into the opening handshake
//     of a channel, and old delivery tags onto the new channel.
//   - A channel that the broker closes takes the connection down with it, so that there is one way
//     of recovery and not two that can run at the same time.
type link struct {
	name string
	// label is what metrics call it.
	label string
	log   *zap.Logger
	conn  *amqp.Connection

	// before and after run around the library's recovery of the topology; stop when it is lost.
	before, stop func()
	after        func() error
	// restored runs beside the link once it is up again after a loss; it ends with ctx.
	restored  func()
	restoring sync.WaitGroup

	ctx    context.Context // ends with close: no more dialling
	cancel context.CancelFunc
	gone   chan struct{} // closed when the library has released everything
	once   sync.Once

	mu      sync.RWMutex // read-held while frames of a publish are written
	up      bool
	downs   int
	lost    chan struct{} // closed when this incarnation ends
	cause   error         // of the last loss
	blocked atomic.Pointer[string]

	recoverMu  sync.Mutex
	recovering bool

	metrics  *Metrics
	socketMu sync.Mutex
	socket   *socket
}

// dial makes one attempt. The setup opens channels and declares; it runs before the link counts as up.
func (l *link) dial(ctx context.Context, to endpoint, setup func(*amqp.Connection) error) error {
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.gone, l.lost, l.cause = make(chan struct{}), make(chan struct{}), ErrUnavailable
	abort := context.AfterFunc(ctx, func() { l.cancel(); l.dropSocket() })
	defer abort()

	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(l.name)
	conn, err := amqp.DialConfig(to.url, amqp.Config{
		Properties: properties,
		SASL:       to.sasl(),
		Dial:       func(network, addr string) (net.Conn, error) { return l.dialSocket(to, network, addr) },
		Recovery: &amqp.Recovery{
			ReconnectionConfig:    &amqp.ReconnectionConfig{MaxRetryCount: 1}, // see link
			ConnectionRecovery:    (*recovery)(l),
			TopologyRecovery:      (*recovery)(l),
			OnTopologyEntityError: l.refuse,
		},
	})
	if err != nil {
		l.cancel()
		l.dropSocket()
		return fmt.Errorf("connecting to the broker: %w", err)
	}
	l.conn = conn
	go l.watchBlocked(conn.NotifyBlocked(make(chan amqp.Blocking, 1)))
	if err := setup(conn); err != nil {
		// Not with a closing handshake: after it the library keeps a goroutine for each channel that
		// the broker has closed.
		l.cancel()
		l.dropSocket()
		// The library tells nobody of a loss between the end of its handshake and the moment from which it listens for losses.
		(*recovery)(l).OnConnectionClose(conn, amqp.ErrClosed)
		return errors.Join(err, l.awaitRelease())
	}
	l.rise(true)
	return nil
}

// dialPlain makes a connection that does not recover, and breaks when ctx ends.
func dialPlain(ctx context.Context, to endpoint, name string) (*amqp.Connection, error) {
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(name)
	return amqp.DialConfig(to.url, amqp.Config{Properties: properties, SASL: to.sasl(), Dial: func(network, addr string) (net.Conn, error) {
		c, err := to.dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = c.Close() })
		s := newSocket(c, nil)
		return s, s.SetDeadline(time.Now().Add(dialTimeout)) // lifted by the library once the connection is open
	}})
}

// dialSocket replaces the library's dialler, which can't be interrupted.
func (l *link) dialSocket(to endpoint, network, addr string) (net.Conn, error) {
	c, err := to.dial(l.ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s := newSocket(c, &l.metrics.frames)
	// The library lifts it once the connection is open.
	if err := s.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		_ = c.Close()
		return nil, err
	}
	l.socketMu.Lock()
	defer l.socketMu.Unlock()
	l.socket = s
	return s, nil
}

func (l *link) dropSocket() {
	l.socketMu.Lock()
	defer l.socketMu.Unlock()
	if l.socket != nil {
		_ = l.socket.Close()
	}
}

// cork holds back what is written to the link, so that many frames are one write, until the function it returns is called.
// The library has been told that they were written: if that fails, the connection goes.
func (l *link) cork() (uncork func() error) {
	l.socketMu.Lock()
	s := l.socket
	l.socketMu.Unlock()
	s.cork()
	return func() error {
		err := s.uncork()
		if err != nil {
			_ = s.Close()
		}
		return err
	}
}

// refuse makes recovery start over when something can't be restored: half a topology would leave
// a consumer that never gets a message, on a connection that looks healthy.
func (l *link) refuse(_ *amqp.Connection, e amqp.TopologyRecoveryEntity) bool {
	l.log.Warn("broker: restoring failed, trying again", zap.Error(e))
	return false
}

func (l *link) watchBlocked(blocks <-chan amqp.Blocking) {
	defer close(l.gone)
	for b := range blocks {
		if b.Active {
			l.log.Warn("broker: publishers are blocked", zap.String("reason", b.Reason))
			l.block(&b.Reason)
		} else {
			l.log.Info("broker: publishers are unblocked")
			l.block(nil)
		}
	}
}

// block notes why the broker blocks publishers; nil: it does not.
func (l *link) block(reason *string) {
	l.blocked.Store(reason)
	if l.label == publishing {
		l.metrics.blocks(reason != nil)
	}
}

// rise marks the link usable. The first time, only if it wasn't lost since: recovery is under way then.
func (l *link) rise(first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up || first && l.downs > 0 {
		return
	}
	l.up, l.lost = true, make(chan struct{})
	l.metrics.up.WithLabelValues(l.label).Set(1)
	l.block(nil) // a new connection is told anew
}

// fall marks the link lost and returns once nobody writes to it any more.
func (l *link) fall(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.downs++
	if l.up {
		l.up, l.cause = false, cause
		close(l.lost)
		l.metrics.fell(l.label, errors.Is(cause, ErrClosed))
	}
	if l.stop != nil {
		l.stop()
	}
}

// fault takes a link down that can't be used as it is; recovery follows.
func (l *link) fault(cause error) {
	l.log.Warn("broker: dropping the connection", zap.String("connection", l.name), zap.Error(cause))
	l.fall(cause)
	l.dropSocket()
}

// err is nil while the link can be used to publish. The caller holds mu.
func (l *link) err() error {
	if l.ctx.Err() != nil {
		return ErrClosed
	}
	if !l.up {
		return unavailable(l.cause)
	}
	if reason := l.blocked.Load(); reason != nil {
		return fmt.Errorf("%w: it blocks publishers: %s", ErrUnavailable, *reason)
	}
	return nil
}

func unavailable(cause error) error {
	if errors.Is(cause, ErrUnavailable) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, cause)
}

func (l *link) ready() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.err()
}

func (l *link) isUp() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.up
}

// close ends the link and returns when the library has let go of everything.
func (l *link) close() (err error) {
	l.once.Do(func() { err = l.shut() })
	return err
}

func (l *link) shut() error {
	l.cancel()
	stuck := time.AfterFunc(closeTimeout, l.dropSocket) // a blocking broker reads no closing handshake
	defer stuck.Stop()
	up := l.isUp()
	l.fall(ErrClosed)
	l.endRestoring()
	if up && !l.conn.IsClosed() {
		_ = l.conn.Close() // closed in any case; an error says that the broker went first
	} else {
		l.dropSocket() // recovery is running and gives up now; Close would keep it from cleaning up
	}
	return l.awaitRelease()
}

// restore begins what runs beside the link after a loss.
func (l *link) restore() {
	l.recoverMu.Lock()
	defer l.recoverMu.Unlock()
	l.begin()
}

// begin is called with recoverMu held.
func (l *link) begin() {
	if l.restored != nil && l.ctx.Err() == nil {
		l.restoring.Go(l.restored)
	}
}

// endRestoring is called once ctx has ended.
func (l *link) endRestoring() {
	l.recoverMu.Lock() // so that nothing more begins
	defer l.recoverMu.Unlock()
	l.restoring.Wait()
}

func (l *link) awaitRelease() error {
	select {
	case <-l.gone:
		return nil
	case <-time.After(2 * closeTimeout):
		return fmt.Errorf("closing the broker connection %s: not done after %v", l.name, 2*closeTimeout)
	}
}

// recovery is link as the library's hooks see it.
type recovery link

// OnConnectionClose is called before the library does anything about a loss, also about one in the
// middle of a recovery. It returns at once: while it runs the library can't tell of the next loss,
// and waits five seconds for it with its locks held.
func (r *recovery) OnConnectionClose(conn *amqp.Connection, cause *amqp.Error) {
	l := (*link)(r)
	l.recoverMu.Lock()
	defer l.recoverMu.Unlock()
	if l.recovering || !conn.IsClosed() {
		return // or the late notice of an attempt that failed before one that worked
	}
	l.log.Warn("broker: connection lost", zap.String("connection", l.name), zap.Error(cause))
	l.recovering = true
	l.fall(cause)
	go l.recover(conn, cause)
}

func (l *link) recover(conn *amqp.Connection, cause *amqp.Error) {
	for attempt := 0; l.ctx.Err() == nil; attempt++ {
		err := conn.Reconnect()
		if err == nil && l.recovered(conn) {
			l.log.Info("broker: connection recovered", zap.String("connection", l.name), zap.Int("attempts", attempt+1))
			return
		}
		l.log.Debug("broker: still away", zap.String("connection", l.name), zap.Error(err))
		_ = pause(l.ctx, attempt)
	}
	// Only here does the library release a connection that it can't restore; its dialling fails at once.
	(&amqp.DefaultConnectionRecovery{}).OnConnectionClose(conn, cause)
}

// recovered is false if the connection has been lost again already.
func (l *link) recovered(conn *amqp.Connection) bool {
	l.recoverMu.Lock()
	defer l.recoverMu.Unlock()
	if conn.IsClosed() {
		l.fall(ErrUnavailable) // ends what the short recovery has begun
		return false
	}
	l.recovering = false
	l.rise(false)
	l.begin()
	return true
}

// OnChannelClose is called for each channel of a lost connection too; only an error of the channel
// itself is its business.
func (r *recovery) OnChannelClose(_ *amqp.Channel, cause *amqp.Error) {
	l := (*link)(r)
	if cause.Recover && l.isUp() {
		l.fault(cause)
	}
}

// RecoverTopology declares again what was declared on the link.
func (r *recovery) RecoverTopology(conn *amqp.Connection, channels []*amqp.Channel) ([]amqp.TopologyRecoveryEntity, error) {
	if r.before != nil {
		r.before()
	}
	skipped, err := (&amqp.DefaultTopologyRecovery{}).RecoverTopology(conn, channels)
	if err == nil && r.after != nil {
		err = r.after()
	}
	return skipped, err
}

// pause waits between two attempts; the library adds up to half a second at random.
func pause(ctx context.Context, attempt int) error {
	wait := min(retryMax, 50*time.Millisecond<<min(attempt, 10))
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
