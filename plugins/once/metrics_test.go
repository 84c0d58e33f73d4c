package once_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/apisix-webhooks/apisix-webhooks/plugins/once"
)

func TestAnIDThatComesAgainIsCounted(t *testing.T) {
	s := once.New(life, 1<<16, time.Now)
	for _, id := range []string{"st_1", "st_2", "st_1", "st_1"} {
		_ = s.Use(id)
	}
	want := `
# HELP webhook_statements_remembered Statements that are remembered as used.
# TYPE webhook_statements_remembered gauge
webhook_statements_remembered 2
# HELP webhook_statements_replayed_total Calls that were refused since their statement was used before: somebody repeats calls to this gateway.
# TYPE webhook_statements_replayed_total counter
webhook_statements_replayed_total 2
`
	if err := testutil.CollectAndCompare(s, strings.NewReader(want)); err != nil {
		t.Fatal(err)
	}
}
