package tlsconf

import (
	"crypto/tls"
	"errors"
	"fmt"

	"go.uber.org/zap"
)

// ServerFiles name the PEM files of the side that listens.
type ServerFiles struct {
	// The listener's certificate; without one it has no TLS.
	Cert string `env:"CERT"`
	// The certificate's key.
	Key string `env:"KEY"`
	// The authorities of which a client must show a certificate, for your gateways alone; without it clients need none.
	ClientCA string `env:"CLIENT_CA"`
}

// NewServer makes the configuration of a listener, nil if there are no files. prefix is that of the variables that name them. Its
// error names all faults at once.
func NewServer(prefix string, f ServerFiles, log *zap.Logger) (*tls.Config, error) {
	if f == (ServerFiles{}) {
		return nil, nil
	}
	s, err := open(names{ca: file{prefix + "CLIENT_CA", f.ClientCA}, cert: file{prefix + "CERT", f.Cert}, key: file{prefix + "KEY", f.Key}}, log)
	if f.ClientCA != "" && f.Cert == "" && f.Key == "" {
		err = errors.Join(err, fmt.Errorf("%sCERT and %sKEY are missing: without them there is no TLS in which a client could show a certificate", prefix, prefix))
	}
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.config(), nil },
	}, nil
}

// config has no session tickets: who resumed a session would not be looked at again.
func (s *source) config() *tls.Config {
	m := s.current()
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*m.pair}, SessionTicketsDisabled: true}
	if m.roots != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, m.roots
	}
	return config
}
