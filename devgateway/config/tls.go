package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// Upstream is where a route's calls go. Two that are equal are the same.
type Upstream struct {
	Node       string // host:port
	HostOfNode bool   // the Host header names the node, not what the client called
	Secure     bool
	// Cert and Key are what the gateway shows, in PEM; "" for none.
	Cert, Key string
}

// SSL is a certificate of the gateway, for the names that clients ask for.
type SSL struct {
	Names []string
	Pair  tls.Certificate
	// Clients is whose clients may come in; nil: all.
	Clients *x509.CertPool
}

type clientFile struct {
	Cert string `yaml:"client_cert"`
	Key  string `yaml:"client_key"`
}

type sslFile struct {
	ID     string   `yaml:"id"`
	SNI    string   `yaml:"sni"`
	SNIs   []string `yaml:"snis"`
	Cert   string   `yaml:"cert"`
	Key    string   `yaml:"key"`
	Client struct {
		CA    string `yaml:"ca"`
		Depth int    `yaml:"depth"`
	} `yaml:"client"`
}

// secure reads how to speak to an upstream. nginx verifies it by the Host header that it gets.
func (u *upstreamFile) secure(path string, to *Upstream) error {
	switch u.Scheme {
	case "", "http":
		if u.TLS != (clientFile{}) {
			return fmt.Errorf("%s.tls is for an upstream with the scheme https", path)
		}
		return nil
	case "https":
	default:
		return fmt.Errorf("%s.scheme is %q: devgateway knows http and https only", path, u.Scheme)
	}
	if to.Secure, to.Cert, to.Key = true, u.TLS.Cert, u.TLS.Key; !to.HostOfNode {
		return fmt.Errorf("%s.pass_host must be node: by a client's Host header no upstream could be verified", path)
	}
	if _, err := to.Certificates(); err != nil {
		return fmt.Errorf("%s.tls: client_cert and client_key: %w", path, err)
	}
	return nil
}

// Certificates is what the gateway shows to the upstream, if anything.
func (u Upstream) Certificates() ([]tls.Certificate, error) {
	if u.Cert == "" && u.Key == "" {
		return nil, nil
	}
	pair, err := tls.X509KeyPair([]byte(u.Cert), []byte(u.Key))
	return []tls.Certificate{pair}, err //nolint:wrapcheck // the caller has the path
}

func (f *rulesFile) ssls() ([]SSL, error) {
	var list []SSL
	var errs []error
	for i := range f.SSLs {
		ssl, err := f.SSLs[i].resolve()
		if err != nil {
			errs = append(errs, fmt.Errorf("ssls[%d]: %w", i, err))
		}
		list = append(list, ssl)
	}
	return list, errors.Join(errs...)
}

func (f *sslFile) resolve() (ssl SSL, err error) {
	if ssl.Names = f.SNIs; f.SNI != "" {
		ssl.Names = append(ssl.Names, f.SNI)
	}
	var errs [4]error
	if f.ID == "" {
		errs[0] = errors.New("id is missing")
	}
	if len(ssl.Names) == 0 {
		errs[1] = errors.New("snis is missing: give the names that clients ask for")
	}
	if ssl.Pair, err = tls.X509KeyPair([]byte(f.Cert), []byte(f.Key)); err != nil {
		errs[2] = fmt.Errorf("cert and key: %w", err)
	}
	if f.Client.CA != "" {
		ssl.Clients = x509.NewCertPool()
		if !ssl.Clients.AppendCertsFromPEM([]byte(f.Client.CA)) {
			errs[3] = errors.New("client.ca has no certificate in PEM")
		}
	}
	return ssl, errors.Join(errs[:]...)
}
