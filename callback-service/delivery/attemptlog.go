package delivery

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// sent is what the log needs of a request. It is kept while the call is under way, so it is small: the values of secret headers
// are gone, and of the body there is no more than the excerpt.
type sent struct {
	headers []contract.Header
	body    []byte
	size    int
}

// secretHeaders are never logged with their values, whoever set them.
var secretHeaders = map[string]bool{"Authorization": true, "Proxy-Authorization": true, "Cookie": true}

func sentBy(sub *contract.Subscription, header http.Header, body []byte, excerpt int) *sent {
	r := &sent{headers: make([]contract.Header, 0, len(header)), body: body, size: len(body)}
	if len(body) > excerpt {
		r.body = bytes.Clone(body[:excerpt])
	}
	secret := secretNames(sub)
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			if secretHeaders[name] || secret[name] {
				value = contract.Hidden
			}
			r.headers = append(r.headers, contract.Header{Name: name, Value: value})
		}
	}
	return r
}

// secretNames are the headers whose values the consumer gave.
func secretNames(sub *contract.Subscription) map[string]bool {
	if len(sub.Headers) == 0 && (sub.Auth == nil || len(sub.Auth.Headers) == 0) {
		return nil
	}
	names := map[string]bool{}
	for name := range sub.Headers {
		names[http.CanonicalHeaderKey(name)] = true
	}
	if sub.Auth != nil {
		for name := range sub.Auth.Headers {
			names[http.CanonicalHeaderKey(name)] = true
		}
	}
	return names
}

// logEntry is an attempt on its way into the log.
type logEntry struct {
	delivery contract.Delivery // with the attempt alone
	sub      *contract.Subscription
	token    string
	sent     *sent // nil: nothing was sent
	answer   gateway.Answer
	queued   time.Duration
	policy   contract.LogPolicy
}

// size is about what an entry takes in memory.
func (l *logEntry) size() int64 {
	const rest = 2 << 10
	n := rest + len(l.answer.Body)
	if l.sent != nil {
		n += len(l.sent.body)
	}
	return int64(n)
}

// entry makes what is logged.
func (l *logEntry) entry() store.AttemptLog {
	d := l.delivery
	a := d.Attempts[0]
	a.Request, a.Response, a.Timings = l.request(), l.response(), l.timings(a)
	d.Attempts = []contract.Attempt{a}
	return store.AttemptLog{Delivery: d, Policy: l.policy}
}

func (l *logEntry) request() *contract.AttemptRequest {
	if l.sent == nil {
		return nil
	}
	r := &contract.AttemptRequest{Method: http.MethodPost, URL: l.sub.CallbackURL, Headers: l.sent.headers, BodyBytes: l.sent.size, BodyCut: l.sent.size > len(l.sent.body)}
	r.Body, r.BodyBase64 = readable(l.sent.body, r.BodyCut)
	return r
}

func (l *logEntry) response() *contract.AttemptResponse {
	if l.answer.Outcome != contract.OutcomeResponse {
		return nil
	}
	r := &contract.AttemptResponse{Status: l.answer.Status}
	r.Headers, r.HeadersCut = contract.DecodeHeaders(l.answer.Header.Get(contract.HeaderAnswered))
	body := l.redact(r.Headers)
	r.BodyCut = len(body) > l.policy.Excerpt() || len(l.answer.Body) >= kept(l.sub, l.token, l.policy) || l.answer.Detail == contract.DetailAnswerCut
	r.Body, r.BodyBase64 = readable([]byte(body[:min(len(body), l.policy.Excerpt())]), r.BodyCut)
	return r
}

func (l *logEntry) timings(a contract.Attempt) *contract.Timings {
	t := contract.ParseTimings(l.answer.Header.Get(contract.HeaderTimings))
	if t.TotalMS == 0 { // the egress was not asked
		t.TotalMS = float64(a.DurationMS)
	}
	t.QueuedMS = contract.Milliseconds(l.queued)
	return &t
}

// readable is a body as text, or in base64 where it is no UTF-8. One that was cut may end within a character.
func readable(body []byte, cut bool) (text string, isBase64 bool) {
	if cut {
		body = wholeRunes(body)
	}
	if utf8.Valid(body) {
		return string(body), false
	}
	return base64.StdEncoding.EncodeToString(body), true
}

// wholeRunes drops the beginning of a character from the end.
func wholeRunes(body []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(body); n++ {
		if last := body[len(body)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return body[:len(body)-n]
			}
			break
		}
	}
	return body
}

const (
	// leastSecret is how long a value must be to be looked for in what endpoints answer: a shorter one would be found anywhere.
	leastSecret = 6
	// mostEchoed bounds how much more than the excerpt is kept of an answer, so that a secret that begins within it is whole.
	mostEchoed = 8 << 10
)

// secretsOf are the values that an endpoint knows from us and may echo.
func secretsOf(sub *contract.Subscription, token string) []string {
	if len(sub.Headers) == 0 && sub.Auth == nil {
		return nil
	}
	values := append(slices.Collect(maps.Values(sub.Headers)), token)
	if auth := sub.Auth; auth != nil {
		values = append(values, auth.Token, auth.Password)
		values = slices.AppendSeq(values, maps.Values(auth.Headers))
		if auth.Type == contract.AuthBasic {
			values = append(values, base64.StdEncoding.EncodeToString([]byte(auth.Username+":"+auth.Password)))
		}
	}
	values = slices.DeleteFunc(values, func(v string) bool { return len(v) < leastSecret })
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) }) // what holds another goes first
	return values
}

// redact hides what an endpoint echoes, as it is and as it stands in JSON, in its headers and in its body, which it returns.
func (l *logEntry) redact(headers []contract.Header) (body string) {
	body = string(l.answer.Body)
	secrets := secretsOf(l.sub, l.token)
	if len(secrets) == 0 {
		return body
	}
	hide := redaction(secrets)
	for i := range headers {
		headers[i].Value = hide.Replace(headers[i].Value)
	}
	return hide.Replace(body)
}

func redaction(secrets []string) *strings.Replacer {
	var pairs []string
	for _, value := range secrets {
		pairs = append(pairs, value, contract.Hidden)
		if quoted, _ := json.Marshal(value); string(quoted[1:len(quoted)-1]) != value {
			pairs = append(pairs, string(quoted[1:len(quoted)-1]), contract.Hidden)
		}
	}
	return strings.NewReplacer(pairs...)
}

// kept is how much of an answer's body the log needs.
func kept(sub *contract.Subscription, token string, policy contract.LogPolicy) int {
	longest := 0
	for _, value := range secretsOf(sub, token) {
		longest = max(longest, 2*len(value)) // as it may stand in JSON
	}
	return policy.Excerpt() + min(longest, mostEchoed) + 1 // one more tells that there is more
}
