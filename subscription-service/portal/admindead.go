package portal

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// deadPage is a part of the list of dead letters.
type deadPage struct {
	Letters []contract.DeadLetter
	// Search is what was asked for, as it was typed.
	Search deadSearch
	// Next is the address of the next page; empty at the end.
	Next string
}

// deadSearch are the fields of the form above the list.
type deadSearch struct{ Kind, Resource, Subscription, Reason, Since, Until string }

func deadSearchOf(asked url.Values) deadSearch {
	return deadSearch{asked.Get("kind"), asked.Get("resource"), asked.Get("subscription"), asked.Get("reason"), asked.Get("since"), asked.Get("until")}
}

// All tells that a replay can be asked for all that is found: by everything but a part of a reason.
func (s deadSearch) All() bool { return s.Reason == "" }

func listDead(v *visit) error {
	asked := v.r.URL.Query()
	data := deadPage{Search: deadSearchOf(asked)}
	query := queryOf(map[string]string{
		"kind": data.Search.Kind, "resource": data.Search.Resource, "subscription": data.Search.Subscription, "reason": data.Search.Reason,
		"since": apiTime(data.Search.Since), "until": apiTime(data.Search.Until), "cursor": asked.Get("cursor"), "limit": "50",
	})
	var found list[contract.DeadLetter]
	if err := v.api.get(v.r.Context(), "/admin/v1/dead-letters", query, &found); err != nil {
		return err
	}
	data.Letters, data.Next = found.Items, nextPage(asked, found.NextCursor)
	return v.page("deadletters", "Dead letters", data)
}

// begun is what the API says of a replay of dead letters.
type begun contract.DeadReplay

// Done is how much of the queue was looked at, in percent.
func (b begun) Done() int {
	if b.Scanned+b.Remaining == 0 {
		return 100
	}
	return 100 * b.Scanned / (b.Scanned + b.Remaining)
}

// deadReplay is a replay of dead letters and what it was asked for.
type deadReplay struct {
	begun

	// Asked are the fields with which the form goes on.
	Asked url.Values
}

// replayDead tries dead letters again: those that are chosen, or all that were found. While some are to be looked at still, the page
// goes on by itself, or with a click.
func replayDead(v *visit) error {
	form := v.r.PostForm
	search := deadSearchOf(form)
	body := map[string]any{}
	for name, value := range map[string]string{"kind": search.Kind, "resource": search.Resource, "subscription": search.Subscription, "since": apiTime(search.Since), "until": apiTime(search.Until)} {
		if value != "" {
			body[name] = value
		}
	}
	if form.Get("which") == "chosen" {
		if len(form["id"]) == 0 {
			return &problem{Status: http.StatusUnprocessableEntity, Title: "Nothing is chosen", Detail: "tick the dead letters that are to be tried again"}
		}
		body = map[string]any{"ids": form["id"]}
	}
	before := begun{Replays: count(form, "replays"), Running: count(form, "running"), Deliveries: count(form, "deliveries"), Events: count(form, "events"), Scanned: count(form, "scanned")}
	if remaining := count(form, "remaining"); remaining > 0 {
		body["remaining"] = remaining
	}
	data := deadReplay{}
	if _, err := v.api.send(v.r.Context(), http.MethodPost, "/admin/v1/dead-letters/replay", body, &data.begun); err != nil {
		return err
	}
	data.add(before)
	data.Asked = onward(form, data.begun)
	if v.r.Header.Get("Hx-Request") != "" {
		return v.fragment("deadreplay", "dead-progress", data)
	}
	return v.page("deadreplay", "Trying dead letters again", data)
}

// add counts what the calls before have begun.
func (b *begun) add(before begun) {
	b.Replays, b.Running, b.Deliveries = b.Replays+before.Replays, b.Running+before.Running, b.Deliveries+before.Deliveries
	b.Events, b.Scanned = b.Events+before.Events, b.Scanned+before.Scanned
}

// onward are the fields of the form that goes on.
func onward(form url.Values, b begun) url.Values {
	asked := url.Values{}
	for _, name := range []string{"kind", "resource", "subscription", "since", "until", "which", "id"} {
		if len(form[name]) > 0 {
			asked[name] = form[name]
		}
	}
	for name, n := range map[string]int{"replays": b.Replays, "running": b.Running, "deliveries": b.Deliveries, "events": b.Events, "scanned": b.Scanned, "remaining": b.Remaining} {
		asked.Set(name, fmt.Sprint(n))
	}
	return asked
}

// count reads a number of our own form; zero if it is none.
func count(form url.Values, name string) int {
	n, err := strconv.Atoi(form.Get(name))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
