package contract

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxAnswered bounds the value of HeaderAnswered: nginx takes a head of 4 KiB from the egress unless it is told otherwise.
const maxAnswered = 2 << 10

// answeredCut ends a value that is not all. No header has an empty name.
const answeredCut = "=cut"

// secretAnswers are an endpoint's headers whose values nobody keeps.
var secretAnswers = map[string]bool{"Set-Cookie": true, "Set-Cookie2": true, "Authorization": true, "Proxy-Authorization": true, "Cookie": true}

// EncodeHeaders writes an endpoint's headers as the value of HeaderAnswered: those that fit, and Hidden for values that are secret.
func EncodeHeaders(header http.Header) string {
	var b strings.Builder
	cut := false
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			if secretAnswers[name] {
				value = Hidden
			}
			pair := url.QueryEscape(name) + "=" + url.QueryEscape(value)
			if b.Len()+len(pair)+1+len(answeredCut) > maxAnswered {
				cut = true
				continue
			}
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(pair)
		}
	}
	if cut {
		b.WriteString("&" + answeredCut)
	}
	return b.String()
}

// DecodeHeaders reads what EncodeHeaders wrote, and whether there were more.
func DecodeHeaders(value string) (headers []Header, cut bool) {
	for pair := range strings.SplitSeq(value, "&") {
		name, text, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			continue
		}
		if text, err = url.QueryUnescape(text); err != nil {
			continue
		}
		if name == "" {
			cut = cut || pair == answeredCut
			continue
		}
		headers = append(headers, Header{name, strings.ToValidUTF8(text, "\uFFFD")})
	}
	return headers, cut
}
