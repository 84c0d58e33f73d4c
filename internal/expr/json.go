package expr

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

var errTooLong = fmt.Errorf("is longer than %d bytes", MaxBody)

// appendJSON writes a CEL value as JSON: bytes as base64, timestamps in RFC 3339, durations in seconds as "1.5s". It stops as
// soon as the text is too long, for a short list may hold itself many times over.
func appendJSON(to []byte, value ref.Val) ([]byte, error) {
	to, err := appendValue(to, value)
	if err == nil && len(to) > MaxBody {
		err = errTooLong
	}
	return to, err
}

func appendValue(to []byte, value ref.Val) ([]byte, error) {
	switch v := value.(type) {
	case types.Null:
		return append(to, "null"...), nil
	case types.Bool:
		return strconv.AppendBool(to, bool(v)), nil
	case types.Int:
		return strconv.AppendInt(to, int64(v), 10), nil
	case types.Uint:
		return strconv.AppendUint(to, uint64(v), 10), nil
	case types.Double:
		return appendDouble(to, float64(v))
	case types.String:
		return appendString(to, string(v))
	case types.Bytes:
		return appendString(to, base64.StdEncoding.EncodeToString(v))
	case types.Timestamp:
		return appendString(to, v.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		return appendString(to, strconv.FormatFloat(v.Seconds(), 'f', -1, 64)+"s")
	case traits.Mapper:
		return appendMap(to, v)
	case traits.Lister:
		return appendList(to, v)
	}
	return nil, fmt.Errorf("has a value of type %s, which can't be written as JSON", value.Type().TypeName())
}

// appendDouble writes whole numbers as such. Very large and very small numbers get an exponent, as in JavaScript.
func appendDouble(to []byte, v float64) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, errors.New("has a number that is infinite or none at all, which JSON can't say")
	}
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(to, v, format, -1, 64), nil
}

func appendString(to []byte, v string) ([]byte, error) {
	if len(to)+len(v) > MaxBody {
		return nil, errTooLong
	}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("writing a string: %w", err)
	}
	return append(to, strings.TrimSuffix(out.String(), "\n")...), nil
}

func appendList(to []byte, list traits.Lister) (_ []byte, err error) {
	to = append(to, '[')
	for i, it := 0, list.Iterator(); it.HasNext() == types.True; i++ {
		if i > 0 {
			to = append(to, ',')
		}
		if to, err = appendJSON(to, it.Next()); err != nil {
			return nil, err
		}
	}
	return append(to, ']'), nil
}

// member of an object.
type member struct {
	name  string
	value ref.Val
}

func appendMap(to []byte, m traits.Mapper) ([]byte, error) {
	members, err := membersOf(m)
	if err != nil {
		return nil, err
	}
	to = append(to, '{')
	for i, member := range members {
		if i > 0 {
			to = append(to, ',')
		}
		if to, err = appendString(to, member.name); err != nil {
			return nil, err
		}
		if to, err = appendJSON(append(to, ':'), member.value); err != nil {
			return nil, err
		}
	}
	return append(to, '}'), nil
}

// membersOf sorts by name. Names that are the same once they are text, as those of 1 and "1", are an error.
func membersOf(m traits.Mapper) ([]member, error) {
	var members []member
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.ConvertToType(types.StringType).(types.String)
		if !ok {
			return nil, fmt.Errorf("has a key of type %s, which can't be written as JSON", key.Type().TypeName())
		}
		members = append(members, member{string(name), m.Get(key)})
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(members); i++ {
		if members[i].name == members[i-1].name {
			return nil, errors.New("has two keys in a map that are the same as text")
		}
	}
	return members, nil
}
