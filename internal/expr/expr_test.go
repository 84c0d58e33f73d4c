package expr_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
)

const order = `{"id":"4711","total":250,"currency":"EUR","paid":true,"gone":null,"big":9007199254740991,"ratio":12.50,
	"tags":["a","b"],"lines":[{"sku":"x","count":2},{"sku":"y","count":1}],"customer":{"name":"Zoë","vip":false},"order-id":"7"}`

func orderEvent(data string) *event.Event {
	e := event.New()
	e.SetID("e1")
	e.SetSource("/shop")
	e.SetType("order.created")
	e.SetSubject("4711")
	e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	e.SetExtension("region", "eu")
	e.SetExtension("attempt", 3)
	e.DataEncoded = []byte(data)
	return &e
}

func TestAFilterChoosesEvents(t *testing.T) {
	vars := expr.NewVars(orderEvent(order))
	for text, want := range map[string]bool{
		`data.total > 100.0`:                                         true,
		`data.total > 100`:                                           true,
		`data.total == 250 && data.currency == "EUR"`:                true,
		`data.total != 250`:                                          false,
		`data.total in [1, 250]`:                                     true,
		`250 in [data.total]`:                                        true,
		`data.gone == null && data.paid`:                             true,
		`has(data.customer.vip) && !data.customer.vip`:               true,
		`has(data.nothing)`:                                          false,
		`data.nothing == 1 || data.paid`:                             true,
		`data["order-id"] == "7" && "order-id" in data`:              true,
		"data.`order-id` == '7'":                                     true,
		`data.lines.exists(l, l.count > 1)`:                          true,
		`data.lines.all(l, l.count > 1)`:                             false,
		`size(data.tags) == 2 && data.tags[0] == "a"`:                true,
		`data.customer.name.matches("^Z.ë$")`:                        true,
		`id == "e1" && source == "/shop" && type == "order.created"`: true,
		`subject.startsWith("47") && specversion == "1.0"`:           true,
		`datacontenttype == "" && dataschema == ""`:                  true,
		`time > timestamp("2026-01-01T00:00:00Z")`:                   true,
		`time.getFullYear() == 2026`:                                 true,
		`extensions.region == "eu" && extensions.attempt == 3`:       true,
		`has(extensions.other)`:                                      false,
	} {
		filter, err := expr.CompileFilter(text, nil)
		require.NoError(t, err, text)
		got, err := filter.Match(vars)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

func TestAFilterThatCanNotBeAnsweredIsAnErrorWithoutValues(t *testing.T) {
	vars := expr.NewVars(orderEvent(`{"total":"s3cr3t","list":["s3cr3t"]}`))
	for text, part := range map[string]string{
		`data.nothing > 1`:                         "no such key: nothing",
		`data.total > 1`:                           "no such overload",
		`data.total`:                               "not true or false",
		`data.list[7] == 1`:                        "index out of bounds",
		`data.total.matches(data.total + "(")`:     "",
		`int(data.total) == 1`:                     "",
		`timestamp(data.total) == time`:            "",
		`data.total.size() > 1 && 1 / 0 == 1`:      "division by zero",
		`{"a": 1}[data.total] == 1`:                "no such key",
		`extensions.region.nothing == "something"`: "",
	} {
		filter, err := expr.CompileFilter(text, nil)
		require.NoError(t, err, text)
		_, err = filter.Match(vars)
		require.ErrorContains(t, err, part, text)
		require.NotContains(t, err.Error(), "s3cr3t", text)
	}
}

func TestAFilterThatIsRefusedNamesThePlace(t *testing.T) {
	for text, want := range map[string]expr.Error{
		``:                             {1, 1, "unexpected end"},
		`data.total >`:                 {1, 13, "Syntax error"},
		`data.total > 1 &&`:            {1, 18, "Syntax error"},
		`dta.total > 1`:                {1, 1, "undeclared reference to 'dta'"},
		"true &&\n  dta.total > 1":     {2, 3, "undeclared reference to 'dta'"},
		`"ë" == "ë" && nothing == 1`:   {1, 15, "undeclared reference to 'nothing'"},
		`id > 5`:                       {1, 4, "found no matching overload"},
		`id`:                           {1, 1, "is of type string"},
		`{"a": 1}`:                     {1, 1, "is of type map"},
		`id.matches("(")`:              {1, 12, "invalid matches argument"},
		`time > timestamp("tomorrow")`: {1, 18, "invalid timestamp argument"},
		strings.Repeat("(", 200):       {1, 1, ""},
		`id == "` + strings.Repeat("x", expr.MaxText) + `"`:                                                   {1, 1, "is longer than 4096 bytes"},
		`id.matches("` + strings.Repeat("(a{1,50}){1,50}", 9) + `")`:                                          {1, 12, ""},
		`data.all(a, a.all(b, b.all(c, c.all(d, d.all(e, e == 1)))))`:                                         {1, 1, "nesting"},
		strings.Repeat("!", 1) + strings.Repeat("data.all(x, x.y || ", 40) + "true" + strings.Repeat(")", 40): {1, 1, ""},
	} {
		_, err := expr.CompileFilter(text, nil)
		var at *expr.Error
		require.ErrorAs(t, err, &at, text)
		if want.Message != "" && want != (expr.Error{1, 1, "unexpected end"}) {
			require.Contains(t, at.Message, want.Message, text)
		}
		if want.Message != "nesting" && want.Message != "" {
			require.Equal(t, []int{want.Line, want.Column}, []int{at.Line, at.Column}, "%s: %s", text, at)
		}
		require.Contains(t, err.Error(), fmt.Sprintf("line %d, column %d: ", at.Line, at.Column))
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestATransformMakesCompactJSONWithSortedKeys(t *testing.T) {
	vars := expr.NewVars(orderEvent(order))
	for text, want := range map[string]string{
		`{"id": data.id, "total": data.total}`:                     `{"id":"4711","total":250}`,
		`{"b": data.ratio, "a": data.big, "c": data.total * 1e18}`: `{"a":9007199254740991,"b":12.5,"c":250000000000000000000}`,
		`data.lines.map(l, l.sku)`:                                 `["x","y"]`,
		`data.lines.filter(l, l.count > 1)`:                        `[{"count":2,"sku":"x"}]`,
		`{"new": has(data.nothing) ? data.nothing : null}`:         `{"new":null}`,
		`data.customer`:                `{"name":"Zoë","vip":false}`,
		`"<" + subject + "\n&\u2028>"`: `"<4711\n&\u2028>"`,
		`[id, type, time, time - timestamp("2026-01-02T03:04:00Z")]`:   `["e1","order.created","2026-01-02T03:04:05Z","5s"]`,
		`[1, 2u, -1, 1.0, 1e21, 1e-7, true, b"ab", {1: "a", true: 2}]`: `[1,2,-1,1,1e+21,1e-07,true,"YWI=",{"1":"a","true":2}]`,
		`extensions`: `{"attempt":3,"region":"eu"}`,
		`null`:       `null`,
	} {
		transform, err := expr.CompileTransform(text, nil)
		require.NoError(t, err, text)
		got, err := transform.Apply(vars)
		require.NoError(t, err, text)
		require.Equal(t, want, string(got), text)
		require.True(t, json.Valid(got))
	}
}

func TestATransformThatFailsSaysWhyWithoutValues(t *testing.T) {
	vars := expr.NewVars(orderEvent(`{"x":"s3cr3t","n":0}`))
	for text, part := range map[string]string{
		`{"id": data.id}`:     "no such key: id",
		`1.0 / data.n`:        "infinite",
		`type(data)`:          "can't be written as JSON",
		`{1: data.x, "1": 2}`: "the same as text",
	} {
		transform, err := expr.CompileTransform(text, nil)
		require.NoError(t, err, text)
		_, err = transform.Apply(vars)
		require.ErrorContains(t, err, part, text)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
}

func TestWhatIsNoJSONIsTextOrBytesOrNull(t *testing.T) {
	for _, c := range []struct{ contentType, data, filter string }{
		{"text/plain", "hello", `data == "hello"`},
		{"text/plain", "\xff", `data == b"\xff"`},
		{"image/png", "\x00\x01", `size(data) == 2 && data == b"\x00\x01"`},
		{"application/vnd.x+json", `[1]`, `data[0] == 1`},
		{"application/json", ``, `data == null`},
		{"", `"a"`, `data == "a"`},
	} {
		e := orderEvent(c.data)
		if c.contentType != "" {
			e.SetDataContentType(c.contentType)
		}
		filter, err := expr.CompileFilter(c.filter, nil)
		require.NoError(t, err)
		got, err := filter.Match(expr.NewVars(e))
		require.NoError(t, err, c)
		require.True(t, got, c)
	}
}

func TestAnAbsentTimeIsNull(t *testing.T) {
	e := event.New()
	filter, err := expr.CompileFilter(`time == null`, nil)
	require.NoError(t, err)
	got, err := filter.Match(expr.NewVars(&e))
	require.NoError(t, err)
	require.True(t, got)
}

func TestWorkAndMemoryAreBounded(t *testing.T) {
	numbers := "[1" + strings.Repeat(",1", 2000) + "]"
	vars := expr.NewVars(orderEvent(`{"list":` + numbers + `,"text":"` + strings.Repeat("a", 100_000) + `"}`))
	doubled := "[1]" + strings.Repeat(".map(x, [x, x])", 40)
	long := "[data.text" + strings.Repeat(", data.text", 20) + "]"
	for _, text := range []string{
		`data.list.all(a, data.list.all(b, data.list.all(c, a == b && b == c)))`,
		doubled + " == " + doubled,
		`size(` + doubled + `) == 7 || ` + doubled + ` == []`,
		`data.text.matches("(a*)*b") && data.text.matches("(a|aa)+$") && ` + strings.Repeat(`data.text.matches("(a*)*(a*)*b") || `, 40) + `false`,
	} {
		filter, err := expr.CompileFilter(text, nil)
		if err == nil {
			start := time.Now()
			_, err = filter.Match(vars)
			require.Less(t, time.Since(start), 5*time.Second, text)
		}
		require.Error(t, err, text)
	}
	for _, text := range []string{doubled, long, `data.list.map(a, data.list)`} {
		transform, err := expr.CompileTransform(text, nil)
		if err == nil {
			_, err = transform.Apply(vars)
		}
		require.Error(t, err, text)
	}
}

func TestOneEventServesManyExpressionsAtATime(t *testing.T) {
	vars := expr.NewVars(orderEvent(order))
	cache := expr.NewCache(2)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 50 {
				filter, err := cache.Filter(fmt.Sprintf("data.total > %d.0", (n+i)%5))
				if err != nil {
					t.Error(err)
					return
				}
				if is, err := filter.Match(vars); err != nil || !is {
					t.Error(is, err)
				}
			}
		})
	}
	all.Wait()
}

func TestTheCacheKeepsWhatDoesNotCompile(t *testing.T) {
	cache := expr.NewCache(10)
	_, first := cache.Filter("data.x >")
	_, again := cache.Filter("data.x >")
	var one, other *expr.Error
	require.ErrorAs(t, first, &one)
	require.ErrorAs(t, again, &other)
	require.Same(t, one, other)
	kept, err := cache.Transform("data.x")
	require.NoError(t, err)
	same, err := cache.Transform("data.x")
	require.NoError(t, err)
	require.Same(t, kept, same)
}

func BenchmarkOneMoreFilter(b *testing.B) {
	vars := expr.NewVars(orderEvent(order))
	cache := expr.NewCache(10)
	b.ReportAllocs()
	for b.Loop() {
		filter, err := cache.Filter(`data.total > 100.0 && data.currency == "EUR"`)
		if err != nil {
			b.Fatal(err)
		}
		if is, err := filter.Match(vars); err != nil || !is {
			b.Fatal(is, err)
		}
	}
}

func BenchmarkTransform(b *testing.B) {
	vars := expr.NewVars(orderEvent(order))
	transform, err := expr.CompileTransform(`{"id": data.id, "total": data.total}`, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := transform.Apply(vars); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := expr.CompileFilter(`data.total > 100.0 && data.currency == "EUR"`, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzCompileAndEvaluate(f *testing.F) {
	for _, text := range []string{`data.total > 100.0`, `{"id": data.id}`, `data.map(x, [x, x])`, `id.matches("a(")`, `data.a[0].b["c"] in [1u, b"x"]`,
		`time + duration("1h") > timestamp("2026-01-01T00:00:00Z")`, `data.exists_one(x, x > 1) ? 1 : 2`} {
		f.Add(text, order)
	}
	f.Add(`data`, `[1e400, -0, "\ud800"]`)
	f.Fuzz(func(t *testing.T, text, data string) {
		vars := expr.NewVars(orderEvent(data))
		if filter, err := expr.CompileFilter(text, nil); err == nil {
			_, _ = filter.Match(vars)
		}
		if transform, err := expr.CompileTransform(text, nil); err == nil {
			if body, err := transform.Apply(vars); err == nil && (!json.Valid(body) || len(body) > expr.MaxBody) {
				t.Fatalf("%q made %q", text, body)
			}
		}
	})
}
