package tracing

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/net/http/httpguts"
)

// Config is what the standard variables of OpenTelemetry say. Its library reads some more by itself, such as
// OTEL_EXPORTER_OTLP_CERTIFICATE and _COMPRESSION, and OTEL_BSP_SCHEDULE_DELAY, how often spans are sent.
type Config struct {
	// Endpoint is the collector's base URL, as http://collector:4318. Without it, and without TracesEndpoint, there is no tracing.
	Endpoint string `env:"OTEL_EXPORTER_OTLP_ENDPOINT"`
	// TracesEndpoint is the full URL where traces go, path included.
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"`
	// Headers are what the collector wants to see, as key=value,key=value, percent-encoded: secrets.
	Headers       string `env:"OTEL_EXPORTER_OTLP_HEADERS"`
	TracesHeaders string `env:"OTEL_EXPORTER_OTLP_TRACES_HEADERS"`
	// Protocol is http/protobuf, the only one.
	Protocol       string `env:"OTEL_EXPORTER_OTLP_PROTOCOL"`
	TracesProtocol string `env:"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"`
	// Exporter is otlp or none.
	Exporter string `env:"OTEL_TRACES_EXPORTER"`
	// Sampler says which traces are recorded; parentbased_always_on unless it is set. SamplerArg is its ratio, 0 to 1.
	Sampler    string `env:"OTEL_TRACES_SAMPLER"`
	SamplerArg string `env:"OTEL_TRACES_SAMPLER_ARG"`
	// Resource has further attributes of the process, as key=value,key=value, percent-encoded.
	Resource string `env:"OTEL_RESOURCE_ATTRIBUTES"`
	// ServiceName replaces the process's own name.
	ServiceName string `env:"OTEL_SERVICE_NAME"`
	// Disabled turns tracing off with "true".
	Disabled string `env:"OTEL_SDK_DISABLED"`
}

// settings are a Config that was read.
type settings struct {
	url      string
	headers  map[string]string
	sampler  sdk.Sampler
	resource []attribute.KeyValue
}

// on reports whether spans go anywhere.
func (c Config) on() bool {
	return !strings.EqualFold(c.Disabled, "true") && c.Exporter != "none" && (c.Endpoint != "" || c.TracesEndpoint != "")
}

// read reports every fault at once, without the values: the headers are secrets, and a URL may hold one.
func (c Config) read() (s settings, err error) {
	var errs [6]error
	s.url, errs[0] = c.url()
	s.headers, errs[1] = c.headers()
	s.sampler, errs[2] = sampler(c.Sampler, c.SamplerArg)
	s.resource, errs[3] = c.attributes()
	for name, protocol := range map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": c.Protocol, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": c.TracesProtocol} {
		if protocol != "" && protocol != "http/protobuf" {
			errs[4] = fmt.Errorf("%s: use http/protobuf, which collectors take on port 4318", name)
		}
	}
	if c.Exporter != "" && c.Exporter != "otlp" {
		errs[5] = errors.New("OTEL_TRACES_EXPORTER: use otlp or none")
	}
	return s, errors.Join(errs[:]...)
}

func (c Config) url() (string, error) {
	name, raw, path := "OTEL_EXPORTER_OTLP_ENDPOINT", c.Endpoint, "v1/traces"
	if c.TracesEndpoint != "" {
		name, raw, path = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.TracesEndpoint, ""
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return "", fmt.Errorf("%s cannot be read: write it as http://collector:4318, and what is secret into OTEL_EXPORTER_OTLP_HEADERS", name)
	}
	return u.JoinPath(path).String(), nil
}

func (c Config) headers() (map[string]string, error) {
	name, raw := "OTEL_EXPORTER_OTLP_HEADERS", c.Headers
	if c.TracesHeaders != "" {
		name, raw = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", c.TracesHeaders
	}
	headers := map[string]string{}
	err := eachPair(raw, func(key, value string) bool {
		headers[key] = value
		return httpguts.ValidHeaderFieldName(key) && httpguts.ValidHeaderFieldValue(value)
	})
	if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return headers, nil
}

func (c Config) attributes() ([]attribute.KeyValue, error) {
	var all []attribute.KeyValue
	err := eachPair(c.Resource, func(key, value string) bool {
		all = append(all, attribute.String(key, value))
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES %w", err)
	}
	return all, nil
}

var errPairs = errors.New("cannot be read: write it as key=value,key=value, percent-encoded")

// eachPair reads the W3C Baggage form that the standard's lists have.
func eachPair(raw string, take func(key, value string) bool) error {
	for pair := range strings.SplitSeq(raw, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, found := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !found || key == "" || err != nil || !take(key, value) {
			return errPairs
		}
	}
	return nil
}

// sampler knows the standard's names. Those that begin with parentbased_ do as whoever sent us the trace did, and decide only
// about traces that begin here.
func sampler(name, arg string) (sdk.Sampler, error) {
	own, parentBased := strings.CutPrefix(name, "parentbased_")
	var s sdk.Sampler
	switch {
	case name == "", own == "always_on":
		s = sdk.AlwaysSample()
	case own == "always_off":
		s = sdk.NeverSample()
	case own == "traceidratio":
		ratio, err := ratioOf(arg)
		if err != nil {
			return nil, err
		}
		s = sdk.TraceIDRatioBased(ratio)
	default:
		return nil, errors.New("OTEL_TRACES_SAMPLER: use always_on, always_off or traceidratio, each also with parentbased_ before it")
	}
	if name == "" || parentBased {
		s = sdk.ParentBased(s)
	}
	return s, nil
}

func ratioOf(arg string) (float64, error) {
	if arg == "" {
		return 1, nil
	}
	ratio, err := strconv.ParseFloat(arg, 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) { // nor NaN
		return 0, errors.New("OTEL_TRACES_SAMPLER_ARG: use 0 to 1, as in 0.01 for one trace of a hundred")
	}
	return ratio, nil
}
