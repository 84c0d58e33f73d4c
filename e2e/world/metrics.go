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
