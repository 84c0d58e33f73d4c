package expr

import (
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
)

func TestValuesAreTheFieldsThatAnExpressionLooksAt(t *testing.T) {
	e := event.New()
	e.SetType("order.paid")
	e.DataEncoded = []byte(`{"total": 5, "customer": {"name": "acme"}, "lines": [{"sku": "A"}], "long": "` + strings.Repeat("x", 1000) + `"}`)
	v := NewVars(&e)
	for text, want := range map[string][]Value{
		`data.total > 100.0 && data.customer.name == "acme"`: {{"data.total", "5"}, {"data.customer.name", `"acme"`}},
		`data.total > 1.0 || data.total < 0.0`:               {{"data.total", "5"}},
		`data.missing == 1`:                                  {{"data.missing", ""}},
		`type.startsWith("order") && has(data.total)`:        {{"type", `"order.paid"`}, {"data", ""}},
		`data.lines.exists(l, l.sku == "B")`:                 {{"data.lines", `[{"sku":"A"}]`}},
		`true`:                                               {},
		`data.`:                                              nil,
	} {
		got := Values(text, v)
		for i := range got {
			if got[i].Expression == "data" {
				got[i].JSON = "" // the whole of it
			}
		}
		require.Equal(t, want, got, text)
	}
	require.Less(t, len(Values("data.long", v)[0].JSON), 300)
}
