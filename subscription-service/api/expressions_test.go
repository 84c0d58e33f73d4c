package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

const orderTypes = `{"types":[
	{"name":"order.created","schema":{"type":"object","properties":{"id":{"type":"string"},"total":{"type":"number"}}}},
	{"name":"order.paid","schema":{"type":"object","properties":{"id":{"type":"string"},"method":{"type":"string"}}}},
	{"name":"order.lost"}]}`

func TestFilterAndTransformAreKeptAndShown(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	asked := map[string]any{
		"callback_url": hook, "format": "data", "filter": `data.total > 100.0`, "transform": `{"id": data.id, "total": data.total}`,
	}
	a := w.as(acme, "POST", "/orders/subscribe", asked)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	require.Equal(t, asked["filter"], a.text(t, "filter"))
	require.Equal(t, asked["transform"], a.text(t, "transform"))
	require.Equal(t, http.StatusOK, w.as(acme, "POST", "/orders/subscribe", asked).status, "the same again")
	asked["filter"] = `data.total > 200.0`
	require.Equal(t, http.StatusCreated, w.as(acme, "POST", "/orders/subscribe", asked).status, "another filter is another subscription")

	path := "/orders/subscribe/" + a.text(t, "id")
	require.Equal(t, `data.total > 50`, w.as(acme, "PATCH", path, `{"filter":"data.total > 50"}`).text(t, "filter"))
	bare := w.as(acme, "PATCH", path, `{"filter":null,"transform":null}`)
	require.Equal(t, http.StatusOK, bare.status)
	require.NotContains(t, bare.json(t), "filter")
	require.NotContains(t, bare.json(t), "transform")
	require.Equal(t, bare.json(t), w.as(acme, "GET", path, nil).json(t))
}

func TestExpressionsAreCheckedAgainstTheSchemasOfTheirTypes(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	require.Equal(t, http.StatusOK, w.asAdmin("PUT", "/admin/v1/resources/orders", orderTypes).status)
	for name, c := range map[string]struct {
		types, filter, transform string
		at, message              string
	}{
		"a field of the type":             {`["order.created"]`, `data.total > 100`, `{"id": data.id}`, "", ""},
		"a misspelled field":              {`["order.created"]`, `id == "1" && data.totl > 100`, ``, "body.filter", "by the schema of order.created: line 1, column 18: undefined field 'totl'"},
		"in a transform":                  {`["order.created"]`, ``, `{"id": data.idd}`, "body.transform", "by the schema of order.created: line 1, column 12: undefined field 'idd'"},
		"a type that does not fit":        {`["order.created"]`, `data.id > 5`, ``, "body.filter", "line 1, column 9"},
		"a field of one type of several":  {`["order.*"]`, `data.total > 100`, ``, "body.filter", "by the schema of order.paid"},
		"without types":                   {`[]`, `data.total > 100`, ``, "body.filter", "by the schema of order.paid"},
		"a field of all types":            {`["order.*"]`, `data.id == "1"`, ``, "", ""},
		"a type without schema":           {`["order.lost"]`, `data.anything`, ``, "", ""},
		"a type that is not in catalogue": {`["invoice.**"]`, `data.anything`, ``, "", ""},
		"asked to look away":              {`["order.*"]`, `dyn(data).total > 100`, ``, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			body := map[string]any{"callback_url": hook, "types": json.RawMessage(c.types), "format": "data", "description": name}
			if c.filter != "" {
				body["filter"] = c.filter
			}
			if c.transform != "" {
				body["transform"] = c.transform
			}
			before := w.stored(acme, "orders")
			a := w.as(acme, "POST", "/orders/subscribe", body)
			if c.at == "" {
				require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
				return
			}
			require.Contains(t, a.problem(t, http.StatusUnprocessableEntity)[c.at], c.message)
			require.Equal(t, before, w.stored(acme, "orders"))
		})
	}
}

func TestAPatchThatDoesNotFitChangesNothing(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	require.Equal(t, http.StatusOK, w.asAdmin("PUT", "/admin/v1/resources/orders", orderTypes).status)
	a := w.as(acme, "POST", "/orders/subscribe", map[string]any{
		"callback_url": hook, "types": []string{"order.created"}, "format": "data", "filter": `data.total > 1`, "transform": `data.id`,
	})
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	path := "/orders/subscribe/" + a.text(t, "id")
	for patch, at := range map[string]string{
		`{"filter":"data.totl > 1","description":"x"}`:      "body.filter",
		`{"types":["order.paid"],"description":"x"}`:        "body.filter",
		`{"types":null,"description":"x"}`:                  "body.filter",
		`{"format":"cloudevents-binary","description":"x"}`: "body.transform",
		`{"format":null,"description":"x"}`:                 "body.transform",
		`{"transform":"data.totl","description":"x"}`:       "body.transform",
		`{"transform":"data.id +","description":"x"}`:       "body.transform",
	} {
		require.Contains(t, w.as(acme, "PATCH", path, patch).problem(t, http.StatusUnprocessableEntity), at, patch)
		now := w.as(acme, "GET", path, nil).json(t)
		require.NotContains(t, now, "description", patch)
		require.Equal(t, "data", now["format"])
	}
	require.Equal(t, http.StatusOK, w.as(acme, "PATCH", path, `{"format":null,"transform":null}`).status)
	require.Equal(t, http.StatusOK, w.asAdmin("PUT", "/admin/v1/resources/orders", `{"types":[{"name":"order.created","schema":{"type":"object","properties":{"x":{}}}}]}`).status)
	require.Equal(t, http.StatusOK, w.as(acme, "PATCH", path, `{"description":"x"}`).status, "what is left alone is not checked again")
}

func TestATransformIsForTheDataFormat(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	for _, format := range []string{"", `"format":"cloudevents-structured",`, `"format":"cloudevents-binary",`} {
		at := w.as(acme, "POST", "/orders/subscribe", `{"callback_url":"`+hook+`",`+format+`"transform":"data.id"}`).problem(t, http.StatusUnprocessableEntity)
		require.Contains(t, at["body.transform"], "set format to data")
	}
	require.Zero(t, w.stored(acme, "orders"))
}
