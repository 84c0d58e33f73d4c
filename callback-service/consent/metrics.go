package consent

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

type result string

const (
	resultGranted   result = "granted"
	resultRefused   result = "refused"   // the endpoint said no
	resultAgain     result = "again"     // it is asked again
	resultGivenUp   result = "given_up"  // it was asked often enough
	resultHeld      result = "held"      // the gateway made no call
	resultPostponed result = "postponed" // its consumer or its host was asked for too often
	resultStale     result = "stale"     // the answer is to a question that does not stand any more
)

// Metrics of the asker.
type Metrics struct{ questions *prometheus.CounterVec }

// NewMetrics registers the asker's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	return &Metrics{promauto.With(registry).NewCounterVec(prometheus.CounterOpts{Name: "webhook_verifications_total",
		Help: "Questions to endpoints whether they want callbacks, by method and what became of them."}, []string{"method", "result"})}
}

func (m *Metrics) count(method contract.Verification, r result) {
	m.questions.WithLabelValues(string(method), string(r)).Inc()
}

func resultOf(state contract.ConsentState, v Verdict) result {
	switch {
	case state == contract.ConsentVerified:
		return resultGranted
	case v.Kind == Refused:
		return resultRefused
	case state == contract.ConsentFailed:
		return resultGivenUp
	}
	return resultAgain
}
