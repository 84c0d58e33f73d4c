package runner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestEnvironment(t *testing.T) {
	process := map[string]string{"PATH": "/bin", "HOME": "/root", "SECRET": "s", "A": "1", "EMPTY": "", "B": "2"}
	lookup := func(name string) (string, bool) { v, ok := process[name]; return v, ok }
	got := Environment([]string{"A", "UNSET", "EMPTY", "B=given=twice", "B", "APISIX_LISTEN_ADDRESS=evil"}, lookup, "/run/s", time.Hour)
	assert.Equal(t, []string{
		"APISIX_LISTEN_ADDRESS=unix:/run/s", "APISIX_CONF_EXPIRE_TIME=3600", "A=1", "EMPTY=", "B=given=twice", "PATH=/bin",
	}, got)
}
