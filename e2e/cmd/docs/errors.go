package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const errorsHead = `# Errors

<!-- Written by go run ./e2e/cmd/docs from internal/contract/kinds.go: change that. -->

Every error answer is ` + "`application/problem+json`" + ` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). Decide by ` + "`status`" + ` or by ` + "`type`" + `, which is
the address of a section of this page and never changes; ` + "`detail`" + ` is for people, and its words may change.

` + "```json" + `
{
  "type": "%s",
  "title": "Unprocessable Entity",
  "status": 422,
  "detail": "validation failed",
  "errors": [{"location": "body.callback_url", "message": "uses http: use https, or ask the administrator to allow http"}]
}
` + "```" + `

` + "`errors`" + ` is there where single fields are at fault, all of them at once. A ` + "`location`" + ` is a path such as ` + "`body.types[1]`" + `, ` + "`query.cursor`" + ` or, in a
batch of events, ` + "`[2].source`" + `. No answer repeats a value that was sent, since it could be a secret. Answers of 5xx name the request, whose
line in the log of the subscription service has the same id.

The last six are not told to callers: they are what the gateway tells the callback service of a callback that came to nothing, and show
in the delivery log as the ` + "`outcome`" + ` of an attempt.

`

// errorCatalogue has a section for each kind of problem, so that each type is an address.
func errorCatalogue(string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, errorsHead, contract.KindInvalid.URL())
	b.WriteString("| status | kinds |\n| --- | --- |\n")
	for _, group := range byStatus() {
		fmt.Fprintf(&b, "| %d %s | %s |\n", group[0].Status, http.StatusText(group[0].Status), strings.Join(links(group), ", "))
	}
	for _, info := range contract.Kinds {
		fmt.Fprintf(&b, "\n## %s\n\n%d. %s\n\n%s\n", info.Kind, info.Status, info.Meaning, info.Remedy)
	}
	return b.String(), nil
}

// byStatus groups the kinds, which stand in the order of their statuses save those of callbacks.
func byStatus() (groups [][]contract.KindInfo) {
	place := map[int]int{}
	for _, info := range contract.Kinds {
		at, known := place[info.Status]
		if !known {
			at = len(groups)
			place[info.Status], groups = at, append(groups, nil)
		}
		groups[at] = append(groups[at], info)
	}
	return groups
}

func links(group []contract.KindInfo) []string {
	var links []string
	for _, info := range group {
		links = append(links, fmt.Sprintf("[%s](#%s)", info.Kind, info.Kind))
	}
	return links
}
