// Package extplugin speaks the ext-plugin protocol with a plugin runner, as APISIX does: PREPARE_CONF, HTTP_REQ_CALL
// and EXTRA_INFO in flatbuffers over a unix socket.
// Spec: https://github.com/apache/apisix/blob/master/docs/en/latest/internal/plugin-runner.md
package extplugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	a6err "github.com/api7/ext-plugin-proto/go/A6/Err"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	"go.uber.org/zap"
)

// ErrTokenNotFound is the runner's answer to a token it does not know, or no longer.
var ErrTokenNotFound = errors.New("conf token not found")

const (
	// TokenLife is how long a token is used: the runner is told so in APISIX_CONF_EXPIRE_TIME.
	TokenLife = time.Hour
	maxTries  = 3
)

// Entry is one plugin of the runner and its configuration.
type Entry struct{ Name, Value string }

// Conf is the configuration of one route, for which the runner hands out a token.
type Conf struct {
	key     string
	entries []Entry
	token   atomic.Pointer[token]
}

// NewConf makes a configuration. The runner gives equal keys the same token without looking at the entries, so the
// key must change with them.
func NewConf(key string, entries []Entry) *Conf { return &Conf{key: key, entries: entries} }

type token struct {
	value   uint32
	flush   uint64
	expires time.Time
}

// Client calls one runner. Its methods may be used from many goroutines.
type Client struct {
	pool    pool
	flush   atomic.Uint64 // tokens of an earlier flush are not used any more
	prepare sync.Mutex
	log     *zap.Logger
	timeout time.Duration
	callID  atomic.Uint32
}

// NewClient makes a client for the unix socket at path. It connects when it is first used.
func NewClient(path string, log *zap.Logger) *Client {
	return &Client{pool: pool{path: path}, log: log, timeout: exchangeTimeout}
}

// Reset drops all connections and tokens. It is called when the runner has exited.
func (c *Client) Reset() {
	c.flush.Add(1)
	c.pool.reset(false)
}

// Close drops all connections and keeps no more.
func (c *Client) Close() { c.pool.reset(true) }

// Call runs the plugins of conf on a request and fills res with what they want. An error means 503: it never
// degrades. Tokens the runner does not know are asked for anew, up to three tries in all.
func (c *Client) Call(ctx context.Context, conf *Conf, req *Request, res *Result) error {
	var err error
	for range maxTries {
		if err = c.try(ctx, conf, req, res); !errors.Is(err, ErrTokenNotFound) {
			return err
		}
		c.log.Warn("the runner does not know a token: asking for all of them again")
		c.flush.Add(1)
	}
	return err
}

func (c *Client) try(ctx context.Context, conf *Conf, req *Request, res *Result) error {
	cn, err := c.pool.get(ctx)
	if err != nil {
		return err
	}
	if err := c.exchange(cn, conf, req, res); err != nil {
		_ = cn.Close()
		return err
	}
	c.pool.put(cn)
	return nil
}

func (c *Client) exchange(cn *conn, conf *Conf, req *Request, res *Result) error {
	tok, err := c.token(cn, conf)
	if err != nil {
		return fmt.Errorf("preparing the configuration: %w", err)
	}
	cn.encodeCall(c.callID.Add(1), tok, req)
	if err := cn.send(typeHTTPReqCall, c.timeout); err != nil {
		return err
	}
	for {
		ty, data, err := cn.receive()
		if err != nil {
			return err
		}
		switch ty {
		case typeExtraInfo:
			err = cn.answerExtraInfo(data, req.Source, c.timeout)
		case typeHTTPReqCall:
			return decodeResult(data, res)
		default:
			err = fmt.Errorf("the runner answered a call with a frame of type %d", ty)
		}
		if err != nil {
			return err
		}
	}
}

func (c *Client) token(cn *conn, conf *Conf) (uint32, error) {
	if t := conf.token.Load(); t.good(c.flush.Load()) {
		return t.value, nil
	}
	c.prepare.Lock()
	defer c.prepare.Unlock()
	flush := c.flush.Load()
	if t := conf.token.Load(); t.good(flush) {
		return t.value, nil
	}
	t := &token{flush: flush, expires: time.Now().Add(TokenLife)}
	var err error
	if t.value, err = cn.prepare(conf, c.timeout); err != nil {
		return 0, err
	}
	conf.token.Store(t)
	return t.value, nil
}

func (t *token) good(flush uint64) bool {
	return t != nil && t.flush == flush && time.Now().Before(t.expires)
}

func (cn *conn) prepare(conf *Conf, timeout time.Duration) (uint32, error) {
	cn.encodePrepare(conf)
	if err := cn.send(typePrepareConf, timeout); err != nil {
		return 0, err
	}
	ty, data, err := cn.receive()
	if err != nil {
		return 0, err
	}
	if ty != typePrepareConf {
		return 0, fmt.Errorf("the runner answered with a frame of type %d", ty)
	}
	var value uint32
	err = guard(func() { value = PrepareConf.GetRootAsResp(data, 0).ConfToken() })
	return value, err
}

func errorOf(data []byte) error {
	var code a6err.Code
	if err := guard(func() { code = a6err.GetRootAsResp(data, 0).Code() }); err != nil {
		return err
	}
	if code == a6err.CodeCONF_TOKEN_NOT_FOUND {
		return ErrTokenNotFound
	}
	return fmt.Errorf("the runner answered with the error %s", code)
}

// guard turns the panic of the flatbuffers library over malformed data into an error.
func guard(read func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed message: %v", p)
		}
	}()
	read()
	return nil
}
