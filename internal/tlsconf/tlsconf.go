// Package tlsconf makes the TLS configurations of the ways between the parts, from PEM files that may change under a running
// process: each connection begins with what the files hold then. TLS 1.2 is the least, and every server is verified by its name.
package tlsconf

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/secretfile"
)

// file is a file and the variable that names it.
type file struct{ variable, path string }

// names are the files of one side. Those that are not given are empty.
type names struct{ ca, cert, key file }

// material is what files hold.
type material struct {
	roots *x509.CertPool   // nil: the system's
	pair  *tls.Certificate // nil: none
}

// texts are the contents of CA, certificate and key.
type texts [3][]byte

// source keeps what the files held last. Its zero value has no files.
type source struct {
	names names
	log   *zap.Logger
	asked sync.Once // for a certificate that there is not

	mu    sync.Mutex
	texts texts
	made  material
	fault string
}

// open reads the files for the first time. Its error names all faults at once: the variable and the file, never what is in it.
func open(n names, log *zap.Logger) (*source, error) {
	t, err := n.read()
	if err != nil {
		return nil, err
	}
	s := &source{names: n, log: log, texts: t}
	s.made, err = n.parse(t, time.Now())
	return s, err
}

// current is what the files hold now. While they cannot be used, as between the replacement of a certificate and that of its key,
// it is what they held before.
func (s *source) current() material {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.names.read()
	if err == nil && t.equal(s.texts) {
		s.fault = ""
		return s.made
	}
	var made material
	if err == nil {
		made, err = s.names.parse(t, time.Now())
	}
	if err != nil {
		s.complain(err)
		return s.made
	}
	s.texts, s.made, s.fault = t, made, ""
	s.log.Info("new TLS files are in use", zap.String("certificate", s.names.cert.path), zap.String("authority", s.names.ca.path))
	return s.made
}

func (s *source) complain(err error) {
	if text := err.Error(); text != s.fault {
		s.fault = text
		s.log.Error("the new TLS files are not used: those before stay", zap.Error(err))
	}
}

func (t texts) equal(o texts) bool {
	return bytes.Equal(t[0], o[0]) && bytes.Equal(t[1], o[1]) && bytes.Equal(t[2], o[2])
}

func (n names) read() (t texts, err error) {
	var errs [4]error
	switch cert, key := n.cert.path != "", n.key.path != ""; {
	case cert && !key:
		errs[0] = fmt.Errorf("%s is missing: it names the key of the certificate in %s", n.key.variable, n.cert.variable)
	case key && !cert:
		errs[0] = fmt.Errorf("%s is missing: it names the certificate of the key in %s", n.cert.variable, n.key.variable)
	}
	t[0], errs[1] = n.ca.read(readPublic)
	t[1], errs[2] = n.cert.read(readPublic)
	t[2], errs[3] = n.key.read(secretfile.Read)
	return t, errors.Join(errs[:]...)
}

func (f file) read(from func(string) ([]byte, error)) ([]byte, error) {
	if f.path == "" {
		return nil, nil
	}
	text, err := from(f.path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.variable, err)
	}
	return text, nil
}

func readPublic(path string) ([]byte, error) {
	if err := secretfile.CheckName(path); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path) // #nosec G304 -- the operator's own file
	var fault *fs.PathError
	if errors.As(err, &fault) {
		return nil, fmt.Errorf("%s: %w", path, fault.Err)
	}
	return text, err
}

func (n names) parse(t texts, now time.Time) (m material, err error) {
	var errs [2]error
	if n.ca.path != "" {
		m.roots = x509.NewCertPool()
		if !m.roots.AppendCertsFromPEM(t[0]) {
			errs[0] = fmt.Errorf("%s: %s has no certificate in PEM", n.ca.variable, n.ca.path)
		}
	}
	if n.cert.path != "" {
		m.pair, errs[1] = n.pair(t, now)
	}
	return m, errors.Join(errs[:]...)
}

// pair refuses a certificate outside of its time: the other side would do so with less of a reason.
func (n names) pair(t texts, now time.Time) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(t[1], t[2])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %s and %s: %w", n.cert.variable, n.key.variable, n.cert.path, n.key.path, err)
	}
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("%s: the certificate in %s expired on %s", n.cert.variable, n.cert.path, leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("%s: the certificate in %s holds from %s on", n.cert.variable, n.cert.path, leaf.NotBefore.Format(time.RFC3339))
	}
	return &pair, nil
}
