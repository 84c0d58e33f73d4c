package token

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// counts are a Source's metrics.
type counts struct {
	requests     *prometheus.CounterVec
	looked       *prometheus.CounterVec
	hits, misses prometheus.Counter
	kept         *prometheus.Desc
}

const (
	requestGot     = "got"
	requestGateway = "gateway" // our own side failed
)

func newCounts() counts {
	c := counts{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_token_requests_total",
			Help: "Requests for access tokens by result: got, why there is none, or gateway (it made no call)."}, []string{"result"}),
		looked: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_token_lookups_total",
			Help: "Access tokens that callbacks needed, by result: hit (one is kept), miss."}, []string{"result"}),
		kept: prometheus.NewDesc("webhook_tokens_kept", "Access tokens, and reasons why there is none, in memory.", nil, nil),
	}
	c.hits, c.misses = c.looked.WithLabelValues("hit"), c.looked.WithLabelValues("miss")
	for _, result := range []string{requestGot, requestGateway, string(contract.DetailTokenUnreachable), string(contract.DetailTokenTimeout),
		string(contract.DetailTokenRefused), string(contract.DetailTokenRequest), string(contract.DetailTokenAnswer)} {
		c.requests.WithLabelValues(result) // there from the start, as zero
	}
	return c
}

func (c counts) request(err error) {
	var failure *Failure
	result := requestGot
	switch {
	case errors.As(err, &failure):
		result = string(failure.Detail)
	case err != nil:
		result = requestGateway
	}
	c.requests.WithLabelValues(result).Inc()
}

// Describe and Collect make a Source a prometheus.Collector.
func (s *Source) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect tells how often tokens were needed and asked for.
func (s *Source) Collect(ch chan<- prometheus.Metric) {
	s.counts.requests.Collect(ch)
	s.counts.looked.Collect(ch)
	ch <- prometheus.MustNewConstMetric(s.counts.kept, prometheus.GaugeValue, float64(s.kept.Len()))
}
