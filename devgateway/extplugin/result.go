package extplugin

import (
	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	flatbuffers "github.com/google/flatbuffers/go"
)

// Header is one entry of a plugin's answer. HasValue is false for one to remove.
type Header struct {
	Name, Value string
	HasValue    bool
}

// Result is what the plugins want: to stop with an answer, or to go on with a changed request. It may be reused.
type Result struct {
	Stop   bool
	Status int // of a stop; 200 where the plugin gave none

	Headers     []Header // of the answer when stopped, else of the request
	RespHeaders []Header // to add to the answer of the upstream
	Args        []Header
	Path        string
	HasPath     bool
	Body        []byte // nil: none
}

func (r *Result) reset() {
	*r = Result{Headers: r.Headers[:0], RespHeaders: r.RespHeaders[:0], Args: r.Args[:0]}
}

// decodeResult copies the runner's answer into res.
func decodeResult(data []byte, res *Result) error {
	res.reset()
	return guard(func() {
		resp := HTTPReqCall.GetRootAsResp(data, 0)
		var table flatbuffers.Table
		if !resp.Action(&table) {
			return
		}
		switch resp.ActionType() {
		case HTTPReqCall.ActionStop:
			var stop HTTPReqCall.Stop
			stop.Init(table.Bytes, table.Pos)
			res.stop(&stop)
		case HTTPReqCall.ActionRewrite:
			var rewrite HTTPReqCall.Rewrite
			rewrite.Init(table.Bytes, table.Pos)
			res.rewrite(&rewrite)
		}
	})
}

func (r *Result) stop(stop *HTTPReqCall.Stop) {
	r.Stop = true
	if r.Status = int(stop.Status()); r.Status == 0 {
		r.Status = 200
	}
	r.Headers = entries(r.Headers, stop.HeadersLength(), stop.Headers)
	r.Body = clone(stop.BodyBytes())
}

func (r *Result) rewrite(rw *HTTPReqCall.Rewrite) {
	if path := rw.Path(); path != nil {
		r.Path, r.HasPath = string(path), true
	}
	r.Headers = entries(r.Headers, rw.HeadersLength(), rw.Headers)
	r.RespHeaders = entries(r.RespHeaders, rw.RespHeadersLength(), rw.RespHeaders)
	r.Args = entries(r.Args, rw.ArgsLength(), rw.Args)
	r.Body = clone(rw.BodyBytes())
}

// clone copies a body out of the connection's buffer; an empty one counts as none, as in APISIX.
func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

// maxEntries bounds a list whose length is a lie; a frame can't hold more entries that are honest.
const maxEntries = maxFrameData / 4

func entries(list []Header, n int, at func(*A6.TextEntry, int) bool) []Header {
	if n > maxEntries {
		panic("a list is longer than its frame")
	}
	var e A6.TextEntry
	for i := range n {
		if at(&e, i) {
			value := e.Value()
			list = append(list, Header{Name: string(e.Name()), Value: string(value), HasValue: value != nil})
		}
	}
	return list
}
