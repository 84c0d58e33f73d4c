package filter

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/apache/apisix-go-plugin-runner/pkg/plugin"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// Handler is what one plugin does.
type Handler interface {
	// Owns reports whether the plugin acts on the path. It must be all that is asked of a call that is somebody else's:
	// even reading a header makes the library rewrite the request.
	Owns(path []byte) bool
	// Handle lets the call go on, changed as needed, by returning nil.
	Handle(c Config, r pkgHTTP.Request) *Refusal
}

// Gate runs handlers so that whatever goes wrong ends in a refusal.
type Gate struct {
	log      *zap.Logger
	fault    error
	adopt    func(Config) error
	inFlight atomic.Int64
	seen     seen
	parsed   parsed
	counts   *counts
	tracer   *tracing.Tracer
}

// NewGate makes a gate. With a fault, what is wrong with the process's environment, it refuses every call.
func NewGate(log *zap.Logger, fault error) *Gate {
	if fault != nil {
		log.Error("every call is refused until the environment is right", zap.Error(fault))
	}
	return &Gate{log: log, fault: fault, counts: newCounts()}
}

// OnConfig sets what is asked about each configuration that reads well, so that its needs are at hand before the first call; its
// error refuses every call under that configuration. Set it before the gate is used.
func (g *Gate) OnConfig(adopt func(Config) error) { g.adopt = adopt }

// TraceBy makes a span of each call that a plugin decides on. Set it before the gate is used.
func (g *Gate) TraceBy(tracer *tracing.Tracer) { g.tracer = tracer }

// read makes a configuration of a plugin's value. The same value, which every route has, is one and the same configuration.
func (g *Gate) read(value []byte) (Config, error) {
	if c, known := g.parsed.get(value); known {
		return c, nil
	}
	c, err := Parse(value)
	if err == nil && g.adopt != nil {
		err = g.adopt(c)
	}
	if err != nil {
		return Config{}, err
	}
	return g.parsed.keep(value, c), nil
}

// InFlight is how many calls are inside a handler now.
func (g *Gate) InFlight() int64 { return g.inFlight.Load() }

// Plugin makes a handler into a plugin of the runner library.
func (g *Gate) Plugin(name string, h Handler) plugin.Plugin {
	g.counts.decided.Of(decided{name, decisionAllowed, noReason}) // there from the start, as zero
	return &gated{gate: g, name: name, handler: h}
}

type gated struct {
	plugin.DefaultPlugin
	gate    *Gate
	name    string
	handler Handler
}

func (p *gated) Name() string { return p.name }

// ParseConf never fails: on an error the library would leave the plugin out and let the call through. A value that cannot
// be read becomes a configuration under which every call is refused.
func (p *gated) ParseConf(value []byte) (conf any, err error) {
	defer func() {
		if v := recover(); v != nil {
			conf, err = Config{fault: fmt.Errorf("reading the configuration panicked: %v", v)}, nil
		}
	}()
	c, fault := p.gate.read(value)
	if fault != nil {
		c = Config{fault: fault}
		if p.gate.seen.first(p.name + fault.Error()) {
			p.gate.log.Error("every call is refused until the plugin's configuration is right",
				zap.String("plugin", p.name), zap.Error(fault))
		}
	}
	return c, nil
}

func (p *gated) RequestFilter(conf any, w http.ResponseWriter, r pkgHTTP.Request) {
	p.gate.inFlight.Add(1)
	defer p.gate.inFlight.Add(-1)
	begin := time.Now()
	refusal, decides := p.run(conf, r)
	if decides {
		p.gate.counts.decide(p.name, refusal, time.Since(begin))
	}
	if refusal != nil {
		refusal.write(w)
	}
}

// run decides, unless the call is somebody else's.
func (p *gated) run(conf any, r pkgHTTP.Request) (refusal *Refusal, decides bool) {
	defer func() {
		if v := recover(); v != nil {
			p.gate.logPanic(p.name, v)
			refusal, decides = Refuse(http.StatusInternalServerError, "the gateway failed on this call"), true
		}
	}()
	c, ok := conf.(Config)
	if !ok || c.fault != nil || p.gate.fault != nil {
		return RefuseAs(contract.KindNotSetUp, "the gateway is not set up: its log says why").With("Retry-After", "10"), true
	}
	if !p.handler.Owns(r.Path()) {
		return nil, false
	}
	span := p.gate.begin(p.name, r)
	refusal = p.handler.Handle(c, r)
	p.gate.end(span, r, refusal)
	return refusal, true
}

// logPanic logs each place that panics once: a call that can be repeated must not fill the disk.
func (g *Gate) logPanic(name string, v any) {
	var pcs [64]uintptr
	n := runtime.Callers(3, pcs[:])
	if g.seen.first(fmt.Sprint(slices.Clone(pcs[:n]))) {
		g.log.Error("panic: the call is refused", zap.String("plugin", name), zap.Any("panic", fmt.Sprint(v)),
			zap.ByteString("stack", debug.Stack()))
	}
}

// maxParsed bounds the values that are remembered; beyond it all are forgotten.
const maxParsed = 16

// parsed remembers configurations by their value.
type parsed struct {
	mu      sync.Mutex
	byValue map[string]Config
}

func (p *parsed) get(value []byte) (Config, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, known := p.byValue[string(value)]
	return c, known
}

// keep returns the configuration that holds from now on: of several that read the value at once, the first one's.
func (p *parsed) keep(value []byte, c Config) Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, known := p.byValue[string(value)]; known {
		return first
	}
	if p.byValue == nil || len(p.byValue) >= maxParsed {
		p.byValue = map[string]Config{}
	}
	p.byValue[string(value)] = c
	return c
}

// maxSeen bounds what is remembered as logged; beyond it nothing new is logged.
const maxSeen = 256

// seen remembers what has been logged.
type seen struct {
	mu   sync.Mutex
	what map[string]struct{}
}

func (s *seen) first(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.what[what]; known || len(s.what) >= maxSeen {
		return false
	}
	if s.what == nil {
		s.what = map[string]struct{}{}
	}
	s.what[what] = struct{}{}
	return true
}
