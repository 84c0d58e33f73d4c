package portal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// form is a subscription on its way: what was typed, and what is wrong with it.
type form struct {
	url.Values

	Resource string
	// Subscription is the one that is changed; nil for a new one.
	Subscription *subscription
	Catalogue    []contract.EventType
	// Problem is why it was not taken; nil if it was not sent yet.
	Problem *problem
	faults  map[string][]string
	// Check is what the last check said; nil for none.
	Check *check
}

// textFields are those whose value goes into the API's body as it is.
var textFields = []string{"callback_url", "filter", "transform", "format", "description", "ordering"}

// Value is what was typed into a field.
func (f form) Value(name string) string { return f.Get(name) }

// Has tells whether one of a field's values is this one, as of several boxes.
func (f form) Has(name, value string) bool { return slices.Contains(f.Values[name], value) }

// Faults are what is wrong with a field.
func (f form) Faults(name string) []string { return f.faults[name] }

// Path is where the form is.
func (f form) Path() string {
	if f.Subscription != nil {
		return f.Subscription.Path() + "/edit"
	}
	return resourcePath(f.Resource) + "new"
}

// Auth is the kind of credential that the subscription has; empty for none.
func (f form) Auth() string {
	if f.Subscription == nil || f.Subscription.Auth == nil {
		return ""
	}
	return f.Subscription.Auth.Type
}

// formOf fills the form in with a subscription as it is.
func formOf(sub subscription) url.Values {
	v := url.Values{
		"mode": {string(sub.Mode)}, "callback_url": {sub.CallbackURL}, "filter": {sub.Filter}, "transform": {sub.Transform}, "format": {string(sub.Format)},
		"description": {sub.Description}, "ordering": {string(sub.Ordering)}, "headers": {headerLines(sub.Headers)}, "type": sub.Types,
		"retry_schedule": {durations(sub.RetrySchedule)}, "connect": {text(sub.Timeouts.Connect)}, "header": {text(sub.Timeouts.Header)},
		"total": {text(sub.Timeouts.Total)}, "auth_type": {"keep"}, "max_in_flight": {strconv.Itoa(sub.MaxInFlight)},
	}
	if sub.RateLimit != 0 {
		v.Set("rate_limit", strconv.FormatFloat(sub.RateLimit, 'f', -1, 64))
	}
	for _, s := range sub.Signatures {
		v.Add("signature", string(s))
	}
	return v
}

func headerLines(headers map[string]string) string {
	var lines []string
	for name, value := range headers {
		lines = append(lines, name+": "+value)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func durations(all []contract.Duration) string {
	texts := make([]string, len(all))
	for i, d := range all {
		texts[i] = text(d)
	}
	if all != nil && len(all) == 0 {
		return "none"
	}
	return strings.Join(texts, ", ")
}

func text(d contract.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// body is what the form asks of the API, each field as it would be in a new subscription; nil stands for a field that is empty.
func (f *form) body() map[string]any {
	body := map[string]any{"types": f.types(), "headers": f.headers(), "rate_limit": number(f.Get("rate_limit")), "max_in_flight": number(f.Get("max_in_flight")),
		"retry_schedule": schedule(f.Get("retry_schedule")), "timeouts": timeouts(f.Values), "signatures": listOf(f.Values["signature"])}
	for _, name := range textFields {
		body[name] = nil
		if value := strings.TrimSpace(strings.ReplaceAll(f.Get(name), "\r\n", "\n")); value != "" {
			body[name] = value
		}
	}
	if auth := f.auth(); auth != nil {
		body["auth"] = auth
	}
	if f.Pull() {
		for _, name := range pushOnly {
			delete(body, name)
		}
	}
	return body
}

// pushOnly are the fields that are about calling an endpoint.
var pushOnly = []string{"callback_url", "headers", "auth", "rate_limit", "max_in_flight", "retry_schedule", "timeouts"}

// Pull tells that events are to be collected, rather than called back.
func (f form) Pull() bool {
	if f.Subscription != nil {
		return f.Subscription.Pull()
	}
	return f.Get("mode") == string(contract.ModePull)
}

// asked is the body of a new subscription: without what is empty.
func (f *form) asked() map[string]any {
	body := f.body()
	for name, value := range body {
		if value == nil {
			delete(body, name)
		}
	}
	if f.Pull() {
		body["mode"] = contract.ModePull
	}
	return body
}

// changes is the body of a patch: what differs from the subscription, null for what is taken away.
func (f *form) changes() map[string]any {
	before, body := (&form{Values: formOf(*f.Subscription), Subscription: f.Subscription}).body(), f.body()
	for name, value := range body {
		was, _ := json.Marshal(before[name]) // texts, numbers and lists of them: never fails
		is, _ := json.Marshal(value)
		if name != "auth" && string(was) == string(is) {
			delete(body, name)
		}
	}
	if f.Get("auth_type") == "none" && f.Auth() != "" {
		body["auth"] = nil
	}
	return body
}

// types are the boxes that are ticked and the patterns that are typed.
func (f *form) types() any {
	typed := strings.FieldsFunc(f.Get("patterns"), func(r rune) bool { return r == ',' || r == '\n' || r == '\r' || r == ' ' })
	return listOf(append(slices.Clone(f.Values["type"]), typed...))
}

func listOf(texts []string) any {
	if len(texts) == 0 {
		return nil
	}
	return texts
}

// headers are lines such as X-Team: billing.
func (f *form) headers() any {
	headers := map[string]string{}
	for i, line := range strings.Split(f.Get("headers"), "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !found {
			f.fault("headers", fmt.Sprintf("line %d has no colon: write it as Name: value", i+1))
		} else if _, twice := headers[name]; twice {
			f.fault("headers", fmt.Sprintf("line %d: %s is there twice", i+1, name))
		}
		headers[name] = strings.TrimSpace(value)
	}
	if len(headers) == 0 {
		return nil
	}
	return headers
}

// number is a JSON number if it is one; what is none the API refuses by its field.
func number(text string) any {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil && json.Valid([]byte(text)) {
		return n
	}
	return text
}

// schedule reads waits such as "5s, 30s"; "none" is for no retry at all.
func schedule(text string) any {
	if strings.TrimSpace(text) == "none" {
		return []string{}
	}
	return listOf(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' }))
}

func timeouts(values url.Values) any {
	set := map[string]string{}
	for _, name := range []string{"connect", "header", "total"} {
		if text := strings.TrimSpace(values.Get(name)); text != "" {
			set[name] = text
		}
	}
	if len(set) == 0 {
		return nil
	}
	return set
}

// authFields are the API's fields of each kind of credential.
var authFields = map[string][]string{
	contract.AuthBearer: {"token"}, contract.AuthBasic: {"username", "password"}, contract.AuthHeaders: nil, contract.AuthMTLS: nil,
	contract.AuthOAuth2: {"token_url", "client_id", "client_secret", "scope", "audience", "auth_style"},
}

// auth is the credential that was typed; nil for none, or for the one that is there.
func (f *form) auth() map[string]any {
	kind := f.Get("auth_type")
	fields, known := authFields[kind]
	if !known {
		return nil
	}
	auth := map[string]any{"type": kind}
	for _, name := range append(slices.Clone(fields), "certificate", "key") {
		if value := f.Get("auth_" + name); value != "" {
			auth[name] = value
		}
	}
	if kind == contract.AuthHeaders {
		auth["headers"] = map[string]string{f.Get("auth_header_name"): f.Get("auth_header_value")}
	}
	return auth
}

func (f *form) fault(field, message string) {
	if f.faults == nil {
		f.faults = map[string][]string{}
	}
	f.faults[field] = append(f.faults[field], message)
}

// fieldOf is the form's field for a place in the API's body.
func fieldOf(location string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(location, "body."), "subscription.")
	name, _, _ = strings.Cut(name, "[")
	switch first, rest, _ := strings.Cut(name, "."); {
	case first == "types":
		return "patterns"
	case first == "signatures":
		return "signature"
	case first == "timeouts" && rest != "":
		return rest
	case first == "auth" && strings.HasPrefix(rest, "headers"):
		return "auth_header_name"
	case first == "auth" && rest != "":
		return "auth_" + rest
	case first == "auth":
		return "auth_type"
	default:
		return first
	}
}

// refused takes the API's answer apart, each fault to its field. Any other error is returned.
func (f *form) refused(err error) error {
	var p *problem
	if !errors.As(err, &p) || p.Status >= http.StatusInternalServerError || p.Status == http.StatusUnauthorized || p.Status == http.StatusNotFound {
		return err
	}
	for _, e := range p.Errors {
		message := e.Message
		if strings.HasPrefix(e.Location, "body.headers.") {
			message = strings.TrimPrefix(e.Location, "body.headers.") + " " + message
		}
		f.fault(fieldOf(e.Location), message)
	}
	f.Problem = p
	return nil
}

// form begins one for the page's resource.
func (v *visit) form(values url.Values, sub *subscription) (*form, error) {
	f := &form{Values: values, Resource: v.r.PathValue("resource"), Subscription: sub}
	var types list[contract.EventType]
	if err := v.api.get(v.r.Context(), "/"+v.resource()+"/events/types", nil, &types); err != nil {
		return nil, err
	}
	f.Catalogue = types.Items
	return f, nil
}

func newSubscription(v *visit) error {
	f, err := v.form(url.Values{"format": {string(contract.FormatStructured)}, "signature": {string(contract.SignatureV1)}, "mode": {"push"}}, nil)
	if err != nil {
		return err
	}
	return v.showForm(f)
}

// showForm shows it with what was typed; what it is refused for, too.
func (v *visit) showForm(f *form) error {
	status, title := http.StatusOK, "New subscription to "+f.Resource
	if f.Subscription != nil {
		title = "Change a subscription"
		f.split()
	}
	if f.Problem != nil {
		status = http.StatusUnprocessableEntity
	}
	for name := range f.Values { // a secret is typed again rather than sent back
		if strings.HasPrefix(name, "auth_") && name != "auth_type" && name != "auth_token_url" && name != "auth_client_id" {
			f.Del(name)
		}
	}
	v.render(v.w, v.r, v, status, "form", title, f)
	return nil
}

// split moves the types that have no box to the patterns.
func (f *form) split() {
	var boxes, typed []string
	for _, name := range f.Values["type"] {
		if slices.ContainsFunc(f.Catalogue, func(t contract.EventType) bool { return t.Name == name }) {
			boxes = append(boxes, name)
		} else {
			typed = append(typed, name)
		}
	}
	f.Values["type"] = boxes
	if len(typed) > 0 {
		f.Set("patterns", strings.TrimSpace(f.Get("patterns")+" "+strings.Join(typed, " ")))
	}
}

func createSubscription(v *visit) error {
	f, err := v.form(v.r.PostForm, nil)
	if err != nil {
		return err
	}
	asked := f.asked()
	if f.faults != nil {
		f.Problem = &problem{Detail: "the form has a line that can't be read"}
		return v.showForm(f)
	}
	var made subscription
	status, err := v.api.send(v.r.Context(), http.MethodPost, "/"+v.resource()+"/subscribe", asked, &made)
	if err != nil {
		if err := f.refused(err); err != nil {
			return err
		}
		return v.showForm(f)
	}
	if status == http.StatusOK {
		return v.goTo(made.Path(), "existed")
	}
	return v.page("secret", "Subscribed", secretPage{made, ""})
}

func init() {
	doneTexts["existed"] = "You had this very subscription already. Its secret was shown when it was made; a new one can be made below."
}

func editSubscription(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	f, err := v.form(formOf(sub), &sub)
	if err != nil {
		return err
	}
	return v.showForm(f)
}

func changeSubscription(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	f, err := v.form(v.r.PostForm, &sub)
	if err != nil {
		return err
	}
	changes := f.changes()
	switch {
	case f.faults != nil:
		f.Problem = &problem{Detail: "the form has a line that can't be read"}
		return v.showForm(f)
	case len(changes) == 0:
		return v.goTo(sub.Path(), "same")
	}
	if _, err := v.api.send(v.r.Context(), http.MethodPatch, v.apiPath(), changes, nil); err != nil {
		if err := f.refused(err); err != nil {
			return err
		}
		return v.showForm(f)
	}
	return v.goTo(sub.Path(), "changed")
}
