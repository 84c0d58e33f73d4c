package api_test

import (
	"net/http"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

const sample = `{"specversion":"1.0","id":"e1","source":"/shop","type":"order.created","data":{"id":"4711","total":250.0}}`

// preview asks for a preview and returns it with the request's headers and body.
func (w *world) preview(consumer, body string) (view map[string]any, header http.Header, content string) {
	w.t.Helper()
	a := w.as(consumer, "POST", "/orders/subscribe/preview", body)
	require.Equal(w.t, http.StatusOK, a.status, "%s", a.body)
	view = a.json(w.t)
	header = http.Header{}
	if request, ok := view["request"].(map[string]any); ok {
		for name, value := range request["headers"].(map[string]any) {
			header.Set(name, value.(string))
		}
		content, _ = request["body"].(string)
	}
	return view, header, content
}

func TestAPreviewShowsTheRequestOfANewSubscription(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	view, header, body := w.preview(acme, `{"event":`+sample+`,"subscription":{"callback_url":"`+hook+`","types":["order.*"],"format":"data",
		"filter":"data.total > 100.0","transform":"{\"id\": data.id, \"total\": data.total}","headers":{"X-Team":"billing"},"auth":{"type":"bearer","token":"t0ken"}}}`)
	require.Equal(t, true, view["wanted"])
	require.Equal(t, `{"id":"4711","total":250}`, body)
	request := view["request"].(map[string]any)
	require.Equal(t, "POST", request["method"])
	require.Equal(t, hook, request["url"])
	require.Equal(t, "billing", header.Get("X-Team"))
	require.Equal(t, "Bearer ***", header.Get("Authorization"))
	require.Equal(t, "application/json", header.Get("Content-Type"))
	verify, err := standardwebhooks.NewWebhook(view["secret"].(string))
	require.NoError(t, err)
	require.NoError(t, verify.Verify([]byte(body), header))
	require.Zero(t, w.stored(acme, "orders"), "nothing is kept")
	require.Empty(t, w.publisher.take(), "nothing is sent")
	require.NotContains(t, w.transcript.String(), "t0ken")
}

func TestAPreviewSignsWithTheLiveSecretAndDoesNotShowIt(t *testing.T) {
	w := newWorld(t)
	acme, other := w.consumer("acme", "orders"), w.consumer("other", "orders")
	a := w.as(acme, "POST", "/orders/subscribe", `{"callback_url":"`+hook+`","auth":{"type":"basic","username":"me","password":"s3cr3tpw"}}`)
	id, secret := a.text(t, "id"), a.text(t, "secret")
	asked := `{"id":"` + id + `","event":` + sample + `}`
	answer := w.as(acme, "POST", "/orders/subscribe/preview", asked)
	require.NotContains(t, string(answer.body), secret)
	view, header, body := w.preview(acme, asked)
	require.NotContains(t, view, "secret")
	require.Equal(t, "Basic ***", header.Get("Authorization"))
	verify, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	require.NoError(t, verify.Verify([]byte(body), header))

	w.as(other, "POST", "/orders/subscribe/preview", asked).problem(t, http.StatusNotFound)
	w.as(acme, "PATCH", "/orders/subscribe/"+id, `{"status":"paused"}`)
	view, _, _ = w.preview(acme, asked)
	require.Equal(t, false, view["wanted"])
	require.Equal(t, "the subscription is paused", view["reason"])
}

func TestAPreviewSaysWhatDoesNotMatch(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	for name, c := range map[string]struct {
		fields        string
		types, filter bool
		reason        string
	}{
		"other types":            {`"types":["order.paid","invoice.**"]`, false, true, "order.created is none of order.paid, invoice.**"},
		"filter is false":        {`"filter":"data.total > 1000.0"`, true, false, "it is false"},
		"filter can't be put":    {`"filter":"data.weight > 1.0"`, true, false, "no such key: weight"},
		"all":                    {`"filter":"data.total > 1.0"`, true, true, "it is true"},
		"nothing asked":          {`"types":[]`, true, true, "there is no filter"},
		"a transform that fails": {`"format":"data","transform":"data.weight"`, true, true, "no such key: weight"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.as(acme, "POST", "/orders/subscribe/preview", `{"event":`+sample+`,"subscription":{"callback_url":"`+hook+`",`+c.fields+`}}`)
			require.Equal(t, http.StatusOK, a.status, "%s", a.body)
			view := a.json(t)
			require.Equal(t, c.types, view["types"].(map[string]any)["matches"])
			require.Equal(t, c.filter, view["filter"].(map[string]any)["matches"])
			require.Equal(t, c.types && c.filter, view["wanted"])
			require.Contains(t, string(a.body), c.reason)
			require.Equal(t, name != "a transform that fails", view["request"] != nil, "the request is shown whenever it can be made")
		})
	}
}

func TestAPreviewOfBytesIsBase64(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	view, header, _ := w.preview(acme, `{"event":{"specversion":"1.0","id":"e1","source":"/s","type":"a","datacontenttype":"image/png","data_base64":"AP8="},
		"subscription":{"callback_url":"`+hook+`","format":"data"}}`)
	request := view["request"].(map[string]any)
	require.Equal(t, "AP8=", request["body_base64"])
	require.NotContains(t, request, "body")
	require.Equal(t, "image/png", header.Get("Content-Type"))
}

func TestAPreviewIsRefusedByField(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	require.Equal(t, http.StatusOK, w.asAdmin("PUT", "/admin/v1/resources/orders", orderTypes).status)
	subscription := func(more string) string { return `"subscription":{"callback_url":"` + hook + `"` + more + `}` }
	for body, at := range map[string]string{
		`{"event":` + sample + `}`:                                                                                 "body.subscription",
		`{"event":` + sample + `,"id":"sub_1",` + subscription("") + `}`:                                           "body.subscription",
		`{` + subscription("") + `}`:                                                                               "body.event",
		`{"event":5,` + subscription("") + `}`:                                                                     "body.event",
		`{"event":{"id":"1"},` + subscription("") + `}`:                                                            "body.event",
		`{"event":` + sample + `,` + subscription(`,"filter":"data.x >"`) + `}`:                                    "body.subscription.filter",
		`{"event":` + sample + `,` + subscription(`,"filter":"data.nothing == 1","types":["order.created"]`) + `}`: "body.subscription.filter",
		`{"event":` + sample + `,` + subscription(`,"transform":"data"`) + `}`:                                     "body.subscription.transform",
		`{"event":` + sample + `,"subscription":{"callback_url":"http://127.0.0.1/"}}`:                             "body.subscription.callback_url",
		`{"event":` + sample + `,` + subscription(`,"nonsense":1`) + `}`:                                           "body.subscription.nonsense",
	} {
		require.Contains(t, w.as(acme, "POST", "/orders/subscribe/preview", body).problem(t, http.StatusUnprocessableEntity), at, body)
	}
	w.as(acme, "POST", "/orders/subscribe/preview", `{"event":`+sample+`,"id":"sub_none"}`).problem(t, http.StatusNotFound)
	w.as(acme, "GET", "/orders/subscribe/preview", nil).problem(t, http.StatusNotFound) // there, it is an id like any other
}
