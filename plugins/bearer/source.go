package bearer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// freshFor is how long fetched keys are used without a thought. Then they are renewed beside the calls, from renewBy on
	// before the next call. While that fails they stay good up to keepFor after they were fetched.
	freshFor = 5 * time.Minute
	renewBy  = 10 * time.Minute
	keepFor  = time.Hour
	// fetchEvery is how long after a fetch of a URL there is no other, whatever kids or failures ask for one.
	fetchEvery   = 5 * time.Second
	fetchTimeout = 3 * time.Second
)

// ErrNoKeys means that an issuer's keys cannot be had now, so that its tokens cannot be judged.
var ErrNoKeys = errors.New("the issuer's keys cannot be had")

// sources has the keys of every URL, once per process.
type sources struct {
	client *http.Client
	now    func() time.Time
	log    *zap.Logger
	counts *counts
	byURL  sync.Map // URL → *source

	// stop ends the fetches under way, which running counts.
	ctx     context.Context
	stop    context.CancelFunc
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

func newSources(now func() time.Time, log *zap.Logger, c *counts) *sources {
	ctx, cancel := context.WithCancel(context.Background())
	return &sources{client: client(), now: now, log: log, counts: c, ctx: ctx, stop: cancel}
}

// client follows no redirect: the keys come from where the administrator said. It keeps no connection, which it would not
// need for minutes.
func client() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true},
	}
}

func (p *sources) of(address string) *source {
	if s, ok := p.byURL.Load(address); ok {
		return s.(*source)
	}
	s, _ := p.byURL.LoadOrStore(address, &source{pool: p, url: address})
	return s.(*source)
}

// close ends fetches under way and waits for them. None starts after it.
func (p *sources) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.running.Wait()
}

// run starts a fetch, unless the pool is closed.
func (p *sources) run(fetch func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.running.Go(fetch)
	}
	return !p.closed
}

// source is the keys of one URL. Calls ask for them, nothing else does: keys that nobody needs are not fetched.
type source struct {
	pool *sources
	url  string
	last atomic.Pointer[fetched]

	mu     sync.Mutex
	tried  time.Time     // when the last fetch began
	failed bool          // how it ended
	flight chan struct{} // closed when the fetch under way ends; nil if none is
}

// fetched are keys as of a time.
type fetched struct {
	keys *keySet
	raw  string
	at   time.Time
}

// age is negative if there are no keys yet.
func (s *source) age() (*fetched, time.Duration) {
	last := s.last.Load()
	if last == nil {
		return nil, -1
	}
	return last, max(0, s.pool.now().Sub(last.at))
}

// current returns the keys as they should be used now, or ErrNoKeys.
func (s *source) current(ctx context.Context) (*keySet, error) {
	last, age := s.age()
	switch {
	case last != nil && age < freshFor:
		return last.keys, nil
	case last != nil && age < renewBy:
		s.renew()
		return last.keys, nil
	}
	s.await(ctx, s.renew())
	if last, age = s.age(); last != nil && age < keepFor {
		return last.keys, nil
	}
	return nil, ErrNoKeys
}

// find returns the keys for a token. For a kid that is not known it looks whether the issuer has new keys, as often as
// fetchEvery lets it; ErrNoKeys means that this could not be seen.
func (s *source) find(ctx context.Context, algorithm, kid string) (*keySet, []key, error) {
	set, err := s.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	found := set.find(algorithm, kid)
	if len(found) > 0 || kid == "" {
		return set, found, nil
	}
	s.await(ctx, s.renew())
	if s.lastFailed() {
		return nil, nil, ErrNoKeys
	}
	if set, err = s.current(ctx); err != nil {
		return nil, nil, err
	}
	return set, set.find(algorithm, kid), nil
}

func (s *source) lastFailed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// renew starts a fetch unless one runs or the last one is too recent, and returns what closes at the end of the one that runs.
func (s *source) renew() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.pool.now()
	if s.flight != nil || !s.tried.IsZero() && now.Sub(s.tried) < fetchEvery {
		return s.flight
	}
	done := make(chan struct{})
	if s.pool.run(func() { s.fetch(now); close(done) }) {
		s.tried, s.flight = now, done
	}
	return s.flight
}

// await waits for a fetch; nil is none.
func (s *source) await(ctx context.Context, flight <-chan struct{}) {
	if flight == nil {
		return
	}
	select {
	case <-flight:
	case <-ctx.Done():
	}
}

// fetch gets the keys. Keys that did not change stay the same set, so that what was checked with them still holds.
func (s *source) fetch(began time.Time) {
	raw, err := s.pool.get(s.url)
	var set *keySet
	if before := s.last.Load(); err == nil && before != nil && before.raw == string(raw) {
		set = before.keys
	} else if err == nil {
		set, err = s.parse(raw)
	}
	s.pool.counts.fetched(err)
	if err == nil {
		s.last.Store(&fetched{set, string(raw), began})
	} else {
		s.pool.log.Warn("the keys of an issuer cannot be fetched: tokens are judged by the last ones while these hold",
			zap.String("host", hostOf(s.url)), zap.Error(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight, s.failed = nil, err != nil
}

func (s *source) parse(raw []byte) (*keySet, error) {
	set, skipped, err := parseKeys(raw)
	for i, why := range skipped {
		s.pool.log.Warn("a key of an issuer is not used", zap.String("host", hostOf(s.url)), zap.Int("index", i), zap.Error(why))
	}
	if err != nil {
		return nil, fmt.Errorf("the answer%w", err)
	}
	return set, nil
}

// get asks for a URL. Its error does not repeat it: its query may be nobody else's business.
func (p *sources) get(address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the URL cannot be used")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("asking for them: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer has the status %d", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("reading them: %w", err)
	}
	if len(raw) > maxKeySet {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxKeySet)
	}
	return raw, nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
