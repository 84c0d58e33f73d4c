package tracing

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"
)

func TestThereIsNoTracingUnlessAnEndpointIsSet(t *testing.T) {
	for _, c := range []Config{
		{}, {Sampler: "nonsense"}, {Endpoint: "http://c:4318", Disabled: "TRUE"}, {Endpoint: "http://c:4318", Exporter: "none"},
	} {
		tracer, exporting, err := Open(c, "p", zap.NewNop())
		require.NoError(t, err)
		require.False(t, tracer.On())
		require.NoError(t, exporting.Close(t.Context()))
	}
}

func TestEveryFaultIsNamedAndNoValue(t *testing.T) {
	_, _, err := Open(Config{
		Endpoint: "http://me:s3cret@collector:4318", Headers: "authorization s3cret", Protocol: "grpc", Exporter: "zipkin", Sampler: "jaeger", Resource: "a",
	}, "p", zap.NewNop())
	for _, name := range []string{"ENDPOINT", "HEADERS", "PROTOCOL", "TRACES_EXPORTER", "TRACES_SAMPLER", "RESOURCE_ATTRIBUTES"} {
		require.ErrorContains(t, err, name)
	}
	require.NotContains(t, err.Error(), "s3cret")
}

func TestTheStandardsValuesAreRead(t *testing.T) {
	s, err := Config{
		Endpoint: "https://collector/otlp/", Headers: "authorization=Bearer%20s3cret, x-team = a=b", Sampler: "parentbased_traceidratio", SamplerArg: "0.01",
		Resource: "deployment.environment.name=prod,service.version=1%2C2",
	}.read()
	require.NoError(t, err)
	require.Equal(t, "https://collector/otlp/v1/traces", s.url)
	require.Equal(t, map[string]string{"authorization": "Bearer s3cret", "x-team": "a=b"}, s.headers)
	require.Contains(t, s.sampler.Description(), "TraceIDRatioBased{0.01}")
	require.Contains(t, s.sampler.Description(), "ParentBased")
	require.Equal(t, []attribute.KeyValue{attribute.String("deployment.environment.name", "prod"), attribute.String("service.version", "1,2")}, s.resource)

	s, err = Config{Endpoint: "http://a", TracesEndpoint: "http://b:1/own", TracesHeaders: "a=1", Headers: "b=1"}.read()
	require.NoError(t, err)
	require.Equal(t, "http://b:1/own", s.url)
	require.Equal(t, map[string]string{"a": "1"}, s.headers)
}

func TestTheSamplersOfTheStandard(t *testing.T) {
	for name, want := range map[string]string{
		"": "ParentBased{root:AlwaysOnSampler", "always_on": "AlwaysOnSampler", "always_off": "AlwaysOffSampler", "traceidratio": "TraceIDRatioBased{1}",
		"parentbased_always_off": "ParentBased{root:AlwaysOffSampler",
	} {
		s, err := sampler(name, "")
		require.NoError(t, err, name)
		require.Contains(t, s.Description(), want, name)
	}
	for _, arg := range []string{"2", "-1", "NaN", "x"} {
		_, err := sampler("traceidratio", arg)
		require.ErrorContains(t, err, "OTEL_TRACES_SAMPLER_ARG", arg)
	}
	for _, name := range []string{"parentbased_", "jaeger_remote", "xray"} {
		_, err := sampler(name, "")
		require.Error(t, err, name)
	}
}
