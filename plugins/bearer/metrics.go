package bearer

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What becomes of a token beside the reasons for which it is refused.
const (
	resultGood       = "good"
	resultRemembered = "remembered" // it was good a moment ago
	resultNoKeys     = "no_keys"    // it can't be judged
)

// counts are a Verifier's metrics.
type counts struct {
	tokens  *prometheus.CounterVec
	fetches *prometheus.CounterVec

	remembered prometheus.Counter
}

func newCounts() *counts {
	c := &counts{
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_token_verifications_total",
			Help: "Tokens of callers that were looked at, by result: good, remembered (good a moment ago), no_keys (it can't be judged), or why it was refused."}, []string{"result"}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_issuer_key_fetches_total",
			Help: "Fetches of the public keys of issuers, by result: got, failed."}, []string{"result"}),
	}
	c.remembered = c.tokens.WithLabelValues(resultRemembered)
	for _, result := range []string{"got", "failed"} {
		c.fetches.WithLabelValues(result) // there from the start, as zero
	}
	return c
}

func (c *counts) verified(err error) {
	var refused *Refused
	result := resultGood
	switch {
	case errors.As(err, &refused):
		result = string(refused.Reason)
	case err != nil:
		result = resultNoKeys
	}
	c.tokens.WithLabelValues(result).Inc()
}

func (c *counts) fetched(err error) {
	if err != nil {
		c.fetches.WithLabelValues("failed").Inc()
		return
	}
	c.fetches.WithLabelValues("got").Inc()
}

var keysAge = prometheus.NewDesc("webhook_issuer_keys_age_seconds", "Age of the oldest issuer's keys that are in use: beyond an hour they do not hold any more.", nil, nil)

// Describe and Collect make a Verifier a prometheus.Collector.
func (v *Verifier) Describe(ch chan<- *prometheus.Desc) {
	ch <- keysAge
	v.counts.tokens.Describe(ch)
	v.counts.fetches.Describe(ch)
}

// Collect tells what became of tokens. It fetches nothing.
func (v *Verifier) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(keysAge, prometheus.GaugeValue, v.sources.oldest().Seconds())
	v.counts.tokens.Collect(ch)
	v.counts.fetches.Collect(ch)
}

// oldest is the age of the keys that were fetched the longest ago; zero: there are none.
func (p *sources) oldest() (age time.Duration) {
	p.byURL.Range(func(_, s any) bool {
		if _, a := s.(*source).age(); a > age {
			age = a
		}
		return true
	})
	return age
}
