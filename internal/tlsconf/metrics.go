package tlsconf

import (
	"crypto/tls"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	expiry = prometheus.NewDesc("webhook_certificate_expiry_timestamp_seconds", "When a certificate of ours expires, by the variable that names it; listener is the gateway's listener.",
		[]string{"kind"}, nil)
	faulty = prometheus.NewDesc("webhook_certificate_fault", "1 while changed TLS files can't be used and those before stay, by the variable of the certificate or the authority.",
		[]string{"kind"}, nil)
)

// Certificates tells when a process's certificates expire; a prometheus.Collector.
type Certificates struct {
	listener *tls.Config
	clients  []*Client
}

// NewCertificates takes a listener's configuration, which NewServer made and which may be nil, and clients.
func NewCertificates(listener *tls.Config, clients ...*Client) *Certificates {
	return &Certificates{listener, clients}
}

// Describe and Collect make it a prometheus.Collector.
func (*Certificates) Describe(ch chan<- *prometheus.Desc) { ch <- expiry; ch <- faulty }

// Collect reads the files as the next connection would.
func (c *Certificates) Collect(ch chan<- prometheus.Metric) {
	if c.listener != nil {
		if config, err := c.listener.GetConfigForClient(nil); err == nil {
			tellExpiry(ch, &config.Certificates[0], "listener")
		}
	}
	for _, client := range c.clients {
		if client != nil && client.source != nil {
			client.source.tell(ch)
		}
	}
}

func (s *source) tell(ch chan<- prometheus.Metric) {
	kind := s.names.cert.variable
	if s.names.cert.path == "" {
		if kind = s.names.ca.variable; s.names.ca.path == "" {
			return // there are no files
		}
	}
	if m := s.current(); m.pair != nil {
		tellExpiry(ch, m.pair, kind)
	}
	fault := 0.0
	if s.isFaulty() {
		fault = 1
	}
	ch <- prometheus.MustNewConstMetric(faulty, prometheus.GaugeValue, fault, kind)
}

func (s *source) isFaulty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault != ""
}

func tellExpiry(ch chan<- prometheus.Metric, pair *tls.Certificate, kind string) {
	ch <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(pair.Leaf.NotAfter.Unix()), kind)
}
