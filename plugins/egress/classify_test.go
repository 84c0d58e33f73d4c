package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
)

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func TestClassify(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	handshake := func(err error) error { return &handshakeError{err} }
	tests := map[string]struct {
		err    error
		want   contract.Outcome
		detail contract.Detail
	}{
		"refused by the policy":       {dial(fmt.Errorf("%w: the address is not a public one", guard.ErrRefused)), contract.OutcomeAddressRefused, ""},
		"no such host":                {dial(&net.DNSError{Err: "no such host", IsNotFound: true}), contract.OutcomeDNS, ""},
		"DNS timeout":                 {dial(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), contract.OutcomeDNS, ""},
		"connection refused":          {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), contract.OutcomeConnect, ""},
		"no route":                    {dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), contract.OutcomeConnect, ""},
		"dial timeout":                {dial(timeoutError{}), contract.OutcomeConnect, ""},
		"no connection in time":       {errConnectTimeout, contract.OutcomeConnect, contract.DetailConnectTimeout},
		"no header in time":           {errHeaderTimeout, contract.OutcomeTimeout, contract.DetailHeaderTimeout},
		"too large, HTTP/1":           {errors.New("net/http: server response headers exceeded 65536 bytes; aborted"), contract.OutcomeReset, contract.DetailHeadersTooLarge},
		"too large, HTTP/2":           {errors.New("http2: response header list larger than advertised limit"), contract.OutcomeReset, contract.DetailHeadersTooLarge},
		"unknown authority":           {handshake(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), contract.OutcomeTLS, contract.DetailCertificateIssuer},
		"expired certificate":         {handshake(&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}), contract.OutcomeTLS, contract.DetailCertificateExpired},
		"wrong host":                  {handshake(x509.HostnameError{Certificate: &x509.Certificate{}}), contract.OutcomeTLS, contract.DetailCertificateHost},
		"no TLS":                      {handshake(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), contract.OutcomeTLS, ""},
		"alert from the other side":   {handshake(&net.OpError{Op: "remote error", Err: tls.AlertError(40)}), contract.OutcomeTLS, contract.DetailHandshakeRefused},
		"alert after the handshake":   {&net.OpError{Op: "remote error", Err: tls.AlertError(116)}, contract.OutcomeTLS, contract.DetailHandshakeRefused},
		"no client certificate":       {errCertificate, contract.OutcomeTLS, contract.DetailClientCertificate},
		"certificates not readable":   {fmt.Errorf("%w: redis", errCertificateUnknown), contract.OutcomeOverloaded, ""},
		"a plain text of the library": {handshake(errors.New("tls: server selected unsupported protocol version 301")), contract.OutcomeTLS, ""},
		"hung up in the handshake":    {handshake(io.EOF), contract.OutcomeTLS, ""},
		"reset in the handshake":      {handshake(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), contract.OutcomeTLS, ""},
		"the call's time":             {context.DeadlineExceeded, contract.OutcomeTimeout, ""},
		"wrapped deadline":            {fmt.Errorf("x: %w", os.ErrDeadlineExceeded), contract.OutcomeTimeout, ""},
		"read timeout":                {&net.OpError{Op: "read", Err: timeoutError{}}, contract.OutcomeTimeout, ""},
		"reset":                       {&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, contract.OutcomeReset, ""},
		"broken pipe":                 {&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, contract.OutcomeReset, ""},
		"end of file":                 {io.EOF, contract.OutcomeReset, ""},
		"cut":                         {io.ErrUnexpectedEOF, contract.OutcomeReset, ""},
		"not HTTP":                    {errors.New("net/http: HTTP/1.x transport connection broken: malformed HTTP response"), contract.OutcomeReset, ""},
		"http on https":               {handshake(http.ErrSchemeMismatch), contract.OutcomeTLS, ""},
		"canceled":                    {context.Canceled, contract.OutcomeReset, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, detail := classify(fmt.Errorf("round trip: %w", test.err)); got != test.want || detail != test.detail {
				t.Errorf("got %s (%s), want %s (%s)", got, detail, test.want, test.detail)
			}
		})
	}
}

func TestEveryFailureHasAStatusAndASentence(t *testing.T) {
	want := map[contract.Outcome]int{
		contract.OutcomeAddressRefused: 502, contract.OutcomeDNS: 502, contract.OutcomeConnect: 502, contract.OutcomeTLS: 502,
		contract.OutcomeTimeout: 504, contract.OutcomeReset: 502, contract.OutcomeUnvouched: 403, contract.OutcomeOverloaded: 503,
	}
	for outcome, status := range want {
		if a := failure(outcome, ""); a.status != status || sentences[outcome] == "" || a.outcome != outcome {
			t.Errorf("%s: got %+v", outcome, a)
		}
	}
	if len(want) != len(sentences) {
		t.Errorf("%d sentences", len(sentences))
	}
}

func TestTheTimeoutsAreTheStatementsWithinBounds(t *testing.T) {
	s := func(n int) contract.Duration { return contract.Duration(n) * contract.Duration(time.Second) }
	for name, test := range map[string]struct {
		given contract.Timeouts
		want  limits
	}{
		"none":                        {contract.Timeouts{}, limits{5 * time.Second, 15 * time.Second, 15 * time.Second}},
		"negative":                    {contract.Timeouts{Connect: -1, Header: -1, Total: -1}, limits{5 * time.Second, 15 * time.Second, 15 * time.Second}},
		"all":                         {contract.Timeouts{Connect: s(1), Header: s(2), Total: s(3)}, limits{1 * time.Second, 2 * time.Second, 3 * time.Second}},
		"a short total":               {contract.Timeouts{Total: s(1)}, limits{time.Second, time.Second, time.Second}},
		"a long total holds headers":  {contract.Timeouts{Total: s(30)}, limits{5 * time.Second, 30 * time.Second, 30 * time.Second}},
		"a short header":              {contract.Timeouts{Header: s(2)}, limits{2 * time.Second, 2 * time.Second, 15 * time.Second}},
		"parts longer than the whole": {contract.Timeouts{Connect: s(50), Header: s(40), Total: s(20)}, limits{20 * time.Second, 20 * time.Second, 20 * time.Second}},
		"beyond the gateway's time":   {contract.Timeouts{Connect: s(3600), Header: s(3600), Total: s(3600)}, limits{55 * time.Second, 55 * time.Second, 55 * time.Second}},
	} {
		if got := limitsOf(test.given); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
