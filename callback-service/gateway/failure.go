package gateway

import (
	"fmt"
	"net/http"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// outcomes are the sentences for what went wrong; details are more precise where there is one.
var (
	outcomes = map[contract.Outcome]string{
		contract.OutcomeAddressRefused: "the callback's host leads to an address that may not be called",
		contract.OutcomeDNS:            "the callback's host does not resolve",
		contract.OutcomeConnect:        "the endpoint takes no connection",
		contract.OutcomeTLS:            "the endpoint's TLS handshake or certificate failed",
		contract.OutcomeTimeout:        "the endpoint did not answer in time",
		contract.OutcomeReset:          "the endpoint broke the connection",
		contract.OutcomeToken:          "there is no access token to call the endpoint with",
	}
	details = map[contract.Detail]string{
		contract.DetailConnectTimeout:     "the endpoint took no connection in time",
		contract.DetailEgressProxy:        "the administrator's egress proxy made no connection to the endpoint",
		contract.DetailCertificateExpired: "the endpoint's certificate has expired or is not valid yet",
		contract.DetailCertificateHost:    "the endpoint's certificate is for another host",
		contract.DetailCertificateIssuer:  "the endpoint's certificate is of an authority that is not trusted",
		contract.DetailClientCertificate:  "the subscription's client certificate cannot be used",
		contract.DetailHandshakeRefused:   "the endpoint refused the TLS handshake: it may want another client certificate",
		contract.DetailTokenUnreachable:   "no access token: the token endpoint cannot be reached",
		contract.DetailTokenTimeout:       "no access token: the token endpoint did not answer in time",
		contract.DetailTokenRefused:       "no access token: the token endpoint does not accept the client's credentials",
		contract.DetailTokenRequest:       "no access token: the token endpoint does not take the request, see scope, audience and auth_style",
		contract.DetailTokenAnswer:        "no access token: the token endpoint's answer holds none that can be used",
		contract.DetailHeaderTimeout:      "the endpoint sent no answer in time",
		contract.DetailHeadersTooLarge:    "the endpoint's headers do not end",
	}
)

// Busy is the reason where the gateway, and not the endpoint, kept a call from being made.
const Busy = "the gateway cannot make the call at the moment"

// Untakable says in a sentence that the gateway will never take the request, of an answer that is not the endpoint's; "" if it may.
func (a Answer) Untakable() string {
	switch a.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return fmt.Sprintf("the gateway does not take this request: %d %s", a.Status, http.StatusText(a.Status))
	}
	return ""
}

// Failure says in a sentence why there is no answer of the endpoint's; "" where there is one, or where the gateway failed.
func (a Answer) Failure() string {
	text := details[a.Detail]
	switch {
	case a.Outcome == contract.OutcomeResponse:
		return ""
	case a.Outcome == contract.OutcomeToken && a.Status != 0:
		return fmt.Sprintf("%s: it answered %d", text, a.Status)
	case text != "":
		return text
	}
	return outcomes[a.Outcome]
}
