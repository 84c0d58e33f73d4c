package portal

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// consumerView is a consumer as the API shows it.
type consumerView struct {
	ID     string           `json:"id"`
	Name   string           `json:"name"`
	Grants []contract.Grant `json:"grants"`
	Limits map[string]int   `json:"limits,omitempty"`
}

// keyView is a key without the key itself, which Key has once, when it is made.
type keyView struct {
	ID        string    `json:"id"`
	Key       string    `json:"key"`
	CreatedAt time.Time `json:"created_at"`
}

const (
	consumersPath = "/portal/admin/consumers/"
	apiConsumers  = "/admin/v1/consumers"
)

func listConsumers(v *visit) error {
	var all list[consumerView]
	if err := v.api.get(v.r.Context(), apiConsumers, nil, &all); err != nil {
		return err
	}
	return v.page("adminconsumers", "Consumers", find(all.Items, v.r.URL.Query().Get("q"), func(c consumerView) string { return c.Name + " " + c.ID }))
}

// apiConsumer is the API's path of the page's consumer, with what comes below it.
func (v *visit) apiConsumer(below string) string {
	return apiConsumers + "/" + url.PathEscape(v.r.PathValue("id")) + below
}

func (v *visit) consumerPage() string { return consumersPath + url.PathEscape(v.r.PathValue("id")) }

// consumerPage is all about one consumer.
type consumerPage struct {
	consumerView

	Keys []keyView
}

// Path is its page.
func (c consumerView) Path() string { return consumersPath + c.ID }

func showConsumer(v *visit) error {
	var data consumerPage
	if err := v.api.get(v.r.Context(), v.apiConsumer(""), nil, &data.consumerView); err != nil {
		return err
	}
	var keys list[keyView]
	if err := v.api.get(v.r.Context(), v.apiConsumer("/keys"), nil, &keys); err != nil {
		return err
	}
	data.Keys = keys.Items
	return v.page("adminconsumer", data.Name, data)
}

// limitFields are the limits of a consumer, as the form has them.
var limitFields = []string{"requests_per_second", "events_per_second", "max_subscriptions"}

func newConsumer(v *visit) error {
	return v.showAdminForm("adminconsumerform", "New consumer", &adminForm{Values: url.Values{"rows": {"1"}}})
}

func editConsumer(v *visit) error {
	var c consumerView
	if err := v.api.get(v.r.Context(), v.apiConsumer(""), nil, &c); err != nil {
		return err
	}
	values := url.Values{"name": {c.Name}, "rows": {strconv.Itoa(len(c.Grants) + 1)}}
	for i, g := range c.Grants {
		values.Set(row("grant", i), g.Resource)
		values[row("actions", i)] = g.Actions
	}
	for name, limit := range c.Limits {
		values.Set(name, strconv.Itoa(limit))
	}
	return v.showAdminForm("adminconsumerform", "Change a consumer", &adminForm{Values: values, Of: c.ID})
}

// Actions are for the template.
func (adminForm) Actions() []string {
	return []string{contract.ActionSubscribe, contract.ActionPublish}
}

func createConsumer(v *visit) error {
	var made consumerView
	sent, err := v.saveConsumer(&adminForm{Values: v.r.PostForm}, "New consumer", http.MethodPost, apiConsumers, &made)
	if err != nil || !sent {
		return err
	}
	return v.goTo(made.Path(), "made")
}

func changeConsumer(v *visit) error {
	f := &adminForm{Values: v.r.PostForm, Of: v.r.PathValue("id")}
	sent, err := v.saveConsumer(f, "Change a consumer", http.MethodPatch, v.apiConsumer(""), nil)
	if err != nil || !sent {
		return err
	}
	return v.goTo(v.consumerPage(), "saved")
}

func (v *visit) saveConsumer(f *adminForm, title, method, path string, made any) (sent bool, err error) {
	if f.more() {
		return false, v.showAdminForm("adminconsumerform", title, f)
	}
	grants, rows := f.grants()
	f.place = func(location string) string { return consumerField(location, rows) }
	body := map[string]any{"name": strings.TrimSpace(f.Get("name")), "grants": grants}
	limits := map[string]any{}
	for _, name := range limitFields {
		if value := number(f.Get(name)); value != nil {
			limits[name] = value
		}
	}
	if len(limits) > 0 || method == http.MethodPatch {
		body["limits"] = limits
	}
	return v.sendForm(f, "adminconsumerform", title, method, path, body, made)
}

// grants are those whose row names a resource, each with the number of its row.
func (f *adminForm) grants() (grants []map[string]any, rows []int) {
	grants = []map[string]any{}
	for _, i := range f.Rows() {
		resource, actions := strings.TrimSpace(f.Get(row("grant", i))), f.Values[row("actions", i)]
		switch {
		case resource == "" && len(actions) > 0:
			f.fault(row("grant", i), "name the resource")
		case resource != "" && len(actions) == 0:
			f.fault(row("grant", i), "choose what may be done with it")
		case resource != "":
			grants, rows = append(grants, map[string]any{"resource": resource, "actions": actions}), append(rows, i)
		}
	}
	return grants, rows
}

// consumerField is the field of a place such as grants[0].resource or limits.max_subscriptions.
func consumerField(location string, rows []int) string {
	var i int
	if n, _ := fmt.Sscanf(location, "grants[%d]", &i); n == 1 && i < len(rows) {
		return row("grant", rows[i])
	}
	return strings.TrimPrefix(location, "limits.")
}

func confirmDeleteConsumer(v *visit) error {
	var c consumerView
	if err := v.api.get(v.r.Context(), v.apiConsumer(""), nil, &c); err != nil {
		return err
	}
	return v.page("admindelete", "Delete a consumer", adminDelete{c.Name, c.Path(), "Its keys are refused everywhere within five seconds, and its subscriptions end."})
}

func deleteConsumer(v *visit) error { return v.remove(v.apiConsumer(""), consumersPath, "gone") }

// once is what is shown one time.
type once struct{ Path, Label, Value, Note string }

// createKey makes a key and shows it this one time.
func createKey(v *visit) error {
	var key keyView
	if _, err := v.api.send(v.r.Context(), http.MethodPost, v.apiConsumer("/keys"), nil, &key); err != nil {
		return err
	}
	return v.page("adminonce", "A new API key", once{Path: v.consumerPage(), Label: "API key", Value: key.Key,
		Note: "The gateway takes it in the header apikey. It is shown this one time, and kept as a hash alone."})
}

func revokeKey(v *visit) error {
	if _, err := v.api.send(v.r.Context(), http.MethodDelete, v.apiConsumer("/keys/"+url.PathEscape(v.r.PathValue("key"))), nil, nil); err != nil {
		return err
	}
	return v.goTo(v.consumerPage(), "revoked")
}

// createLink makes a link that signs the consumer in.
func createLink(v *visit) error {
	var link struct {
		URL       string    `json:"url"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if _, err := v.api.send(v.r.Context(), http.MethodPost, v.apiConsumer("/portal-links"), nil, &link); err != nil {
		return err
	}
	return v.page("adminonce", "A link to sign in", once{Path: v.consumerPage(), Label: "Link", Value: link.URL,
		Note: "It signs the consumer in one time, until " + at(link.ExpiresAt) + ". Whoever has it can use it: hand it on as you would a password."})
}
