package runner

import (
	"strconv"
	"strings"
	"time"
)

// Environment is what a runner gets: PATH, where to listen, how long tokens live, and the listed variables (NAME,
// which is passed on where it is set, or NAME=value). Nothing else, as in APISIX.
func Environment(listed []string, lookup func(string) (string, bool), socket string, tokenLife time.Duration) []string {
	var env []string
	seen := map[string]bool{}
	add := func(name, value string) {
		if !seen[name] {
			seen[name] = true
			env = append(env, name+"="+value)
		}
	}
	add("APISIX_LISTEN_ADDRESS", "unix:"+socket)
	add("APISIX_CONF_EXPIRE_TIME", strconv.Itoa(int(tokenLife.Seconds())))
	for _, entry := range append(listed, "PATH") {
		name, value, given := strings.Cut(entry, "=")
		if !given {
			value, given = lookup(name)
		}
		if given {
			add(name, value)
		}
	}
	return env
}
