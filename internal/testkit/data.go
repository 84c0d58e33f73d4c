package testkit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// DataCase is data that must reach a callback byte for byte, whichever way it was published and in whichever format it goes.
type DataCase struct {
	Name string
	// ContentType is the event's datacontenttype; "" is none.
	ContentType string
	Data        string
	// Member is the data in the JSON format, as "data":… or "data_base64":…; "" is no data.
	Member string
	// Sent is the content type of a callback with the data as its body.
	Sent string
}

// DataCases are all kinds of data that tend to get lost on a way through JSON or through strings.
func DataCases() []DataCase {
	const jsonType, bytesType, problemType = "application/json", "application/octet-stream", "application/problem+json; charset=utf-8"
	encoded := func(data string) string {
		return `"data_base64":"` + strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(data)), "/", `\/`) + `"`
	}
	return []DataCase{
		{"text", "text/plain", "grüße <&>\r\n\t\"you\" \u2028", `"data":"gr\u00fc\u00dfe <&>\r\n\t\"you\" \u2028"`, "text/plain"},
		{"text with NUL", "text/plain", "a\x00b\x00", `"data":"a\u0000b\u0000"`, "text/plain"},
		{"text that is not UTF-8", "text/plain; charset=iso-8859-1", "gr\xfc\xdfe", encoded("gr\xfc\xdfe"), "text/plain; charset=iso-8859-1"},
		{"text that looks like JSON", "text/plain", `{"a": 1}`, `"data":"{\"a\": 1}"`, "text/plain"},
		{"empty text", "text/plain", "", `"data":""`, "text/plain"},
		{"XML as text", "text/xml", "<?xml version=\"1.0\"?>\n<a>\u00e9</a>", `"data":"<?xml version=\"1.0\"?>\n<a>é<\/a>"`, "text/xml"},
		{"XML", "application/xml", "<a>é</a>", `"data":"<a>é</a>"`, "application/xml"},
		{"bytes", bytesType, "\x00\xff\xfe\n\x80??>", encoded("\x00\xff\xfe\n\x80??>"), bytesType},
		{"bytes that are text", bytesType, "hello", encoded("hello"), bytesType},
		{"bytes without a type", "", "\x00\xff", encoded("\x00\xff"), bytesType},
		{"no data", "", "", "", jsonType},
		{"JSON null", jsonType, `null`, `"data":null`, jsonType},
		{"a JSON string", jsonType, `"gr\u00fc\/ \u0000 é"`, `"data":"gr\u00fc\/ \u0000 é"`, jsonType},
		{"a large integer", jsonType, `123456789012345678901234567890`, `"data":123456789012345678901234567890`, jsonType},
		{"a float with zeros", jsonType, `-1.500e+02`, `"data": -1.500e+02 `, jsonType},
		{"JSON with white space", jsonType, "{ \"b\" : 1.0,\n\t\"a\": [ ], \"b\":2 }", "\"data\":{ \"b\" : 1.0,\n\t\"a\": [ ], \"b\":2 }", jsonType},
		{"JSON without a type", "", `{"a": 1.0}`, `"data":{"a": 1.0}`, jsonType},
		{"a string without a type", "", `"a"`, `"data":"a"`, jsonType},
		{"JSON of a suffix type", problemType, `{"title": "x" }`, `"data":{"title": "x" }`, problemType},
		{"JSON that is not UTF-8", jsonType, "\"gr\xfc\"", encoded("\"gr\xfc\""), jsonType},
	}
}

// Event is the event in the JSON format.
func (c DataCase) Event(id, eventType string) string {
	members := fmt.Sprintf(`"specversion":"1.0","id":%q,"source":"/data","type":%q`, id, eventType)
	if c.Member != "" {
		members = c.Member + "," + members // the type of the data comes after it, as it may
	}
	if c.ContentType != "" {
		members += fmt.Sprintf(`,"datacontenttype":%q`, c.ContentType)
	}
	return "{" + members + "}"
}

// Headers are the attributes of the AMQP binary mode, beside the content type.
func (c DataCase) Headers(id, eventType string) map[string]any {
	return map[string]any{"cloudEvents_specversion": "1.0", "cloudEvents_id": id, "cloudEvents_source": "/data", "cloudEvents_type": eventType}
}

// Arrived tells what is wrong with a callback of the event.
func (c DataCase) Arrived(format contract.Format, header http.Header, body []byte) error {
	contentType, data, err := header.Get("Content-Type"), body, error(nil)
	want := c.Sent
	switch {
	case format == contract.FormatStructured:
		want = "application/cloudevents+json"
		data, err = c.data(body)
	case format == contract.FormatBinary && c.Data == "":
		want = c.ContentType // a content type without content says nothing about JSON
	}
	if err != nil {
		return err
	}
	if contentType != want || string(data) != c.Data {
		return fmt.Errorf("%s arrived as %q, data %q, want %q, data %q", c.Name, contentType, data, want, c.Data)
	}
	return nil
}

// data reads a structured callback as a consumer with nothing but a JSON library would.
func (c DataCase) data(body []byte) (data []byte, err error) {
	var e struct {
		DataContentType string `json:"datacontenttype"`
		Data            json.RawMessage
		Base64          []byte `json:"data_base64"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("reading the callback %q: %w", body, err)
	}
	media, _, _ := mime.ParseMediaType(e.DataContentType) // none is JSON
	switch isJSON := media == "" || strings.HasSuffix(media, "json"); {
	case e.DataContentType != c.ContentType:
		return nil, fmt.Errorf("the data's content type is %q, want %q", e.DataContentType, c.ContentType)
	case e.Base64 != nil:
		return e.Base64, nil
	case isJSON || e.Data == nil:
		return e.Data, nil
	}
	var text string
	err = json.Unmarshal(e.Data, &text)
	return []byte(text), err
}
