// Package metrics is how the project's processes measure: the shape of their histograms, labels that stay bounded, and the
// rules that every metric's name follows (Lint).
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Classic buckets, in seconds, for those who do not scrape native histograms.
var (
	// Quick is for what happens between our own parts.
	Quick = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
	// Calls is for what an endpoint has a say in.
	Calls = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	// Waits is for what may take days.
	Waits = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 10800, 86400}
)

// Native histograms are a tenth precise. Their buckets are bounded: beyond that the histogram begins anew, though not more than
// once an hour, and is less precise until then.
const (
	nativeFactor  = 1.1
	nativeBuckets = 160
	nativeReset   = time.Hour
)

// Histogram makes the options of a histogram that is a native one and has classic buckets as well.
func Histogram(name, help string, classic []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: classic,
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: nativeReset,
	}
}
