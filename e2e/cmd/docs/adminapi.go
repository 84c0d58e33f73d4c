package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

const adminAPIHead = `# The calls of APISIX's Admin API

<!-- Written by go run ./e2e/cmd/docs from apisix-conf/apisix.yaml: change that. -->

For an APISIX that has its configuration in etcd: these calls make what [` + "`apisix-conf/apisix.yaml`" + `](../apisix-conf/apisix.yaml) has, with
the defaults in the place of the variables. The [operator guide](operator-guide.md#etcd-and-the-admin-api) says what comes before and after.
Change the addresses of the two upstreams first if yours are others. On a gateway with other routes, give each route the ` + "`hosts`" + ` of your
webhooks, or a higher ` + "`priority`" + `: their ` + "`uri`" + ` is ` + "`/*`" + `, and ` + "`vars`" + ` says which calls they are for.

` + "```bash" + `
APISIX_ADMIN=http://127.0.0.1:9180
APISIX_KEY=$(yq '.deployment.admin.admin_key[0].key' /usr/local/apisix/conf/config.yaml) # or wherever yours is
put() { curl -sS --fail-with-body -o /dev/null -X PUT "$APISIX_ADMIN/apisix/admin/$1" -H "X-API-KEY: $APISIX_KEY" --data-binary @-; }
`

const adminAPITail = "```" + `

The order matters: upstreams and the ` + "`plugin_config`" + ` before the routes that name them. Every call can be made again; made anew from a later version
it brings the routes up to date.
`

// kindsOfObjects are the parts of apisix.yaml in the order in which the Admin API takes them, which has the same names.
var kindsOfObjects = []string{"upstreams", "plugin_configs", "global_rules", "routes"}

// adminAPI writes apisix.yaml as calls.
func adminAPI(root string) (string, error) {
	objects, err := gatewayObjects(root)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(adminAPIHead)
	for _, kind := range kindsOfObjects {
		for _, object := range objects[kind] {
			id, _ := object["id"].(string)
			delete(object, "id") // it is in the path
			body, err := json.MarshalIndent(object, "", "  ")
			if err != nil {
				return "", fmt.Errorf("%s %s: %w", kind, id, err)
			}
			fmt.Fprintf(&b, "\nput %s/%s <<'JSON'\n%s\nJSON\n", kind, id, body)
		}
		delete(objects, kind)
	}
	for kind := range objects {
		return "", fmt.Errorf("apisix.yaml has %s, of which nobody said how the Admin API takes them", kind)
	}
	b.WriteString(adminAPITail)
	return b.String(), nil
}

// gatewayObjects reads apisix.yaml as APISIX does, which puts in the variables before it parses.
func gatewayObjects(root string) (map[string][]map[string]any, error) {
	text, err := os.ReadFile(filepath.Join(root, "apisix-conf", "apisix.yaml")) // #nosec G304 -- the project's own file
	if err != nil {
		return nil, fmt.Errorf("reading the routes: %w", err)
	}
	var objects map[string][]map[string]any
	if err := yaml.Unmarshal([]byte(substitution.ReplaceAllString(string(text), "$2")), &objects); err != nil {
		return nil, fmt.Errorf("reading the routes: %w", err)
	}
	return objects, nil
}
