package portal

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAResourcesPolicyComesBackFromItsFormAsItWas(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"schema_mode":"reject","max_payload":1000,"max_subscriptions":3,"verification":"any"}`,
		`{"callback_hosts":["*.example.com","10.1.2.3"],"callback_schemes":["https"],"retry_schedule":["5s","1m"],"timeouts":{"total":"20s"}}`,
		`{"retry_schedule":[],"log":{"max_age":"24h","max_bytes":1000,"body_excerpt":10}}`,
		`{"to_come":{"a":1},"timeouts":{"connect":"1s","to_come":"2s"}}`,
	} {
		var was map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(text), &was))
		f := &adminForm{Values: valuesOf(resourceView{Policy: was})}
		got, err := json.Marshal(f.policy(was))
		require.NoError(t, err)
		require.JSONEq(t, text, string(got))
	}
	f := &adminForm{Values: url.Values{"schema_mode": {"off"}, "verification": {"none"}, "max_payload": {"many"}}}
	require.Equal(t, map[string]any{"max_payload": "many"}, f.policy(map[string]json.RawMessage{"schema_mode": json.RawMessage(`"warn"`)}),
		"what is no number the API refuses, by its field")
}

func TestTypesComeFromTheRowsThatNameOne(t *testing.T) {
	f := &adminForm{Values: url.Values{"rows": {"4"}, "type_name_1": {" order.created "}, "type_schema_1": {`{"type": "object"}`},
		"type_name_2": {"order.paid"}, "type_description_2": {"paid"}, "type_schema_2": {"{\n\n\"a\": }"}, "type_schema_3": {"{}"}}}
	types, rows := f.types()
	require.Equal(t, []int{1, 2}, rows)
	require.Equal(t, "order.created", types[0]["name"])
	require.Equal(t, "paid", types[1]["description"])
	require.Contains(t, f.Faults("type_schema_2")[0], "line 3")
	require.Equal(t, []string{"a schema needs the name of its type"}, f.Faults("type_name_3"))
}

func TestFaultsStandAtTheFieldsOfTheirRows(t *testing.T) {
	rows := []int{1, 4}
	for location, field := range map[string]string{
		"types[0].name": "type_name_1", "types[1].schema": "type_schema_4", "types[1].schema.properties": "type_schema_4", "policy.max_payload": "max_payload",
		"policy.timeouts.total": "timeouts_total", "policy.retry_schedule[2]": "retry_schedule", "policy.log.max_age": "log_max_age", "types[9].name": "types",
	} {
		require.Equal(t, field, resourceField(location, rows), location)
	}
	for location, field := range map[string]string{"grants[1].resource": "grant_4", "grants[0].actions[1]": "grant_1", "limits.max_subscriptions": "max_subscriptions", "name": "name"} {
		require.Equal(t, field, consumerField(location, rows), location)
	}
}

func TestAReplayOfDeadLettersGoesOnWithWhatWasAskedAndCounted(t *testing.T) {
	form := url.Values{"csrf": {"x"}, "kind": {"event"}, "id": {"a", "b"}, "which": {"chosen"}, "remaining": {"9"}}
	b := begun{Events: 2, Scanned: 3, Remaining: 6}
	b.add(begun{Events: 1, Scanned: 4, Replays: 5})
	on := onward(form, b)
	require.Equal(t, url.Values{"kind": {"event"}, "id": {"a", "b"}, "which": {"chosen"}, "replays": {"5"}, "running": {"0"}, "deliveries": {"0"}, "events": {"3"},
		"scanned": {"7"}, "remaining": {"6"}}, on)
	require.Equal(t, 53, b.Done())
	require.Equal(t, 100, begun{}.Done())
	require.Zero(t, count(url.Values{"n": {"-1"}}, "n"))
}
