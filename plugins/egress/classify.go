package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
)

// handshakeError is what went wrong between the TCP connection and the first byte of HTTP. The TLS library has no common
// type for it: some of its errors are plain texts.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// classify tells what became of a call from the error of its round trip.
func classify(err error) (contract.Outcome, contract.Detail) {
	var (
		name      *net.DNSError
		handshake *handshakeError
		op        *net.OpError
		way       *proxyError
	)
	switch {
	case errors.Is(err, guard.ErrRefused):
		return contract.OutcomeAddressRefused, ""
	case errors.Is(err, errCertificate):
		return contract.OutcomeTLS, contract.DetailClientCertificate
	case errors.Is(err, errCertificateUnknown):
		return contract.OutcomeOverloaded, ""
	case errors.Is(err, errConnectTimeout):
		return contract.OutcomeConnect, contract.DetailConnectTimeout
	case errors.As(err, &way): // before its causes, which are about the proxy and not about the endpoint
		return contract.OutcomeConnect, contract.DetailEgressProxy
	case errors.As(err, &name):
		return contract.OutcomeDNS, ""
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert; with TLS 1.3 a client certificate is refused after the handshake
		return contract.OutcomeTLS, contract.DetailHandshakeRefused
	case errors.As(err, &handshake):
		return contract.OutcomeTLS, certificateFault(err)
	case errors.As(err, &op) && op.Op == "dial":
		return contract.OutcomeConnect, ""
	case errors.Is(err, errHeaderTimeout):
		return contract.OutcomeTimeout, contract.DetailHeaderTimeout
	case isTimeout(err):
		return contract.OutcomeTimeout, ""
	case headersTooLarge(err):
		return contract.OutcomeReset, contract.DetailHeadersTooLarge
	}
	return contract.OutcomeReset, ""
}

func certificateFault(err error) contract.Detail {
	var (
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		issuer  x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return contract.DetailCertificateExpired
	case errors.As(err, &host):
		return contract.DetailCertificateHost
	case errors.As(err, &issuer):
		return contract.DetailCertificateIssuer
	}
	return ""
}

// headersTooLarge knows the texts of net/http, which has no type for it: of HTTP/1 and of HTTP/2.
func headersTooLarge(err error) bool {
	return strings.Contains(err.Error(), "response headers exceeded") || strings.Contains(err.Error(), "header list larger")
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// sentences are all that is told of a failure: neither the URL nor an address.
var sentences = map[contract.Outcome]string{
	contract.OutcomeAddressRefused: "the endpoint's address is not one that may be called",
	contract.OutcomeDNS:            "the endpoint's host does not resolve",
	contract.OutcomeConnect:        "no connection to the endpoint",
	contract.OutcomeTLS:            "the TLS handshake with the endpoint failed",
	contract.OutcomeTimeout:        "the endpoint did not answer in time",
	contract.OutcomeReset:          "the connection broke before the endpoint had answered",
	contract.OutcomeUnvouched:      "the call has no valid pass",
	contract.OutcomeOverloaded:     "too many calls are under way: try again",
}
