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
		err  error
		want contract.Outcome
	}{
		"refused by the policy":       {dial(fmt.Errorf("%w: the address is not a public one", guard.ErrRefused)), contract.OutcomeAddressRefused},
		"no such host":                {dial(&net.DNSError{Err: "no such host", IsNotFound: true}), contract.OutcomeDNS},
		"DNS timeout":                 {dial(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), contract.OutcomeDNS},
		"connection refused":          {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), contract.OutcomeConnect},
		"no route":                    {dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), contract.OutcomeConnect},
		"dial timeout":                {dial(timeoutError{}), contract.OutcomeConnect},
		"the call's time, in a dial":  {dial(context.DeadlineExceeded), contract.OutcomeTimeout},
		"unknown authority":           {handshake(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), contract.OutcomeTLS},
		"expired certificate":         {handshake(&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}), contract.OutcomeTLS},
		"wrong host":                  {handshake(x509.HostnameError{Certificate: &x509.Certificate{}}), contract.OutcomeTLS},
		"no TLS":                      {handshake(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), contract.OutcomeTLS},
		"alert from the other side":   {handshake(&net.OpError{Op: "remote error", Err: tls.AlertError(40)}), contract.OutcomeTLS},
		"a plain text of the library": {handshake(errors.New("tls: server selected unsupported protocol version 301")), contract.OutcomeTLS},
		"hung up in the handshake":    {handshake(io.EOF), contract.OutcomeTLS},
		"reset in the handshake":      {handshake(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), contract.OutcomeTLS},
		"handshake timeout":           {handshake(context.DeadlineExceeded), contract.OutcomeTimeout},
		"the call's time":             {context.DeadlineExceeded, contract.OutcomeTimeout},
		"wrapped deadline":            {fmt.Errorf("x: %w", os.ErrDeadlineExceeded), contract.OutcomeTimeout},
		"read timeout":                {&net.OpError{Op: "read", Err: timeoutError{}}, contract.OutcomeTimeout},
		"reset":                       {&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, contract.OutcomeReset},
		"broken pipe":                 {&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, contract.OutcomeReset},
		"end of file":                 {io.EOF, contract.OutcomeReset},
		"cut":                         {io.ErrUnexpectedEOF, contract.OutcomeReset},
		"not HTTP":                    {errors.New("net/http: HTTP/1.x transport connection broken: malformed HTTP response"), contract.OutcomeReset},
		"http on https":               {handshake(http.ErrSchemeMismatch), contract.OutcomeTLS},
		"canceled":                    {context.Canceled, contract.OutcomeReset},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := classify(fmt.Errorf("round trip: %w", test.err)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
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
		if a := failure(outcome); a.status != status || sentences[outcome] == "" || a.outcome != outcome {
			t.Errorf("%s: got %+v", outcome, a)
		}
	}
	if len(want) != len(sentences) {
		t.Errorf("%d sentences", len(sentences))
	}
}

func TestTheTimeoutIsTheStatementsWithinBounds(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{
		0: 15 * time.Second, -1: 15 * time.Second, time.Second: time.Second, 55 * time.Second: 55 * time.Second, time.Hour: 55 * time.Second,
	} {
		if got := timeoutOf(grantFor(given)); got != want {
			t.Errorf("%s: got %s", given, got)
		}
	}
}
