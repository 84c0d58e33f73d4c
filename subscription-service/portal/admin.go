package portal

import (
	"net/http"
	"net/url"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// adminRoutes lists the pages of admins.
func (s *site) adminRoutes() {
	const resources, consumers = "/portal/admin/resources/", "/portal/admin/consumers/"
	const resource, consumer = resources + "{resource}", consumers + "{id}"
	for pattern, page := range map[string]func(*visit) error{
		"GET /portal/admin/{$}":                   adminHome,
		"GET /portal/admin/breakers/{$}":          listBreakers,
		"GET /portal/admin/audit/{$}":             listAudit,
		"GET /portal/admin/dead-letters/{$}":      listDead,
		"POST /portal/admin/dead-letters/{$}":     replayDead,
		"GET " + resources + "{$}":                listResources,
		"GET /portal/admin/new-resource":          newResource,
		"POST /portal/admin/new-resource":         createResource,
		"GET " + resource:                         editResource,
		"POST " + resource:                        changeResource,
		"GET " + resource + "/throughput":         showThroughput,
		"GET " + resource + "/delete":             confirmDeleteResource,
		"POST " + resource + "/delete":            deleteResource,
		"GET " + consumers + "{$}":                listConsumers,
		"GET /portal/admin/new-consumer":          newConsumer,
		"POST /portal/admin/new-consumer":         createConsumer,
		"GET " + consumer:                         showConsumer,
		"GET " + consumer + "/edit":               editConsumer,
		"POST " + consumer + "/edit":              changeConsumer,
		"GET " + consumer + "/delete":             confirmDeleteConsumer,
		"POST " + consumer + "/delete":            deleteConsumer,
		"POST " + consumer + "/keys":              createKey,
		"POST " + consumer + "/keys/{key}/revoke": revokeKey,
		"POST " + consumer + "/link":              createLink,
	} {
		s.admin(pattern, page)
	}
}

// overview counts what waits and what does not work.
type overview struct {
	BreakersOpen int   `json:"breakers_open"`
	DeadLetters  int64 `json:"dead_letters"`
	Queues       []struct {
		Name     string `json:"name"`
		Messages int    `json:"messages"`
		About    string `json:"about"`
	} `json:"queues"`
	Stats *statsPage `json:"-"`
}

func adminHome(v *visit) error {
	var o overview
	if err := v.api.get(v.r.Context(), "/admin/v1/overview", nil, &o); err != nil {
		return err
	}
	var err error
	if o.Stats, err = v.stats("/admin/v1/stats", ""); err != nil {
		return err
	}
	return v.page("adminhome", "Overview", o)
}

// throughput is how a resource's events and callbacks went.
type throughput struct {
	Resource string
	Stats    *statsPage
}

func showThroughput(v *visit) error {
	r, err := v.resourceView()
	if err != nil {
		return err
	}
	data := throughput{Resource: r.Name}
	if data.Stats, err = v.stats("/admin/v1/stats", r.Name); err != nil {
		return err
	}
	return v.page("adminthroughput", "Throughput of "+r.Name, data)
}

func listBreakers(v *visit) error {
	var open list[contract.Breaker]
	if err := v.api.get(v.r.Context(), "/admin/v1/breakers", nil, &open); err != nil {
		return err
	}
	return v.page("breakers", "Open circuit breakers", open.Items)
}

// auditPage is a part of the audit log.
type auditPage struct {
	Entries []contract.AuditEntry
	// Search is what was asked for, as it was typed.
	Search auditSearch
	// Next is the address of the next page; empty at the end.
	Next string
}

// auditSearch are the fields of the form above the log.
type auditSearch struct{ Actor, Action, Object, Since, Until string }

func listAudit(v *visit) error {
	asked := v.r.URL.Query()
	data := auditPage{Search: auditSearch{asked.Get("actor"), asked.Get("action"), asked.Get("object"), asked.Get("since"), asked.Get("until")}}
	query := queryOf(map[string]string{
		"actor": data.Search.Actor, "action": data.Search.Action, "object": data.Search.Object, "since": apiTime(data.Search.Since),
		"until": apiTime(data.Search.Until), "cursor": asked.Get("cursor"), "limit": "50",
	})
	var found list[contract.AuditEntry]
	if err := v.api.get(v.r.Context(), "/admin/v1/audit", query, &found); err != nil {
		return err
	}
	data.Entries, data.Next = found.Items, nextPage(asked, found.NextCursor)
	return v.page("audit", "Audit log", data)
}

// queryOf leaves out what is empty.
func queryOf(values map[string]string) url.Values {
	query := url.Values{}
	for name, value := range values {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// nextPage is the address of what was asked for, from a cursor on; empty at the end.
func nextPage(asked url.Values, cursor string) string {
	if cursor == "" {
		return ""
	}
	asked.Set("cursor", cursor)
	asked.Del("done")
	return "?" + asked.Encode()
}

// ago is a time in the form of a field.
func (v *visit) ago(d time.Duration) string { return v.Now().UTC().Add(-d).Format(formTime) }

// remove deletes what the page is about.
func (v *visit) remove(path, then, done string) error {
	if _, err := v.api.send(v.r.Context(), http.MethodDelete, path, nil, nil); err != nil {
		return err
	}
	return v.goTo(then, done)
}
