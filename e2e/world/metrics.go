package world

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// ErrNoMetric is returned for a metric that the process does not have, or does not have yet.
var ErrNoMetric = errors.New("there is no metric")

// Metric reads a metric from a /metrics URL: the sum over its labels.
func Metric(ctx context.Context, url, name string) (float64, error) {
	answer, err := Client{Base: url}.Want(ctx, http.StatusOK, http.MethodGet, "", nil)
	if err != nil {
		return 0, err
	}
	return metricOf(string(answer.Body), name)
}

// Buckets reads a histogram from a /metrics URL: how many observations were at most each bound, over all its labels.
func Buckets(ctx context.Context, url, name string) (map[float64]float64, error) {
	answer, err := Client{Base: url}.Want(ctx, http.StatusOK, http.MethodGet, "", nil)
	if err != nil {
		return nil, err
	}
	return bucketsOf(string(answer.Body), name)
}

func bucketsOf(text, name string) (map[float64]float64, error) {
	counts := map[float64]float64{}
	for line := range strings.Lines(text) {
		labels, ok := strings.CutPrefix(strings.TrimSpace(line), name+"_bucket{")
		if !ok {
			continue
		}
		_, rest, _ := strings.Cut(labels, `le="`)
		bound, _, _ := strings.Cut(rest, `"`)
		le, err := strconv.ParseFloat(bound, 64)
		count, err2 := strconv.ParseFloat(labels[strings.LastIndexByte(labels, ' ')+1:], 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("the histogram %s: %w", name, err)
		}
		counts[le] += count
	}
	if len(counts) == 0 {
		return nil, fmt.Errorf("%w %s", ErrNoMetric, name)
	}
	return counts, nil
}

func metricOf(text, name string) (sum float64, err error) {
	found := false
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("the metric %s: %w", name, err)
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("%w %s", ErrNoMetric, name)
	}
	return sum, nil
}
