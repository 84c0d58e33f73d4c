// Package fakerunner is a plugin runner for tests: the other side of the ext-plugin protocol, with plugins that are a
// function.
package fakerunner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/api7/ext-plugin-proto/go/A6"
	a6err "github.com/api7/ext-plugin-proto/go/A6/Err"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"
)

// Pair is a name and a value; Set is false where there is no value.
type Pair struct {
	Name, Value string
	Set         bool
}

// Call is what the runner was asked.
type Call struct {
	Token         uint32
	Method, Path  string
	SrcIP         []byte
	Headers, Args []Pair
	conn          net.Conn
}

// Header returns the values of a header, by its name in lower case.
func (c *Call) Header(name string) []string {
	var values []string
	for _, h := range c.Headers {
		if h.Name == name {
			values = append(values, h.Value)
		}
	}
	return values
}

// Var asks for a variable; ok is false where there is none.
func (c *Call) Var(name string) (value string, ok bool) {
	b := flatbuffers.NewBuilder(64)
	n := b.CreateString(name)
	ExtraInfo.VarStart(b)
	ExtraInfo.VarAddName(b, n)
	return c.ask(b, ExtraInfo.InfoVar, ExtraInfo.VarEnd(b))
}

// Body asks for the body.
func (c *Call) Body() string {
	b := flatbuffers.NewBuilder(64)
	ExtraInfo.ReqBodyStart(b)
	body, _ := c.ask(b, ExtraInfo.InfoReqBody, ExtraInfo.ReqBodyEnd(b))
	return body
}

func (c *Call) ask(b *flatbuffers.Builder, kind ExtraInfo.Info, info flatbuffers.UOffsetT) (string, bool) {
	ExtraInfo.ReqStart(b)
	ExtraInfo.ReqAddInfoType(b, kind)
	ExtraInfo.ReqAddInfo(b, info)
	b.Finish(ExtraInfo.ReqEnd(b))
	if err := write(c.conn, 3, b.FinishedBytes()); err != nil {
		return "", false
	}
	_, data, err := read(c.conn)
	if err != nil {
		return "", false
	}
	res := ExtraInfo.GetRootAsResp(data, 0).ResultBytes()
	return string(res), res != nil
}

// Answer is what the plugins want. The zero value changes nothing.
type Answer struct {
	Stop                       bool
	Status                     int
	Path                       string // of a rewrite; empty: unchanged
	Headers, RespHeaders, Args []Pair
	Body                       []byte
	Error                      a6err.Code // sent instead, where Failed is set
	Failed                     bool
	Hangup                     bool // close the connection without a word
}

// Runner is a running fake.
type Runner struct {
	handle func(*Call) Answer
	l      net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	keys     map[string]uint32
	tokens   map[uint32]bool
	last     uint32
	prepared []string
	accepted int
}

// Listen starts a fake runner at a unix socket path.
func Listen(path string, handle func(*Call) Answer) (*Runner, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	r := &Runner{handle: handle, l: l, conns: map[net.Conn]bool{}}
	r.Forget()
	r.wg.Add(1)
	go r.accept()
	return r, nil
}

// Close ends the runner and all its connections.
func (r *Runner) Close() {
	_ = r.l.Close()
	r.mu.Lock()
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// Forget makes the runner forget its tokens, but not their numbers.
func (r *Runner) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.tokens = map[string]uint32{}, map[uint32]bool{}
}

// Prepared lists the configurations that were given to the runner, by key.
func (r *Runner) Prepared() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.prepared...)
}

// Open is how many connections there are, and Accepted how many there ever were.
func (r *Runner) Open() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.conns) }

// Accepted is how many connections there ever were.
func (r *Runner) Accepted() int { r.mu.Lock(); defer r.mu.Unlock(); return r.accepted }

func (r *Runner) accept() {
	defer r.wg.Done()
	for {
		c, err := r.l.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns[c] = true
		r.accepted++
		r.mu.Unlock()
		r.wg.Add(1)
		go r.serve(c)
	}
}

func (r *Runner) serve(c net.Conn) {
	defer r.wg.Done()
	defer func() {
		_ = c.Close()
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
	}()
	for r.next(c) == nil {
	}
}

var errHangup = errors.New("hang up")

func (r *Runner) next(c net.Conn) error {
	ty, data, err := read(c)
	if err != nil {
		return err
	}
	switch ty {
	case 1:
		return r.prepare(c, data)
	case 2:
		return r.call(c, data)
	default:
		return fail(c, a6err.CodeBAD_REQUEST)
	}
}

func (r *Runner) prepare(c net.Conn, data []byte) error {
	req := PrepareConf.GetRootAsReq(data, 0)
	key := string(req.Key())
	r.mu.Lock()
	token, known := r.keys[key]
	if !known {
		r.last++
		token = r.last
		r.keys[key], r.tokens[token] = token, true
	}
	conf := key
	for _, p := range pairs(req.ConfLength(), req.Conf) {
		conf += " " + p.Name + "=" + p.Value
	}
	r.prepared = append(r.prepared, conf)
	r.mu.Unlock()
	b := flatbuffers.NewBuilder(64)
	PrepareConf.RespStart(b)
	PrepareConf.RespAddConfToken(b, token)
	b.Finish(PrepareConf.RespEnd(b))
	return write(c, 1, b.FinishedBytes())
}

func (r *Runner) call(c net.Conn, data []byte) error {
	req := HTTPReqCall.GetRootAsReq(data, 0)
	r.mu.Lock()
	known := r.tokens[req.ConfToken()]
	r.mu.Unlock()
	if !known {
		return fail(c, a6err.CodeCONF_TOKEN_NOT_FOUND)
	}
	answer := r.handle(&Call{
		Token: req.ConfToken(), Method: req.Method().String(), Path: string(req.Path()), SrcIP: req.SrcIpBytes(),
		Headers: pairs(req.HeadersLength(), req.Headers), Args: pairs(req.ArgsLength(), req.Args), conn: c,
	})
	switch {
	case answer.Hangup:
		return errHangup
	case answer.Failed:
		return fail(c, answer.Error)
	}
	return write(c, 2, answer.Encode(req.Id()))
}

func pairs(n int, at func(*A6.TextEntry, int) bool) []Pair {
	var list []Pair
	var e A6.TextEntry
	for i := range n {
		at(&e, i)
		list = append(list, Pair{string(e.Name()), string(e.Value()), e.Value() != nil})
	}
	return list
}

func fail(c net.Conn, code a6err.Code) error {
	b := flatbuffers.NewBuilder(64)
	a6err.RespStart(b)
	a6err.RespAddCode(b, code)
	b.Finish(a6err.RespEnd(b))
	return write(c, 0, b.FinishedBytes())
}

// Encode is the answer as a message.
func (a *Answer) Encode(id uint32) []byte {
	b := flatbuffers.NewBuilder(256)
	kind, action := HTTPReqCall.ActionRewrite, flatbuffers.UOffsetT(0)
	if a.Stop {
		kind, action = HTTPReqCall.ActionStop, a.stop(b)
	} else {
		action = a.rewrite(b)
	}
	HTTPReqCall.RespStart(b)
	HTTPReqCall.RespAddId(b, id)
	HTTPReqCall.RespAddActionType(b, kind)
	HTTPReqCall.RespAddAction(b, action)
	b.Finish(HTTPReqCall.RespEnd(b))
	return b.FinishedBytes()
}

func (a *Answer) stop(b *flatbuffers.Builder) flatbuffers.UOffsetT {
	headers := vector(b, a.Headers)
	body := b.CreateByteVector(a.Body)
	HTTPReqCall.StopStart(b)
	HTTPReqCall.StopAddStatus(b, uint16(a.Status)) // #nosec G115 -- an HTTP status
	HTTPReqCall.StopAddHeaders(b, headers)
	if a.Body != nil {
		HTTPReqCall.StopAddBody(b, body)
	}
	return HTTPReqCall.StopEnd(b)
}

func (a *Answer) rewrite(b *flatbuffers.Builder) flatbuffers.UOffsetT {
	path := b.CreateString(a.Path)
	headers, resp, args := vector(b, a.Headers), vector(b, a.RespHeaders), vector(b, a.Args)
	body := b.CreateByteVector(a.Body)
	HTTPReqCall.RewriteStart(b)
	if a.Path != "" {
		HTTPReqCall.RewriteAddPath(b, path)
	}
	HTTPReqCall.RewriteAddHeaders(b, headers)
	HTTPReqCall.RewriteAddRespHeaders(b, resp)
	HTTPReqCall.RewriteAddArgs(b, args)
	if a.Body != nil {
		HTTPReqCall.RewriteAddBody(b, body)
	}
	return HTTPReqCall.RewriteEnd(b)
}

func vector(b *flatbuffers.Builder, list []Pair) flatbuffers.UOffsetT {
	var offsets []flatbuffers.UOffsetT
	for _, p := range list {
		name, value := b.CreateString(p.Name), b.CreateString(p.Value)
		A6.TextEntryStart(b)
		A6.TextEntryAddName(b, name)
		if p.Set {
			A6.TextEntryAddValue(b, value)
		}
		offsets = append(offsets, A6.TextEntryEnd(b))
	}
	b.StartVector(flatbuffers.SizeUOffsetT, len(offsets), flatbuffers.SizeUOffsetT)
	for i := len(offsets) - 1; i >= 0; i-- {
		b.PrependUOffsetT(offsets[i])
	}
	return b.EndVector(len(offsets))
}

func read(c net.Conn) (byte, []byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return 0, nil, err
	}
	ty := header[0]
	header[0] = 0
	data := make([]byte, binary.BigEndian.Uint32(header[:]))
	_, err := io.ReadFull(c, data)
	return ty, data, err
}

// write sends header and data in two writes, as the Go runner does.
func write(c net.Conn, ty byte, data []byte) error {
	var header [4]byte
	binary.BigEndian.PutUint32(header[:], uint32(len(data))) // #nosec G115 -- a test writes less
	header[0] = ty
	if _, err := c.Write(header[:]); err != nil {
		return err
	}
	_, err := c.Write(data)
	return err
}
