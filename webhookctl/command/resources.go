package command

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

func resourcePath(name string) string { return "/admin/v1/resources" + client.Path(name) }

func (a *app) resourcesCommand() *cobra.Command {
	cmd := group("resources", "What events are about: list, get, put, apply, types, policy, delete",
		a.resourcesList(), a.resourcesGet(), a.resourcesPut(), a.resourcesApply(), a.resourcesTypes(), a.resourcesPolicy(), a.resourcesDelete())
	cmd.Aliases = []string{"resource"}
	return cmd
}

func (a *app) resourcesList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List all resources", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		admin, err := a.admin()
		if err != nil {
			return err
		}
		answer, err := admin.Get(cmd.Context(), "/admin/v1/resources", nil)
		if err != nil {
			return err
		}
		return showList(a, answer, []string{"name", "types", "policy"}, func(r contract.Resource) []string {
			names := make([]string, len(r.Types))
			for i, t := range r.Types {
				names[i] = t.Name
			}
			return []string{r.Name, output.OneLine(strings.Join(names, ", "), 70), output.OneLine(string(r.Policy), 50)}
		})
	}}
}

func (a *app) resourcesGet() *cobra.Command {
	return &cobra.Command{Use: "get RESOURCE", Short: "Get one resource", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(), RunE: func(cmd *cobra.Command, args []string) error {
		admin, err := a.admin()
		if err != nil {
			return err
		}
		answer, err := admin.Get(cmd.Context(), resourcePath(args[0]), nil)
		if err != nil {
			return err
		}
		return a.showResource(answer)
	}}
}

func (a *app) showResource(answer client.Answer) error {
	return show(a, answer, func(r contract.Resource) string { return r.Name }, func(r contract.Resource) {
		a.print.Fields(output.Field{Name: "name", Value: r.Name}, output.Field{Name: "policy", Value: indented(r.Policy)})
		a.print.Say("")
		a.print.Rows([]string{"type", "schema", "description"}, typeRows(r.Types))
	})
}

func typeRows(types []contract.EventType) [][]string {
	rows := make([][]string, len(types))
	for i, t := range types {
		rows[i] = []string{t.Name, output.OneLine(string(t.Schema), 60), output.OneLine(t.Description, 60)}
	}
	return rows
}

func (a *app) resourcesPut() *cobra.Command {
	var file string
	var types, schemas, policy []string
	cmd := &cobra.Command{
		Use: "put RESOURCE", Short: "Create or replace a resource", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(),
		Example: `  webhookctl resources put orders --type order.created --type order.paid --schema order.created=order.schema.json
  webhookctl resources put orders -f orders.yaml --policy schema_mode=reject`,
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := a.resourceOf(file)
			if err != nil {
				return err
			}
			if err := a.fillResource(body, types, schemas, policy); err != nil {
				return err
			}
			return a.putResource(cmd, args[0], body)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "a JSON or YAML file with types and policy; - for stdin")
	cmd.Flags().StringSliceVar(&types, "type", nil, "a type of event (repeatable)")
	cmd.Flags().StringArrayVar(&schemas, "schema", nil, "TYPE=FILE: the JSON Schema of a type's data (repeatable)")
	cmd.Flags().StringArrayVar(&policy, "policy", nil, "NAME=VALUE: a member of the policy; JSON, or else text (repeatable)")
	return cmd
}

// resourceOf reads a resource as a file has it; what this program does not know goes on as it is. "" is no file.
func (a *app) resourceOf(file string) (map[string]any, error) {
	body := map[string]any{}
	if file == "" {
		return body, nil
	}
	err := a.readDocument(file, &body)
	delete(body, "name")
	return body, err
}

func (a *app) fillResource(body map[string]any, types, schemas, policy []string) error {
	if len(types)+len(schemas) > 0 {
		var known []contract.EventType
		if err := convert(body["types"], &known); err != nil {
			return err
		}
		if err := a.changeTypes(&known, types, schemas, nil); err != nil {
			return err
		}
		body["types"] = known
	}
	if len(policy) == 0 {
		return nil
	}
	members, _ := body["policy"].(map[string]any)
	err := setMembers(&members, policy, nil)
	body["policy"] = members
	return err
}

// convert takes a value through JSON.
func convert(from, to any) error {
	raw, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(raw, to)
	}
	if err != nil {
		return usage("the file does not fit: %v", err)
	}
	return nil
}

func (a *app) putResource(cmd *cobra.Command, name string, body any) error {
	admin, err := a.admin()
	if err != nil {
		return err
	}
	answer, err := admin.Send(cmd.Context(), http.MethodPut, resourcePath(name), body)
	if err != nil {
		return err
	}
	return a.showResource(answer)
}

// changeTypes adds types, sets schemas (which adds their types), and takes types away.
func (a *app) changeTypes(types *[]contract.EventType, add, schemas, remove []string) error {
	for _, name := range add {
		typeNamed(types, name)
	}
	for _, text := range schemas {
		name, file, err := pair("schema", text)
		if err != nil {
			return err
		}
		var schema json.RawMessage
		if err := a.readDocument(file, &schema); err != nil {
			return err
		}
		typeNamed(types, name).Schema = schema
	}
	for _, name := range remove {
		kept := (*types)[:0:0]
		for _, t := range *types {
			if t.Name != name {
				kept = append(kept, t)
			}
		}
		if len(kept) == len(*types) {
			return usage("--remove %s: the resource has no such type", name)
		}
		*types = kept
	}
	return nil
}

func typeNamed(types *[]contract.EventType, name string) *contract.EventType {
	for i := range *types {
		if (*types)[i].Name == name {
			return &(*types)[i]
		}
	}
	*types = append(*types, contract.EventType{Name: name})
	return &(*types)[len(*types)-1]
}

// setMembers changes a JSON object. A value is JSON if it can be, else text; a name may have dots, as timeouts.total.
func setMembers(object *map[string]any, set, unset []string) error {
	if *object == nil {
		*object = map[string]any{}
	}
	for _, text := range set {
		name, value, err := pair("set", text)
		if err != nil {
			return err
		}
		at, last := inner(*object, name)
		at[last] = jsonOrText(value)
	}
	for _, name := range unset {
		at, last := inner(*object, name)
		delete(at, last)
	}
	if len(*object) == 0 {
		*object = nil
	}
	return nil
}

func inner(object map[string]any, name string) (map[string]any, string) {
	for {
		first, rest, more := strings.Cut(name, ".")
		if !more {
			return object, name
		}
		next, ok := object[first].(map[string]any)
		if !ok {
			next = map[string]any{}
			object[first] = next
		}
		object, name = next, rest
	}
}

func jsonOrText(value string) any {
	if json.Valid([]byte(value)) {
		return json.RawMessage(value)
	}
	return value
}

func (a *app) resourcesApply() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Create or replace the resources of a file", Args: cobra.NoArgs,
		Long: "Create or replace the resources of a file: JSON or YAML with one resource, that is name, types and policy, or a list of them.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			bodies, err := a.readResources(file)
			if err != nil {
				return err
			}
			return a.applyAll(cmd, bodies)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file; - for stdin")
	_ = cmd.MarkFlagRequired("file") // it is there
	return cmd
}

func (a *app) readResources(file string) ([]map[string]any, error) {
	var document any
	if err := a.readDocument(file, &document); err != nil {
		return nil, err
	}
	list, isList := document.([]any)
	if !isList {
		list = []any{document}
	}
	bodies := make([]map[string]any, len(list))
	for i, item := range list {
		body, ok := item.(map[string]any)
		if name, named := body["name"].(string); !ok || !named || name == "" {
			return nil, usage("%s: resource %d has no name: give name, types and policy", file, i+1)
		}
		bodies[i] = body
	}
	return bodies, nil
}

func (a *app) applyAll(cmd *cobra.Command, bodies []map[string]any) error {
	admin, err := a.admin()
	if err != nil {
		return err
	}
	rows, views := [][]string{}, []json.RawMessage{}
	for i, body := range bodies {
		name, _ := body["name"].(string)
		delete(body, "name")
		answer, err := admin.Send(cmd.Context(), http.MethodPut, resourcePath(name), body)
		if err != nil {
			return brokenOff(i, len(bodies), "resource "+name, err)
		}
		word := "replaced"
		if answer.Status == http.StatusCreated {
			word = "created"
		}
		rows, views = append(rows, []string{name, word}), append(views, answer.Body)
	}
	if !a.print.Human() {
		return a.print.Value(map[string]any{"items": views})
	}
	a.print.Rows([]string{"resource", "what was done"}, rows)
	return nil
}

func (a *app) resourcesTypes() *cobra.Command {
	var add, schemas, remove []string
	cmd := &cobra.Command{
		Use: "types RESOURCE", Short: "Show a resource's types of events; add some, set schemas, take some away", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeResource(cmd, args[0], len(add)+len(schemas)+len(remove) > 0, func(r contract.Resource) (any, error) {
				err := a.changeTypes(&r.Types, add, schemas, remove)
				return map[string]any{"types": r.Types}, err
			}, func(answer client.Answer) error {
				return a.showTypes(answer, "types")
			})
		},
	}
	cmd.Flags().StringSliceVar(&add, "add", nil, "a type to add (repeatable)")
	cmd.Flags().StringArrayVar(&schemas, "schema", nil, "TYPE=FILE: the JSON Schema of a type's data, draft 2020-12 (repeatable)")
	cmd.Flags().StringSliceVar(&remove, "remove", nil, "a type to take away (repeatable)")
	return cmd
}

// showTypes shows the types in a member of an answer.
func (a *app) showTypes(answer client.Answer, member string) error {
	var all map[string]json.RawMessage
	if err := answer.Decode(&all); err != nil {
		return err
	}
	if !a.print.Human() {
		return a.print.Raw(all[member])
	}
	var types []contract.EventType
	if err := json.Unmarshal(all[member], &types); err != nil {
		return err
	}
	a.print.Rows([]string{"type", "schema", "description"}, typeRows(types))
	return nil
}

func (a *app) resourcesPolicy() *cobra.Command {
	var file string
	var set, unset []string
	var clear bool
	cmd := &cobra.Command{
		Use: "policy RESOURCE", Short: "Show a resource's policy; set members of it, replace or clear it", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(),
		Example: `  webhookctl resources policy orders --set schema_mode=reject --set timeouts.total=10s --set 'retry_schedule=["5s","2m"]'
  webhookctl resources policy orders --unset verification`,
		RunE: func(cmd *cobra.Command, args []string) error {
			change := clear || file != "" || len(set)+len(unset) > 0
			return a.changeResource(cmd, args[0], change, func(r contract.Resource) (any, error) {
				policy, err := a.newPolicy(r.Policy, file, clear)
				if err == nil {
					err = setMembers(&policy, set, unset)
				}
				return map[string]any{"policy": policy}, err
			}, a.showPolicy)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "a JSON or YAML file with the new policy; - for stdin")
	cmd.Flags().StringArrayVar(&set, "set", nil, "NAME=VALUE: JSON, or else text (repeatable)")
	cmd.Flags().StringSliceVar(&unset, "unset", nil, "a member to take away (repeatable)")
	cmd.Flags().BoolVar(&clear, "clear", false, "begin with no policy")
	return cmd
}

func (a *app) newPolicy(now json.RawMessage, file string, clear bool) (policy map[string]any, err error) {
	switch {
	case file != "":
		err = a.readDocument(file, &policy)
	case !clear && len(now) > 0:
		err = json.Unmarshal(now, &policy)
	}
	return policy, err
}

func (a *app) showPolicy(answer client.Answer) error {
	var r contract.Resource
	if err := answer.Decode(&r); err != nil {
		return err
	}
	if len(r.Policy) == 0 {
		r.Policy = json.RawMessage("{}")
	}
	return a.print.Raw(r.Policy)
}

// changeResource reads a resource and, where something is to change, sends the change.
func (a *app) changeResource(cmd *cobra.Command, name string, change bool, patch func(contract.Resource) (any, error), show func(client.Answer) error) error {
	admin, err := a.admin()
	if err != nil {
		return err
	}
	answer, err := admin.Get(cmd.Context(), resourcePath(name), nil)
	if err != nil || !change {
		return either(err, func() error { return show(answer) })
	}
	var now contract.Resource
	if err := answer.Decode(&now); err != nil {
		return err
	}
	body, err := patch(now)
	if err != nil {
		return err
	}
	answer, err = admin.Send(cmd.Context(), http.MethodPatch, resourcePath(name), body)
	return either(err, func() error { return show(answer) })
}

func (a *app) resourcesDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{Use: "delete RESOURCE", Short: "Delete a resource that has no subscriptions", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(), RunE: func(cmd *cobra.Command, args []string) error {
		return a.delete(cmd, a.admin, yes, resourcePath(args[0]), "resource "+args[0])
	}}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// delete removes one thing, after a question.
func (a *app) delete(cmd *cobra.Command, connect func() (*client.Client, error), yes bool, path, what string) error {
	c, err := connect()
	if err != nil {
		return err
	}
	if err := a.confirm(yes, "delete %s?", what); err != nil {
		return err
	}
	if _, err := c.Send(cmd.Context(), http.MethodDelete, path, nil); err != nil {
		return err
	}
	return a.done(what, "deleted")
}

// done says that something was done to something.
func (a *app) done(what, word string) error {
	switch {
	case !a.print.Human():
		return a.print.Value(map[string]string{"object": what, "done": word})
	case !a.print.Quiet:
		a.print.Say("%s %s", what, word)
	}
	return nil
}

func indented(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	text, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return output.Clean(string(raw))
	}
	return output.Clean(string(text))
}

func yesNo(is bool) string { return map[bool]string{true: "yes", false: "no"}[is] }

func quoted(text string) string { return strconv.Quote(text) }
