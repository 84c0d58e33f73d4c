package portal

import (
	"encoding/base64"
	"fmt"
	"unicode/utf8"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// attemptView is one attempt as the timeline shows it.
type attemptView struct {
	contract.Attempt

	// Words say what became of it.
	Words string
	// Good tells that the endpoint answered 2xx.
	Good bool
	// Bars are where its time went, as wide as all attempts' longest allows.
	Bars []bar
	// Curl repeats the request in a shell; empty where the log does not have it.
	Curl                      string
	RequestBody, ResponseBody string
}

// bar is one phase's part of a picture that is barWidth wide.
type bar struct {
	Name     string
	X, Width float64
	MS       float64
}

const barWidth = 600

func viewOf(a contract.Attempt, longest float64) attemptView {
	view := attemptView{Attempt: a, Words: words(a), Good: a.Status >= 200 && a.Status < 300, Bars: bars(a, longest)}
	if a.Request != nil {
		view.Curl = curl(*a.Request)
		view.RequestBody = shownBody(a.Request.Body, a.Request.BodyBase64)
	}
	if a.Response != nil {
		view.ResponseBody = shownBody(a.Response.Body, a.Response.BodyBase64)
	}
	return view
}

func shownBody(body string, isBase64 bool) string {
	if raw, err := base64.StdEncoding.DecodeString(body); isBase64 && (err != nil || !utf8.Valid(raw)) {
		return body
	} else if isBase64 {
		return string(raw)
	}
	return pretty(body)
}

func millisecondsOf(a contract.Attempt) float64 {
	if a.Timings != nil {
		return max(a.Timings.TotalMS, float64(a.DurationMS))
	}
	return float64(a.DurationMS)
}

// bars lays the phases out one after the other. What no phase accounts for is the rest of the answer.
func bars(a contract.Attempt, longest float64) []bar {
	if a.Timings == nil || longest <= 0 {
		return nil
	}
	t := a.Timings
	known := t.DNSMS + t.ConnectMS + t.TLSMS + t.FirstByteMS
	x, all := 0.0, []bar(nil)
	for _, part := range []bar{{Name: "dns", MS: t.DNSMS}, {Name: "connect", MS: t.ConnectMS}, {Name: "tls", MS: t.TLSMS},
		{Name: "first-byte", MS: t.FirstByteMS}, {Name: "rest", MS: max(0, t.TotalMS-known)}} {
		part.X, part.Width = x, part.MS/longest*barWidth
		x += part.Width
		if part.MS > 0 {
			all = append(all, part)
		}
	}
	return all
}

// outcomes say in words what the egress's vocabulary means.
var outcomes = map[contract.Outcome]string{
	contract.OutcomeAddressRefused: "was not made: the address is not one that may be called",
	contract.OutcomeDNS:            "found no address: the host does not resolve",
	contract.OutcomeConnect:        "could not connect: the endpoint refused, or can't be reached",
	contract.OutcomeTLS:            "failed in the TLS handshake",
	contract.OutcomeTimeout:        "got no complete answer in time",
	contract.OutcomeReset:          "lost its connection, or what came back was not HTTP",
	contract.OutcomeUnvouched:      "was not made: the gateway did not take it for one of ours",
	contract.OutcomeOverloaded:     "was put off: the gateway has as many calls under way as it may",
	contract.OutcomeToken:          "was not made: there is no access token",
}

// details say more where an outcome has several causes.
var details = map[contract.Detail]string{
	contract.DetailConnectTimeout:     "no connection within its timeout",
	contract.DetailEgressProxy:        "the administrator's proxy made no connection",
	contract.DetailCertificateExpired: "the endpoint's certificate has expired, or is not valid yet",
	contract.DetailCertificateHost:    "the endpoint's certificate is of another host",
	contract.DetailCertificateIssuer:  "the endpoint's certificate is of an authority that is not trusted",
	contract.DetailClientCertificate:  "the subscription's client certificate can't be used",
	contract.DetailHandshakeRefused:   "the endpoint refused, maybe since it does not like our certificate",
	contract.DetailHeaderTimeout:      "no header within its timeout",
	contract.DetailHeadersTooLarge:    "headers without end",
	contract.DetailAnswerCut:          "its body is longer than what is kept",
	contract.DetailAnswerIncomplete:   "its body broke off, or did not end in time",
	contract.DetailRetryAfterBounded:  "its Retry-After asked for more than is granted",
	contract.DetailRetryAfterUnusable: "its Retry-After is unreadable, or lies in the past",
	contract.DetailTokenUnreachable:   "the token endpoint can't be reached",
	contract.DetailTokenTimeout:       "the token endpoint did not answer in time",
	contract.DetailTokenRefused:       "the token endpoint does not accept the client's credentials",
	contract.DetailTokenRequest:       "the token endpoint accepts the client and not what it asks for",
	contract.DetailTokenAnswer:        "the token endpoint failed, or its answer holds no token that can be used",
}

// words say what became of an attempt.
func words(a contract.Attempt) string {
	text, known := outcomes[a.Outcome]
	switch {
	case a.Outcome == contract.OutcomeResponse:
		text = fmt.Sprintf("was answered with %d", a.Status)
	case !known:
		text = "ended as " + string(a.Outcome)
	}
	if detail, ok := details[a.Detail]; ok {
		text += " (" + detail + ")"
	}
	return text
}
