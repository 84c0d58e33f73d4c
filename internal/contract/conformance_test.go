package contract

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cetest "github.com/cloudevents/sdk-go/v2/test"
	"github.com/stretchr/testify/require"
)

// The cases of cloudevents/conformance, format/json, under their ids there: docs/cloudevents-conformance.md says where each
// runs. An event is the minimal one with changes.

// minimal is the minimal event of the conformance cases with members changed: name, JSON value; the value "" takes it out.
func minimal(changes ...string) string {
	members := []string{"specversion", `"1.0"`, "id", `"minimal"`, "type", `"io.cloudevents.test"`, "source", `"https://cloudevents.io"`}
	var out []string
	for i := 0; i < len(members); i += 2 {
		if !changed(changes, members[i]) {
			out = append(out, fmt.Sprintf("%q:%s", members[i], members[i+1]))
		}
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] != "" {
			out = append(out, fmt.Sprintf("%q:%s", changes[i], changes[i+1]))
		}
	}
	return "{" + strings.Join(out, ",") + "}"
}

func changed(changes []string, name string) bool {
	for i := 0; i < len(changes); i += 2 {
		if changes[i] == name {
			return true
		}
	}
	return false
}

// sample builds the event that a case is to be read as.
func sample(id string, set func(*event.Event)) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetType("io.cloudevents.test")
	e.SetSource("https://cloudevents.io")
	if set != nil {
		set(&e)
	}
	return e
}

var (
	sampleTime = time.Date(2018, 4, 5, 17, 31, 0, 0, time.UTC)
	allCore    = sample("allCore", func(e *event.Event) {
		e.SetDataContentType("text/plain")
		e.SetDataSchema("https://cloudevents.io/dataschema")
		e.SetSubject("tests")
		e.SetTime(sampleTime)
	})
	// Extensions have no types of their own in JSON: those that need a definition are strings here, as CloudEvents has it.
	allExtensions = sample("allExtensionTypes", func(e *event.Event) {
		for name, value := range map[string]any{"extinteger": 10, "extboolean": true, "extstring": "text", "exturi": "https://cloudevents.io",
			"exturiref": "//authority/path", "exttimestamp": "2023-03-31T15:12:00Z", "extbinary": "TWE="} {
			e.SetExtension(name, value)
		}
	})
)

const (
	allCoreJSON = `{"specversion":"1.0","id":"allCore","type":"io.cloudevents.test","source":"https://cloudevents.io","datacontenttype":"text/plain",
		"dataschema":"https://cloudevents.io/dataschema","subject":"tests","time":"2018-04-05T17:31:00Z"}`
	allExtensionsJSON = `{"specversion":"1.0","id":"allExtensionTypes","type":"io.cloudevents.test","source":"https://cloudevents.io","extinteger":10,
		"extboolean":true,"extstring":"text","exturi":"https://cloudevents.io","exturiref":"//authority/path","exttimestamp":"2023-03-31T15:12:00Z","extbinary":"TWE="}`
)

func TestConformanceOfValidEvents(t *testing.T) {
	timed := sample("minimalWithTime", func(e *event.Event) { e.SetTime(sampleTime) })
	for id, c := range map[string]struct {
		json string
		want event.Event
	}{
		"validMinimal": {minimal(), sample("minimal", nil)},
		"validMinimalWithNullForOptional": {
			minimal("datacontenttype", "null", "dataschema", "null", "subject", "null", "time", "null"), sample("minimal", nil)},
		"validAllCoreAttributes":                  {allCoreJSON, allCore},
		"validMinimalWithTimeUtc":                 {minimal("id", `"minimalWithTime"`, "time", `"2018-04-05T17:31:00Z"`), timed},
		"validMinimalWithTimeToNanosecondsUtc":    {minimal("id", `"minimalWithTime"`, "time", `"2018-04-05T17:31:00.000000000Z"`), timed},
		"validMinimalWithTimeUsingPositiveOffset": {minimal("id", `"minimalWithTime"`, "time", `"2018-04-05T18:31:00+01:00"`), timed},
		"validMinimalWithTimeUsingNegativeOffset": {minimal("id", `"minimalWithTime"`, "time", `"2018-04-05T16:31:00-01:00"`), timed},
		"validRelativeSource": {minimal("id", `"minimalWithRelativeSource"`, "source", `"#fragment"`),
			sample("minimalWithRelativeSource", func(e *event.Event) { e.SetSource("#fragment") })},
		"validSimpleTextData": {minimal("id", `"simpleTextData"`, "datacontenttype", `"text/plain"`, "data", `"Simple text"`),
			sample("simpleTextData", func(e *event.Event) { _ = e.SetData("text/plain", "Simple text") })},
		"validAllExtensionTypes": {allExtensionsJSON, allExtensions},
	} {
		t.Run(id, func(t *testing.T) {
			e, err := ParseStructured([]byte(c.json))
			require.NoError(t, err)
			requireSame(t, c.want, *e)
			roundTrip(t, Command{Delivery: "dlv_1", Subscription: "sub_1", Resource: "orders", Attempt: 1, Created: sampleTime, Event: e})
			requireJSONCarries(t, e)
		})
	}
}

// requireSame compares as the SDK's own suites do; a time is a moment, whatever its offset.
func requireSame(t *testing.T, want, got event.Event) {
	t.Helper()
	for _, e := range []*event.Event{&want, &got} {
		*e = e.Clone()
		if at := e.Time(); !at.IsZero() {
			e.SetTime(at.UTC())
		}
	}
	cetest.AssertEventEquals(t, want, got)
}

func TestConformanceOfInvalidEvents(t *testing.T) {
	at := func(time string) string { return minimal("time", `"`+time+`"`) }
	for id, c := range map[string]struct{ json, field string }{
		"invalidNoSpecVersion":             {minimal("specversion", ""), "specversion"},
		"invalidNoId":                      {minimal("id", ""), "id"},
		"invalidNoType":                    {minimal("type", ""), "type"},
		"invalidNoSource":                  {minimal("source", ""), "source"},
		"invalidTimeGarbage":               {at("lunchtime"), "time"},
		"invalidTimeToMinute":              {at("2018-04-05T18:31Z"), "time"},
		"invalidTimeOffsetX":               {at("2018-04-05T18:31:00X"), "time"},
		"invalidTimeOffsetOutOfRange":      {at("2018-04-05T18:31:00+25:00"), "time"},
		"invalidTimeOffsetNonInteger":      {at("2018-04-05T18:31:00+xx:00"), "time"},
		"invalidTimeOffsetHourOnly":        {at("2018-04-05T18:31:00+05"), "time"},
		"invalidEmptyId":                   {minimal("id", `""`), "id"},
		"invalidEmptyType":                 {minimal("type", `""`), "type"},
		"invalidEmptySource":               {minimal("source", `""`), "source"},
		"invalidEmptySpecVersion":          {minimal("specversion", `""`), "specversion"},
		"invalidUnknownSpecVersion":        {minimal("specversion", `"0.9"`), "specversion"},
		"invalidNonRfc2046DataContentType": {minimal("datacontenttype", `"xyz"`), "datacontenttype"},
		"invalidEmptyDataContentType":      {minimal("datacontenttype", `""`), "datacontenttype"},
		"invalidEmptyDataSchema":           {minimal("dataschema", `""`), "dataschema"},
		"invalidEmptySubject":              {minimal("subject", `""`), "subject"},
		"invalidNumericId":                 {minimal("id", `25`), "id"},
		"invalidObjectId":                  {minimal("id", `{"xyz":"abc"}`), "id"},
		"invalidCapitalizedExtension":      {minimal("MyExtension", `"bad"`), "MyExtension"},
		"invalidPunctuatedExtension":       {minimal("my.extension", `"bad"`), "my.extension"},
		"invalidNonIntegerExtensionValue":  {minimal("my.extension", `1.5`), "my.extension"},
		"invalidBothDataAndDataBase64":     {minimal("data", `"text"`, "data_base64", `"eyAieHl6IjogMTIzIH0="`), "data_base64"},
		// Ours: what the list leaves out.
		"number with a fraction": {minimal("ext", `1.5`), "ext"},
		"number of 33 bits":      {minimal("ext", `4294967296`), "ext"},
		"attribute called data":  {minimal("datacontenttype", `"text/plain"`, "data", `{}`), "data"},
	} {
		t.Run(id, func(t *testing.T) {
			_, err := ParseStructured([]byte(c.json))
			var bad *EventError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.field, bad.Faults[0].Field)
			require.Len(t, bad.Faults, 1)
		})
	}
}

func TestConformanceOfValidBatches(t *testing.T) {
	one := sample("minimal", nil)
	for id, c := range map[string]struct {
		json string
		want []event.Event
	}{
		"validBatchEmpty":                       {`[]`, nil},
		"validBatchMinimal":                     {`[` + minimal() + `]`, []event.Event{one}},
		"validBatchMinimal2":                    {`[` + minimal() + `,` + minimal() + `]`, []event.Event{one, one}},
		"validBatchMinimalAndAllCore":           {`[` + minimal() + `,` + allCoreJSON + `]`, []event.Event{one, allCore}},
		"validBatchMinimalAndAllExtensionTypes": {`[` + minimal() + `,` + allExtensionsJSON + `]`, []event.Event{one, allExtensions}},
	} {
		t.Run(id, func(t *testing.T) {
			events, err := ParseBatch([]byte(c.json))
			require.NoError(t, err)
			require.Len(t, events, len(c.want))
			for i, e := range events {
				requireSame(t, c.want[i], *e)
			}
		})
	}
}

func TestConformanceOfInvalidBatches(t *testing.T) {
	for id, c := range map[string]struct{ json, field string }{
		"invalidBatchMixedSpecVersions":           {`[` + minimal() + `,` + minimal("specversion", `"0.9"`) + `]`, "[1].specversion"},
		"invalidBatchContainingInvalidCloudEvent": {`[` + minimal("id", "") + `]`, "[0].id"},
		"invalidBatchContainingNonObject":         {`["not an object",` + minimal() + `]`, "[0]"},
	} {
		t.Run(id, func(t *testing.T) {
			_, err := ParseBatch([]byte(c.json))
			var bad *EventError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.field, bad.Faults[0].Field)
		})
	}
}

// The events of the SDK's own suites, which all of its bindings have to handle.
func TestTheEventsOfTheSDK(t *testing.T) {
	cetest.EachEvent(t, cetest.Events(), func(t *testing.T, e event.Event) {
		want := cetest.ConvertEventExtensionsToString(t, e) // as in its suites: JSON and headers know no other types
		raw, err := json.Marshal(e)
		require.NoError(t, err)
		parsed, err := ParseStructured(raw)
		if e.SpecVersion() != event.CloudEventsVersionV1 {
			require.ErrorIs(t, err, ErrEvent)
			require.ErrorContains(t, err, "specversion")
			return
		}
		require.NoError(t, err)
		requireSame(t, want, cetest.ConvertEventExtensionsToString(t, *parsed))

		parsed, err = ParseEvent(e.DataContentType(), EventHeaders(&e), e.DataEncoded)
		require.NoError(t, err)
		requireSame(t, want, cetest.ConvertEventExtensionsToString(t, *parsed))

		raw, err = WriteStructured(parsed)
		require.NoError(t, err)
		var back event.Event
		require.NoError(t, json.Unmarshal(raw, &back), "the SDK reads what we write")
		requireSame(t, want, cetest.ConvertEventExtensionsToString(t, back))
	})
}
