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

// Config is what the standard variables of OpenTelemetry say, whose prefix is OTEL_. Its library reads some more by itself, such as
// OTEL_EXPORTER_OTLP_CERTIFICATE and _COMPRESSION, and OTEL_BSP_SCHEDULE_DELAY, how often spans are sent.
type Config struct {
	// Where the collector takes OTLP over HTTP, as `http://collector:4318`; without it, and without the one for traces, there is no tracing.
	Endpoint string `env:"EXPORTER_OTLP_ENDPOINT"`
	// The full URL where traces go, path included, in place of the one for all signals.
	TracesEndpoint string `env:"EXPORTER_OTLP_TRACES_ENDPOINT"`
	// What the collector wants to see as headers, as `key=value,key=value`, percent-encoded. They are secrets.
	Headers string `env:"EXPORTER_OTLP_HEADERS"`
	// The headers of requests with traces, in place of those for all signals.
	TracesHeaders string `env:"EXPORTER_OTLP_TRACES_HEADERS"`
	// The collector's protocol: `http/protobuf` is the only one.
	Protocol string `env:"EXPORTER_OTLP_PROTOCOL"`
	// The protocol for traces, which is `http/protobuf`, too.
	TracesProtocol string `env:"EXPORTER_OTLP_TRACES_PROTOCOL"`
	// `otlp`, or `none` for no tracing.
	Exporter string `env:"TRACES_EXPORTER"`
	// Which traces are recorded: `always_on`, `always_off` or `traceidratio`, each also with `parentbased_` before it, which leaves the
	// decision to whoever began the trace. `parentbased_always_on` unless set.
	Sampler string `env:"TRACES_SAMPLER"`
	// The share of traces that `traceidratio` records, 0 to 1, as `0.01`.
	SamplerArg string `env:"TRACES_SAMPLER_ARG"`
	// Further attributes of the process, as `key=value,key=value`, percent-encoded.
	Resource string `env:"RESOURCE_ATTRIBUTES"`
	// What the process is called in traces; its own name unless set.
	ServiceName string `env:"SERVICE_NAME"`
	// `true` for no tracing, whatever else is set.
	Disabled string `env:"SDK_DISABLED"`
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
