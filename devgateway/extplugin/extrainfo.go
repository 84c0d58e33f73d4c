package extplugin

import (
	"fmt"
	"time"

	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	flatbuffers "github.com/google/flatbuffers/go"
)

// answerExtraInfo answers a question of a running plugin. What is unknown has no result.
func (cn *conn) answerExtraInfo(data []byte, source Source, timeout time.Duration) error {
	kind, name, err := readQuestion(data)
	if err != nil {
		return err
	}
	b := cn.builder
	b.Reset()
	var result flatbuffers.UOffsetT
	switch kind {
	case ExtraInfo.InfoVar:
		if v, ok := source.Var(name); ok {
			cn.scratch = append(cn.scratch[:0], v...)
			result = b.CreateByteVector(cn.scratch)
		}
	case ExtraInfo.InfoReqBody:
		body, err := source.Body()
		if err != nil {
			return fmt.Errorf("reading the body for a plugin: %w", err)
		}
		result = b.CreateByteVector(body)
	default:
		return fmt.Errorf("unsupported info type %d", kind)
	}
	ExtraInfo.RespStart(b)
	if result != 0 {
		ExtraInfo.RespAddResult(b, result)
	}
	b.Finish(ExtraInfo.RespEnd(b))
	return cn.send(typeExtraInfo, timeout)
}

func readQuestion(data []byte) (kind ExtraInfo.Info, name string, err error) {
	err = guard(func() {
		req := ExtraInfo.GetRootAsReq(data, 0)
		kind = req.InfoType()
		var table flatbuffers.Table
		if kind == ExtraInfo.InfoVar && req.Info(&table) {
			v := &ExtraInfo.Var{}
			v.Init(table.Bytes, table.Pos)
			name = string(v.Name())
		}
	})
	return kind, name, err
}
