package portal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// resourceView is a resource as the API shows it. Its policy is kept as it came: what the form does not know stays.
type resourceView struct {
	Name   string                     `json:"name"`
	Types  []contract.EventType       `json:"types"`
	Policy map[string]json.RawMessage `json:"policy,omitempty"`
}

const (
	resourcesPath = "/portal/admin/resources/"
	apiResources  = "/admin/v1/resources"
)

// foundPage is a list that is searched by a part of a name.
type foundPage[T any] struct {
	Items []T
	Q     string
	// More is how many there are beyond those that are shown.
	More int
}

// mostShown bounds a list that the API gives whole.
const mostShown = 200

func find[T any](all []T, q string, name func(T) string) foundPage[T] {
	page := foundPage[T]{Q: q}
	for _, one := range all {
		switch {
		case !strings.Contains(strings.ToLower(name(one)), strings.ToLower(q)):
		case len(page.Items) == mostShown:
			page.More++
		default:
			page.Items = append(page.Items, one)
		}
	}
	return page
}

func listResources(v *visit) error {
	var all list[resourceView]
	if err := v.api.get(v.r.Context(), apiResources, nil, &all); err != nil {
		return err
	}
	return v.page("adminresources", "Resources", find(all.Items, v.r.URL.Query().Get("q"), func(r resourceView) string { return r.Name }))
}

func newResource(v *visit) error {
	f := &adminForm{Values: url.Values{"rows": {"1"}, "schema_mode": {"off"}, "verification": {"none"}}}
	return v.showAdminForm("adminresource", "New resource", f)
}

func (v *visit) resourceView() (r resourceView, err error) {
	err = v.api.get(v.r.Context(), apiResources+"/"+v.resource(), nil, &r)
	return r, err
}

func editResource(v *visit) error {
	r, err := v.resourceView()
	if err != nil {
		return err
	}
	return v.showAdminForm("adminresource", r.Name, &adminForm{Values: valuesOf(r), Of: r.Name})
}

// policyTexts are the members of a policy that are one text or number, policyNested those within another.
var (
	policyTexts  = []string{"schema_mode", "verification", "max_payload", "max_subscriptions"}
	policyNested = map[string][]string{"timeouts": {"connect", "header", "total"}, "log": {"max_age", "max_bytes", "body_excerpt"}}
	policyLists  = []string{"callback_hosts", "retry_schedule"}
)

// valuesOf fills the form in with a resource as it is, and one row more than it has types.
func valuesOf(r resourceView) url.Values {
	v := url.Values{"rows": {strconv.Itoa(len(r.Types) + 1)}, "schema_mode": {"off"}, "verification": {"none"}}
	for i, t := range r.Types {
		v.Set(row("type_name", i), t.Name)
		v.Set(row("type_description", i), t.Description)
		v.Set(row("type_schema", i), indented(t.Schema))
	}
	for _, name := range policyTexts {
		if raw, ok := r.Policy[name]; ok {
			v.Set(name, plainText(raw))
		}
	}
	for of, names := range policyNested {
		var members map[string]json.RawMessage
		_ = json.Unmarshal(r.Policy[of], &members) // what is no object has none
		for _, name := range names {
			v.Set(of+"_"+name, plainText(members[name]))
		}
	}
	for _, name := range policyLists {
		v.Set(name, strings.Join(texts(r.Policy[name]), "\n"))
	}
	v["callback_schemes"] = texts(r.Policy["callback_schemes"])
	if string(r.Policy["retry_schedule"]) == "[]" {
		v.Set("retry_schedule", "none")
	}
	return v
}

func row(name string, i int) string { return fmt.Sprintf("%s_%d", name, i) }

// plainText is a JSON text or number as a field shows it.
func plainText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

func texts(raw json.RawMessage) (all []string) {
	_ = json.Unmarshal(raw, &all) // what is no list has none
	return all
}

func indented(schema json.RawMessage) string {
	var b bytes.Buffer
	if len(schema) == 0 || json.Indent(&b, schema, "", "  ") != nil {
		return string(schema)
	}
	return b.String()
}

// Rows are the numbers of the rows that the form has.
func (f adminForm) Rows() []int {
	n := min(max(count(f.Values, "rows"), 1), 200)
	rows := make([]int, n)
	for i := range rows {
		rows[i] = i
	}
	return rows
}

// SchemaModes and Verifications are for the template.
func (adminForm) SchemaModes() []string   { return []string{"off", "warn", "reject"} }
func (adminForm) Verifications() []string { return []string{"none", "handshake", "challenge", "any"} }

// more adds a row where that is what was clicked.
func (f *adminForm) more() bool {
	if f.Get("do") != "more" {
		return false
	}
	f.Set("rows", strconv.Itoa(count(f.Values, "rows")+1))
	return true
}

func createResource(v *visit) error {
	f := &adminForm{Values: v.r.PostForm}
	if f.more() {
		return v.showAdminForm("adminresource", "New resource", f)
	}
	name := strings.TrimSpace(f.Get("name"))
	if err := contract.ValidateResource(name); err != nil {
		f.fault("name", err.Error())
	} else if there := v.api.get(v.r.Context(), apiResources+"/"+name, nil, nil); there == nil {
		f.fault("name", "there is a resource of this name already")
	}
	return v.saveResource(f, name, "New resource", resourceView{}, "made")
}

func changeResource(v *visit) error {
	r, err := v.resourceView()
	if err != nil {
		return err
	}
	f := &adminForm{Values: v.r.PostForm, Of: r.Name}
	if f.more() {
		return v.showAdminForm("adminresource", r.Name, f)
	}
	return v.saveResource(f, r.Name, r.Name, r, "saved")
}

func init() {
	doneTexts["made"] = "It is there now."
	doneTexts["saved"] = "It is saved."
	doneTexts["gone"] = "It is deleted."
	doneTexts["revoked"] = "The key is revoked. It is refused everywhere within five seconds."
}

func (v *visit) saveResource(f *adminForm, name, title string, was resourceView, done string) error {
	types, places := f.types()
	policy := f.policy(was.Policy)
	body := map[string]any{"types": types}
	if len(policy) > 0 {
		body["policy"] = policy
	}
	f.place = func(location string) string { return resourceField(location, places) }
	sent, err := v.sendForm(f, "adminresource", title, http.MethodPut, apiResources+"/"+url.PathEscape(name), body, nil)
	if err != nil || !sent {
		return err
	}
	return v.goTo(resourcesPath+url.PathEscape(name), done)
}

// types are those whose row has a name, each with the number of its row.
func (f *adminForm) types() (types []map[string]any, rows []int) {
	types = []map[string]any{}
	for _, i := range f.Rows() {
		name := strings.TrimSpace(f.Get(row("type_name", i)))
		schema := strings.TrimSpace(f.Get(row("type_schema", i)))
		if name == "" {
			if schema != "" {
				f.fault(row("type_name", i), "a schema needs the name of its type")
			}
			continue
		}
		t := map[string]any{"name": name}
		if d := strings.TrimSpace(f.Get(row("type_description", i))); d != "" {
			t["description"] = d
		}
		if schema != "" {
			if fault := notJSON(schema); fault != "" {
				f.fault(row("type_schema", i), fault)
			}
			t["schema"] = json.RawMessage(schema)
		}
		types, rows = append(types, t), append(rows, i)
	}
	return types, rows
}

// notJSON says where a text is no JSON; "" if it is some.
func notJSON(text string) string {
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal([]byte(text), new(json.RawMessage)), &syntax) {
		before := text[:min(int(syntax.Offset), len(text))]
		return fmt.Sprintf("is no JSON: line %d: %s", strings.Count(before, "\n")+1, syntax.Error())
	}
	return ""
}

// policy is what the form says, in the policy as it was.
func (f *adminForm) policy(was map[string]json.RawMessage) map[string]any {
	policy := map[string]any{}
	for name, value := range was {
		policy[name] = value
	}
	set := func(name string, value any) {
		if delete(policy, name); value != nil {
			policy[name] = value
		}
	}
	unless := map[string]string{"schema_mode": "off", "verification": "none"}
	for _, name := range policyTexts {
		value := any(nil)
		if text := strings.TrimSpace(f.Get(name)); text != unless[name] {
			value = text
			if unless[name] == "" {
				value = number(text)
			}
		}
		set(name, value)
	}
	for of := range policyNested {
		set(of, f.nested(of, was[of]))
	}
	set("callback_hosts", schedule(f.Get("callback_hosts")))
	set("retry_schedule", schedule(f.Get("retry_schedule")))
	set("callback_schemes", listOf(f.Values["callback_schemes"]))
	return policy
}

func (f *adminForm) nested(of string, was json.RawMessage) any {
	members := map[string]any{}
	_ = json.Unmarshal(was, &members) // what is no object has none
	for _, name := range policyNested[of] {
		text := strings.TrimSpace(f.Get(of + "_" + name))
		switch delete(members, name); {
		case text == "":
		case strings.HasSuffix(name, "bytes"), name == "body_excerpt":
			members[name] = number(text)
		default:
			members[name] = text
		}
	}
	if len(members) == 0 {
		return nil
	}
	return members
}

// resourceField is the field of a place such as types[0].schema or policy.timeouts.total.
func resourceField(location string, rows []int) string {
	var i int
	var member string
	if n, _ := fmt.Sscanf(location, "types[%d].%s", &i, &member); n == 2 && i < len(rows) {
		member, _, _ = strings.Cut(member, ".")
		return row("type_"+member, rows[i])
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(location, "policy."), "[")
	return strings.ReplaceAll(name, ".", "_")
}

func confirmDeleteResource(v *visit) error {
	r, err := v.resourceView()
	if err != nil {
		return err
	}
	return v.page("admindelete", "Delete a resource", adminDelete{r.Name, resourcesPath + r.Name, "Nobody can publish or subscribe to it any more. A resource with subscriptions is not deleted."})
}

// adminDelete asks whether it is meant.
type adminDelete struct{ Name, Path, Note string }

func deleteResource(v *visit) error {
	return v.remove(apiResources+"/"+v.resource(), resourcesPath, "gone")
}
