package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

var template = Template{Type: "order.created", Source: "/s", ID: "x", Numbered: true, ContentType: "application/json", Time: time.Unix(1e9, 0)}

func read(t *testing.T, text string, skip int) (items []Item, err error) {
	t.Helper()
	for item, fault := range Items(NewValues(strings.NewReader(text)), template, skip) {
		if fault != nil {
			return items, fault
		}
		items = append(items, item)
	}
	return items, nil
}

func TestWaysToWriteEvents(t *testing.T) {
	const structured = `{"specversion":"1.0","id":"a","source":"/b","type":"c.d","data":{"n":1.0}}`
	for name, c := range map[string]struct {
		text  string
		ids   []string
		lines []int
	}{
		"nothing":         {"  \n\n", nil, nil},
		"one event":       {structured, []string{"a"}, []int{1}},
		"one datum":       {`{"n":1}`, []string{"x-1"}, []int{1}},
		"lines":           {"{\"n\":1}\n{\"n\":2}\n\n" + structured + "\n", []string{"x-1", "x-2", "a"}, []int{1, 2, 4}},
		"an array":        {"\n\n[\n{\"n\":1},\n{\"n\":\n2}]\n", []string{"x-1", "x-2"}, []int{4, 6}},
		"over many lines": {"{\n\"n\":1\n}\n{\n\"n\":2}\n", []string{"x-1", "x-2"}, []int{3, 5}},
		"other values":    {"1 \"two\"\nnull", []string{"x-1", "x-2", "x-3"}, []int{1, 1, 2}},
		"an empty array":  {"[]", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			items, err := read(t, c.text, 0)
			require.NoError(t, err)
			require.Len(t, items, len(c.ids))
			for i, item := range items {
				require.Equal(t, c.ids[i], item.Event.ID())
				require.Equal(t, c.lines[i], item.Line, "line of %d", i)
				require.Equal(t, i+1, item.Number)
			}
		})
	}
}

func TestDataStayAsTheyAre(t *testing.T) {
	items, err := read(t, `{"n": 1.00,  "s":"<&>"}`, 0)
	require.NoError(t, err)
	require.Equal(t, `{"n": 1.00,  "s":"<&>"}`, string(items[0].Event.Data()))
	require.Equal(t, "application/json", items[0].Event.DataContentType())
}

func TestFaultsSayWhereTheyAre(t *testing.T) {
	for text, want := range map[string]string{
		"{\"n\":1}\n{oops\n":                           "event 2, line 2",
		"{}\n{\"specversion\":\"1.0\",\"id\":\"a\"}\n": "event 2, line 2",
		"[{},\n{},\n":                                  "event 3, line 3",
		`{"specversion":"2.0"}`:                        "event 1, line 1",
		"plain text":                                   "not JSON",
	} {
		_, err := read(t, text, 0)
		require.ErrorContains(t, err, want, text)
		require.Equal(t, exit.Invalid, exit.Of(err))
	}
	template.Type = ""
	_, err := read(t, "{}", 0)
	template.Type = "order.created"
	require.ErrorIs(t, err, ErrNoType)
}

func TestSkippingKeepsNumbersAndIDs(t *testing.T) {
	items, err := read(t, "{}\n{}\n{}\n", 2)
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.Equal(t, "x-3", items[0].Event.ID())
	require.Equal(t, 3, items[0].Line)
	items, err = read(t, "{}", 5)
	require.NoError(t, err)
	require.Empty(t, items)
}

// sender keeps what it is sent, and fails on a batch.
type sender struct {
	batches [][]string
	failAt  int
	bytes   int
}

func (s *sender) Bounds() (int, int) { return 3, s.bytes }

func (s *sender) Send(_ context.Context, batch []*event.Event) error {
	if len(s.batches)+1 == s.failAt {
		return errors.New("the broker is away")
	}
	var ids []string
	for _, e := range batch {
		ids = append(ids, e.ID())
	}
	s.batches = append(s.batches, ids)
	return nil
}

func run(t *testing.T, text string, to Sender, perSecond float64) (Done, error) {
	t.Helper()
	return Run(t.Context(), Items(NewValues(strings.NewReader(text)), template, 0), to, perSecond, func(Done) {})
}

func TestBatchesAreConfirmedOneByOne(t *testing.T) {
	s := &sender{bytes: 100}
	done, err := run(t, strings.Repeat("{}\n", 7), s, 0)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"x-1", "x-2", "x-3"}, {"x-4", "x-5", "x-6"}, {"x-7"}}, s.batches)
	require.Equal(t, Done{Confirmed: 7, Number: 7, Line: 7, End: 20}, done)
	s = &sender{bytes: 5}
	_, err = run(t, strings.Repeat("{}\n", 5), s, 0)
	require.NoError(t, err)
	require.Len(t, s.batches, 3, "of two events each, by their bytes")
}

func TestABreakSaysHowFarItGot(t *testing.T) {
	done, err := run(t, strings.Repeat("{}\n", 7), &sender{bytes: 100, failAt: 2}, 0)
	require.ErrorContains(t, err, "events 4 to 6 (lines 4 to 6): the broker is away")
	require.Equal(t, Done{Confirmed: 3, Number: 3, Line: 3, End: 8, Unsure: 3}, done)
}

func TestWhatComesBeforeAFaultIsPublished(t *testing.T) {
	s := &sender{bytes: 100}
	done, err := run(t, "{}\n{}\noops\n{}", s, 0)
	require.ErrorContains(t, err, "line 3")
	require.Equal(t, 2, done.Confirmed)
	require.Zero(t, done.Unsure)
}

func TestTheRateHolds(t *testing.T) {
	begin := time.Now()
	_, err := run(t, strings.Repeat("{}\n", 8), &sender{bytes: 100}, 40)
	require.NoError(t, err)
	require.Greater(t, time.Since(begin), 100*time.Millisecond, "after a burst of three, five more at 40 a second")
}

func TestHTTPWaitsForALimitAndNamesTheEventAtFault(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		body, _ := io.ReadAll(r.Body)
		require.Equal(t, "application/cloudevents-batch+json", r.Header.Get("Content-Type"))
		require.Equal(t, "/orders/events", r.URL.Path)
		if w.Header().Set("Content-Type", "application/problem+json"); calls == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"status":429}`)
			return
		}
		require.Contains(t, string(body), `"id":"x-2"`)
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"status":422,"errors":[{"location":"[1].data/total","message":"is no number"}]}`)
	}))
	defer server.Close()
	_, err := run(t, "{}\n{}\n", HTTP{Client: client.New(server.URL, nil, time.Second), Resource: "orders", Patience: time.Minute}, 0)
	var problem *client.Problem
	require.ErrorAs(t, err, &problem)
	require.Equal(t, "event 2, line 2, data/total", problem.Errors[0].Location)
	require.Equal(t, exit.Invalid, exit.Of(err))
	require.Equal(t, 2, calls)
}

// publisher keeps messages.
type publisher struct {
	messages []rabbit.Message
	err      error
}

func (p *publisher) Publish(_ context.Context, messages ...rabbit.Message) error {
	p.messages = append(p.messages, messages...)
	return p.err
}

func TestAMQPSendsToTheEventsExchange(t *testing.T) {
	p := &publisher{}
	_, err := run(t, `{"n":1}`, AMQP{Publisher: p, Names: rabbit.NamesFor(""), Resource: "orders", Timeout: time.Second}, 0)
	require.NoError(t, err)
	m := p.messages[0]
	require.Equal(t, []string{"webhook.events", "orders.order.created", `{"n":1}`, "application/json"}, []string{m.Exchange, m.RoutingKey, string(m.Body), m.ContentType})
	require.Equal(t, "x-1", m.Headers["cloudEvents_id"])
	p.err = fmt.Errorf("publishing: %w", &rabbit.ReturnedError{Exchange: "webhook.events"})
	_, err = run(t, `{"n":1}`, AMQP{Publisher: p, Names: rabbit.NamesFor(""), Resource: "orders", Timeout: time.Second}, 0)
	require.Equal(t, exit.Unavailable, exit.Of(err))
	require.ErrorContains(t, err, "webhookctl doctor")
}

func FuzzValues(f *testing.F) {
	for _, text := range []string{"", "{}\n{}", "[1,2,\n3]", "[", "[1 2]", "{}]", "\n\n\"a", "1[2]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values := NewValues(strings.NewReader(text))
		for line, n := 0, 0; ; n++ {
			_, at, _, err := values.Next()
			if err != nil {
				return
			}
			if at < line || at > strings.Count(text, "\n")+1 {
				t.Fatalf("line %d after %d", at, line)
			}
			line = at
		}
	})
}
