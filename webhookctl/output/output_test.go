package output

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestForeignTextCannotDriveATerminal(t *testing.T) {
	require.Equal(t, "a?[31mb??\nc\td", Clean("a\x1b[31mb\x07\u202e\nc\td"))
	require.Equal(t, "?x", Clean("\x9bx"))
	require.Equal(t, "a b…", OneLine("a\n b  cdef", 4))
}

func TestTablesLineUpUnderColours(t *testing.T) {
	var out bytes.Buffer
	p := &Printer{Out: &out, Colour: true, Now: time.Now}
	p.Rows([]string{"id", "status", "x"}, [][]string{{"1", p.Status("active"), "a"}, {"22", p.Status("unheard of"), "b"}})
	require.Equal(t, "ID  STATUS      X\n1   \x1b[32mactive\x1b[0m      a\n22  unheard of  b\n", out.String())
	out.Reset()
	p.Rows([]string{"id"}, nil)
	require.Equal(t, "none\n", out.String())
}

func TestProgramsGetJSONOrYAML(t *testing.T) {
	var out bytes.Buffer
	p := &Printer{Out: &out, Format: JSON}
	require.NoError(t, p.Raw([]byte(`{"b":1,"a":[2]}`)))
	require.JSONEq(t, `{"b":1,"a":[2]}`, out.String())
	out.Reset()
	p.Format = YAML
	require.NoError(t, p.Value(map[string]int{"a": 1}))
	require.Equal(t, "---\na: 1\n", out.String())
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 59 * time.Second: "59s", 90 * time.Second: "1m", 3 * time.Hour: "3h", 72 * time.Hour: "3d", -5 * time.Second: "in 5s"} {
		require.Equal(t, want, Span(d))
	}
}
