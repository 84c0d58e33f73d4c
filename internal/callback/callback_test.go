package callback

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

const (
	secretOne = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // #nosec G101 -- the example of the specification
	secretTwo = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

var (
	noon       = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	transforms = expr.NewCache(10)
)

func build(cmd contract.Command, sub *contract.Subscription, now time.Time) (http.Header, []byte, error) {
	return Build(cmd, sub, "", tracing.OfCommand(cmd), transforms, now)
}

func command(contentType, data string) contract.Command {
	e := event.New()
	e.SetID("id-1")
	e.SetSource("/shop")
	e.SetType("order.created")
	if contentType != "" {
		e.SetDataContentType(contentType)
	}
	e.DataEncoded = []byte(data)
	return contract.Command{Delivery: "dlv_1", Subscription: "sub_1", Resource: "orders", Attempt: 1, Created: noon, Event: &e}
}

func subscription(format contract.Format) *contract.Subscription {
	return &contract.Subscription{ID: "sub_1", CallbackURL: "https://consumer.example/hooks", Format: format,
		Status: contract.StatusActive, Confidential: contract.Confidential{Secrets: []contract.Secret{{Value: secretOne}}}}
}

func TestTheSignatureVerifiesInEveryFormat(t *testing.T) {
	for _, format := range []contract.Format{contract.FormatStructured, contract.FormatBinary, contract.FormatData} {
		now := time.Now()
		header, body, err := build(command("application/json", `{"a": 1.0}`), subscription(format), now)
		require.NoError(t, err)
		hook, err := standardwebhooks.NewWebhook(secretOne)
		require.NoError(t, err)
		require.NoError(t, hook.Verify(body, header), format)
		require.Equal(t, "dlv_1", header.Get("webhook-id"))
	}
}

func TestBothSecretsSignDuringAnOverlapAndOnlyTheNewOneAfter(t *testing.T) {
	sub := subscription(contract.FormatData)
	sub.Secrets = []contract.Secret{{Value: secretTwo}, {Value: secretOne, Until: noon}}
	header, _, err := build(command("", `1`), sub, noon.Add(-time.Second))
	require.NoError(t, err)
	require.Len(t, strings.Fields(header.Get("webhook-signature")), 2)
	header, _, err = build(command("", `1`), sub, noon)
	require.NoError(t, err)
	require.Len(t, strings.Fields(header.Get("webhook-signature")), 1)
}

func TestASecretThatCanNotSignIsAnErrorWithoutTheSecret(t *testing.T) {
	for _, secrets := range [][]contract.Secret{nil, {{Value: "whsec_not!base64"}}} {
		sub := subscription(contract.FormatData)
		sub.Secrets = secrets
		_, _, err := build(command("", `1`), sub, noon)
		require.ErrorIs(t, err, errSecret)
		require.NotContains(t, err.Error(), "base64")
	}
}

func TestDataIsNotTouched(t *testing.T) {
	const data = "{ \"b\" : 1e2,\n\t\"a\": \"\\u00e9é<&>\" }"
	_, body, err := build(command("application/json", data), subscription(contract.FormatStructured), noon)
	require.NoError(t, err)
	require.Contains(t, string(body), `"data":`+data)
	for _, format := range []contract.Format{contract.FormatBinary, contract.FormatData} {
		_, body, err := build(command("application/json", data), subscription(format), noon)
		require.NoError(t, err)
		require.Equal(t, data, string(body))
	}
}

func TestBytesTravelAsBase64InTheStructuredFormat(t *testing.T) {
	cmd := command("application/octet-stream", "\x00\xff\x01")
	cmd.Event.DataBase64 = true
	_, body, err := build(cmd, subscription(contract.FormatStructured), noon)
	require.NoError(t, err)
	require.Contains(t, string(body), `"data_base64":"`+base64.StdEncoding.EncodeToString([]byte("\x00\xff\x01"))+`"`)
}

func TestBinaryFormatCarriesTheAttributesAsHeaders(t *testing.T) {
	cmd := command("text/plain", "hello")
	cmd.Event.SetSubject("Zoë €")
	cmd.Event.SetExtension("sequence", 7)
	header, body, err := build(cmd, subscription(contract.FormatBinary), noon)
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))
	for name, want := range map[string]string{
		"Ce-Id": "id-1", "Ce-Source": "/shop", "Ce-Type": "order.created", "Ce-Specversion": "1.0", "Ce-Sequence": "7",
		"Ce-Subject": "Zo%C3%AB%20%E2%82%AC", "Content-Type": "text/plain",
	} {
		require.Equal(t, want, header.Get(name), name)
	}
}

func TestTheContentTypeOfPlainData(t *testing.T) {
	for _, c := range []struct {
		contentType string
		base64      bool
		want        string
	}{{"", false, "application/json"}, {"", true, "application/octet-stream"}, {"image/png", true, "image/png"}} {
		cmd := command(c.contentType, "1")
		cmd.Event.DataBase64 = c.base64
		header, _, err := build(cmd, subscription(contract.FormatData), noon)
		require.NoError(t, err)
		require.Equal(t, c.want, header.Get("Content-Type"))
	}
}

func TestATransformMakesTheBodyOfTheDataFormat(t *testing.T) {
	sub := subscription(contract.FormatData)
	sub.Transform = `{"number": data.id, "total": data.total, "of": source}`
	header, body, err := build(command("application/vnd.shop+json", `{"id":"4711","total":250.0,"more":1}`), sub, time.Now())
	require.NoError(t, err)
	require.Equal(t, `{"number":"4711","of":"/shop","total":250}`, string(body))
	require.Equal(t, "application/json", header.Get("Content-Type"))
	hook, err := standardwebhooks.NewWebhook(secretOne)
	require.NoError(t, err)
	require.NoError(t, hook.Verify(body, header), "the signature is over the transformed body")
}

func TestATransformThatFailsSaysWhyAndNothingOfTheEvent(t *testing.T) {
	for transform, why := range map[string]string{
		`data.nothing`: "no such key: nothing", `data.id.matches(data.id)`: "does not take", `1.0 / 0.0`: "infinite", `data.id >`: "Syntax error",
	} {
		sub := subscription(contract.FormatData)
		sub.Transform = transform
		_, _, err := build(command("application/json", `{"id":"s3cr3t("}`), sub, noon)
		require.ErrorIs(t, err, ErrRequest)
		require.ErrorContains(t, err, "transform: ")
		require.ErrorContains(t, err, why)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
}

func TestATestEventIsNotTransformed(t *testing.T) {
	sub := subscription(contract.FormatData)
	sub.Resource, sub.Transform = "orders", `data.id`
	cmd := command("", "")
	cmd.Event = contract.NewTestEvent(*sub, noon)
	_, body, err := build(cmd, sub, noon)
	require.NoError(t, err)
	require.Contains(t, string(body), "test event")
	cmd.Event.SetSource("/shop")
	_, _, err = build(cmd, sub, noon)
	require.ErrorIs(t, err, ErrRequest, "a producer's event of that type is one like any other")
}

func TestTheConsumersHeadersAndCredentialAreSent(t *testing.T) {
	sub := subscription(contract.FormatData)
	sub.Headers = map[string]string{"X-Team": "billing"}
	for _, c := range []struct {
		auth *contract.Auth
		want string
	}{
		{nil, ""},
		{&contract.Auth{Type: "bearer", Token: "abc"}, "Bearer abc"},
		{&contract.Auth{Type: "basic", Username: "me", Password: "pw"}, "Basic " + base64.StdEncoding.EncodeToString([]byte("me:pw"))},
	} {
		sub.Auth = c.auth
		header, _, err := build(command("", "1"), sub, noon)
		require.NoError(t, err)
		require.Equal(t, c.want, header.Get("Authorization"))
		require.Equal(t, "billing", header.Get("X-Team"))
	}
}

func TestTheProducersTraceGoesOnAndABrokenOneIsReplaced(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for value, kept := range map[string]bool{parent: true, "00-xyz": false, "": false, parent + "\r\nX-Evil: 1": false} {
		cmd := command("", "1")
		if value != "" {
			cmd.Event.SetExtension("traceparent", value)
			cmd.Event.SetExtension("tracestate", "shop=1")
		}
		header, _, err := build(cmd, subscription(contract.FormatData), noon)
		require.NoError(t, err)
		require.Regexp(t, `^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`, header.Get("Traceparent"))
		require.Equal(t, kept, header.Get("Traceparent") == parent)
		require.Equal(t, kept, header.Get("Tracestate") != "")
		again, _, err := build(cmd, subscription(contract.FormatData), noon)
		require.NoError(t, err)
		require.Equal(t, header.Get("Traceparent")[:35], again.Get("Traceparent")[:35], "every attempt is of the same trace")
	}
}

func BenchmarkBuild(b *testing.B) {
	cmd, sub := command("application/json", `{"order":"4711","total":12.5}`), subscription(contract.FormatStructured)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := build(cmd, sub, noon); err != nil {
			b.Fatal(err)
		}
	}
}

func TestControlCharactersNeverReachAHeader(t *testing.T) {
	cmd := command("application/json", "1")
	cmd.Event.SetSubject("a\r\nX-Evil: 1")
	header, _, err := build(cmd, subscription(contract.FormatBinary), noon)
	require.NoError(t, err)
	require.Equal(t, "a%0D%0AX-Evil:%201", header.Get("Ce-Subject"))

	cmd.Event.SetExtension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	cmd.Event.SetExtension("tracestate", "a\r\nX-Evil: 1")
	header, _, err = build(cmd, subscription(contract.FormatStructured), noon)
	require.NoError(t, err)
	require.NotContains(t, header, "Tracestate")
}
