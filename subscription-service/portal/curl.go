package portal

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// curl is a shell command that makes the request of an attempt again. Values that are hidden are shell variables, which whoever runs it
// sets. Where the log has only the beginning of the body it says so in a comment.
func curl(r contract.AttemptRequest) string {
	lines, hidden, typed := []string{"curl --globoff -X " + quoted(r.Method) + " " + quoted(r.URL)}, 0, false
	for _, h := range r.Headers {
		switch name := strings.ToLower(h.Name); name {
		case "host", "content-length": // curl's own
		default:
			typed = typed || name == "content-type"
			lines = append(lines, "-H "+headerArgument(h, &hidden))
		}
	}
	before, data := bodyArgument(r)
	if data != "" && !typed {
		lines = append(lines, "-H 'Content-Type:'") // without it curl would name one
	}
	if data != "" {
		lines = append(lines, data)
	}
	return before + strings.Join(lines, " \\\n  ")
}

// headerArgument leaves hidden values to variables. A header without a value ends in a semicolon, as curl wants it.
func headerArgument(h contract.Header, hidden *int) string {
	if h.Value == "" {
		return quoted(h.Name + ";")
	}
	parts := strings.Split(h.Value, contract.Hidden)
	argument := quoted(h.Name + ": " + parts[0])
	for _, part := range parts[1:] {
		*hidden++
		name := "TOKEN"
		if *hidden > 1 {
			name += strconv.Itoa(*hidden)
		}
		argument += `"$` + name + `"`
		if part != "" {
			argument += quoted(part)
		}
	}
	return argument
}

// bodyArgument is what goes before the command, and the argument with the body. What can't stand in an argument comes through a pipe.
func bodyArgument(r contract.AttemptRequest) (before, argument string) {
	if r.BodyCut {
		before = "# The log has only the beginning of the body, which has " + strconv.Itoa(r.BodyBytes) + " bytes: this is not the whole request.\n"
	}
	encoded := r.Body
	switch {
	case r.Body == "":
		return before, ""
	case !r.BodyBase64 && !strings.Contains(r.Body, "\x00"):
		return before, "--data-raw " + quoted(r.Body)
	case !r.BodyBase64:
		encoded = base64.StdEncoding.EncodeToString([]byte(r.Body))
	}
	return before + "printf %s " + quoted(encoded) + " | base64 -d | ", "--data-binary @-"
}

// quoted is a text as one word of a POSIX shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
