package callback

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// published are the messages by which a case's event can come to the listener. The API tests that over HTTP, whichever mode, it
// is a message of EventMessage.
func published(t *testing.T, c testkit.DataCase) map[string]rabbit.Message {
	t.Helper()
	batch, err := contract.ParseBatch([]byte(`[` + c.Event("e0", "t") + `, ` + c.Event("e1", "order.created") + `]`))
	require.NoError(t, err)
	return map[string]rabbit.Message{
		"AMQP structured": {ContentType: "application/cloudevents+json", Body: []byte(c.Event("e1", "order.created"))},
		"AMQP binary":     {ContentType: c.ContentType, Headers: c.Headers("e1", "order.created"), Body: []byte(c.Data)},
		"HTTP":            rabbit.EventMessage(batch[1]),
	}
}

func TestDataArrivesByteForByteFromEachWayInEachFormat(t *testing.T) {
	for _, c := range testkit.DataCases() {
		for way, m := range published(t, c) {
			for _, format := range []contract.Format{contract.FormatStructured, contract.FormatBinary, contract.FormatData} {
				t.Run(c.Name+"/"+way+"/"+string(format), func(t *testing.T) {
					e, err := contract.ParseEvent(m.ContentType, m.Headers, m.Body)
					require.NoError(t, err)
					sent := rabbit.CommandMessage(contract.NewCommand(e, "sub_1", "orders", noon))
					cmd, err := contract.DecodeCommand(sent.ContentType, sent.Headers, sent.Body)
					require.NoError(t, err)
					header, body, err := build(cmd, subscription(format), noon)
					require.NoError(t, err)
					require.NoError(t, c.Arrived(format, header, body), "%s", body)
				})
			}
		}
	}
}
