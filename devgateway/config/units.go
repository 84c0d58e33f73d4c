package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var sizeUnits = map[byte]int64{'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30}

// size reads a size as nginx writes it: bytes, or a number with k, m or g. 0 means no limit.
func size(v any) (int64, error) {
	text := strings.ToLower(fmt.Sprint(v))
	factor := int64(1)
	if n := len(text); n > 0 && sizeUnits[text[n-1]] > 0 {
		factor, text = sizeUnits[text[n-1]], text[:n-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%v is not a size such as 16m", v)
	}
	return n * factor, nil
}

// duration reads a time as nginx writes it: seconds, or a number with ms, s, m or h.
func duration(v any) (time.Duration, error) {
	text := fmt.Sprint(v)
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%v is not a time such as 15s", v)
	}
	return d, nil
}
