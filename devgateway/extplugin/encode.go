package extplugin

import (
	"net/http"
	"slices"

	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/route"
)

// MaxHeaders is how many headers a plugin sees: ngx.req.get_headers stops there.
const MaxHeaders = 100

// Request is what a plugin sees of a request.
type Request struct {
	Method  A6.Method
	Path    string
	Args    []route.Arg
	SrcIP   []byte // 4 or 16 bytes
	Host    string
	Chunked bool // net/http keeps transfer-encoding out of the headers
	Header  http.Header
	Source  Source // for what the plugin asks while it runs
}

// Source answers the questions of a running plugin.
type Source interface {
	// Var is a variable of the request; ok is false for one that is unknown or unset.
	Var(name string) (value string, ok bool)
	// Body is the whole body.
	Body() ([]byte, error)
}

// MethodOf is the protocol's number of a method; it has none for PURGE, QUERY and the like.
func MethodOf(method string) (A6.Method, bool) {
	switch method { // the two that matter, without a map
	case http.MethodPost:
		return A6.MethodPOST, true
	case http.MethodGet:
		return A6.MethodGET, true
	}
	m, ok := A6.EnumValuesMethod[method]
	return m, ok
}

func (cn *conn) encodePrepare(conf *Conf) {
	b := cn.builder
	b.Reset()
	key := b.CreateString(conf.key)
	cn.offsets = cn.offsets[:0]
	for _, e := range conf.entries {
		cn.entry(b.CreateString(e.Name), b.CreateString(e.Value))
	}
	PrepareConf.ReqStartConfVector(b, len(cn.offsets))
	vec := cn.vector()
	PrepareConf.ReqStart(b)
	PrepareConf.ReqAddKey(b, key)
	PrepareConf.ReqAddConf(b, vec)
	b.Finish(PrepareConf.ReqEnd(b))
}

func (cn *conn) encodeCall(id, token uint32, req *Request) {
	b := cn.builder
	b.Reset()
	path := b.CreateString(req.Path)
	src := b.CreateByteVector(req.SrcIP)
	args := cn.encodeArgs(req.Args)
	headers := cn.encodeHeaders(req)
	HTTPReqCall.ReqStart(b)
	HTTPReqCall.ReqAddId(b, id)
	HTTPReqCall.ReqAddConfToken(b, token)
	HTTPReqCall.ReqAddSrcIp(b, src)
	HTTPReqCall.ReqAddPath(b, path)
	HTTPReqCall.ReqAddArgs(b, args)
	HTTPReqCall.ReqAddHeaders(b, headers)
	HTTPReqCall.ReqAddMethod(b, req.Method)
	b.Finish(HTTPReqCall.ReqEnd(b))
}

func (cn *conn) encodeArgs(args []route.Arg) flatbuffers.UOffsetT {
	cn.offsets = cn.offsets[:0]
	for _, a := range args {
		name := cn.builder.CreateString(a.Name)
		value := flatbuffers.UOffsetT(0)
		if a.HasValue {
			value = cn.builder.CreateString(a.Value)
		}
		cn.entry(name, value)
	}
	HTTPReqCall.ReqStartArgsVector(cn.builder, len(cn.offsets))
	return cn.vector()
}

// encodeHeaders writes the first MaxHeaders headers, names in lower case. net/http does not keep the order of
// arrival; where there are more, Host comes first and the rest by name.
func (cn *conn) encodeHeaders(req *Request) flatbuffers.UOffsetT {
	cn.offsets = cn.offsets[:0]
	if req.Host != "" {
		cn.header("host", req.Host)
	}
	if req.Chunked {
		cn.header("transfer-encoding", "chunked")
	}
	if cn.mayOverflow(req.Header) {
		cn.sortedHeaders(req.Header)
	} else {
		for name, values := range req.Header {
			cn.values(name, values)
		}
	}
	HTTPReqCall.ReqStartHeadersVector(cn.builder, len(cn.offsets))
	return cn.vector()
}

func (cn *conn) mayOverflow(h http.Header) bool {
	n := len(cn.offsets)
	for _, values := range h {
		n += len(values)
	}
	return n > MaxHeaders
}

func (cn *conn) sortedHeaders(h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		cn.values(name, h[name])
	}
}

func (cn *conn) values(name string, values []string) {
	for _, v := range values {
		if len(cn.offsets) < MaxHeaders {
			cn.header(name, v)
		}
	}
}

func (cn *conn) header(name, value string) {
	cn.scratch = cn.scratch[:0]
	for i := 0; i < len(name); i++ {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		cn.scratch = append(cn.scratch, c)
	}
	cn.entry(cn.builder.CreateByteString(cn.scratch), cn.builder.CreateString(value))
}

// entry appends a name and a value; a value of 0 is none.
func (cn *conn) entry(name, value flatbuffers.UOffsetT) {
	A6.TextEntryStart(cn.builder)
	A6.TextEntryAddName(cn.builder, name)
	if value != 0 {
		A6.TextEntryAddValue(cn.builder, value)
	}
	cn.offsets = append(cn.offsets, A6.TextEntryEnd(cn.builder))
}

// vector ends a vector that was started for the collected entries.
func (cn *conn) vector() flatbuffers.UOffsetT {
	for i := len(cn.offsets) - 1; i >= 0; i-- {
		cn.builder.PrependUOffsetT(cn.offsets[i])
	}
	return cn.builder.EndVector(len(cn.offsets))
}
