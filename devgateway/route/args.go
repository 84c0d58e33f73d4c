package route

import "strings"

// Arg is one query argument, decoded. HasValue is false where there was no `=`.
type Arg struct {
	Name, Value string
	HasValue    bool
}

// ParseArgs reads a query as APISIX does: `+` is a space, a bad escape stays as it is, an empty name is left out.
// It appends to list, in the order of the query.
func ParseArgs(list []Arg, query string) []Arg {
	for query != "" {
		var part string
		part, query, _ = strings.Cut(query, "&")
		name, value, has := strings.Cut(part, "=")
		if name = unescape(name); name != "" {
			list = append(list, Arg{Name: name, Value: unescape(value), HasValue: has})
		}
	}
	return list
}

// FormatArgs writes a query of args.
func FormatArgs(args []Arg) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(escape(a.Name, &component))
		if a.HasValue {
			b.WriteByte('=')
			b.WriteString(escape(a.Value, &component))
		}
	}
	return b.String()
}

func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			out = append(out, ' ')
		case c == '%' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2]))) // #nosec G115 -- two hexadecimal digits
			i += 2
		default:
			out = append(out, c)
		}
	}
	return string(out)
}
