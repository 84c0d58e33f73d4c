package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAStampIsFoundInAnyFormat(t *testing.T) {
	want := stamp{n: 41, at: 1_790_000_000_123_456_789}
	data := string(appendStamp(nil, want)) + padding
	require.True(t, json.Valid([]byte(data)), "an event's data is JSON")
	require.Equal(t, want, stampOf([]byte(data)))
	require.Equal(t, want, stampOf([]byte(`{"specversion":"1.0","id":"x-41","data":`+data+`}`)))
	require.Equal(t, stamp{}, stampOf([]byte(`{}`)))
}

func TestTheReceiverCountsAnEventOnce(t *testing.T) {
	r := newReceiver()
	for _, n := range []int{0, 20000, 0, 1} {
		body := append(appendStamp(nil, stamp{n, time.Now().UnixNano()}), '}')
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/hooks", bytes.NewReader(body)))
	}
	got := r.snapshot(true)
	require.Equal(t, 3, got.Count)
	require.Equal(t, 1, got.Duplicates)
	require.Len(t, got.Latencies, 3)
	r.forget()
	require.Zero(t, r.snapshot(true).Count)
}

func TestWaitingForEventsEndsWithTheLastOfThem(t *testing.T) {
	r := newReceiver()
	control := httptest.NewServer(r.control())
	defer control.Close()
	defer http.DefaultClient.CloseIdleConnections()
	client := receiverClient{receiverReady: receiverReady{Control: control.URL}}
	go func() {
		for n := range 10 {
			r.count(stamp{n, 1}, 3)
		}
	}()
	got, err := client.wait(context.Background(), 10, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 10, got.Count)
	require.EqualValues(t, 2, got.Latencies[0])

	_, err = client.wait(context.Background(), 11, time.Millisecond)
	require.ErrorContains(t, err, "only 10 of 11 events")
	require.NoError(t, client.forget(context.Background()))
	got, err = client.now(context.Background())
	require.NoError(t, err)
	require.Zero(t, got.Count)
}

func TestWhatHangsCanBeReleased(t *testing.T) {
	r := newReceiver()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/hang", strings.NewReader("{}")))
	}()
	require.Eventually(t, func() bool { return r.snapshot(false).Hanging == 1 }, 5*time.Second, time.Millisecond)
	r.releaseAll()
	<-done
	require.Zero(t, r.snapshot(false).Hanging)
	require.Zero(t, r.snapshot(false).Count)
}

func TestPercentilesAndMedians(t *testing.T) {
	latencies := []int64{4e6, 1e6, 3e6, 2e6}
	for p, want := range map[float64]float64{0.25: 1, 0.5: 2, 0.51: 3, 0.99: 4, 1: 4} {
		require.InDelta(t, want, percentile(latencies, p), 1e-9, "p%v", p*100)
	}
	require.True(t, math.IsNaN(percentile(nil, 0.5)))
	require.InDelta(t, 2, median([]float64{3, 1, 2}), 1e-9)
	require.InDelta(t, 2.5, median([]float64{4, 1, 2, 3}), 1e-9)
	require.True(t, math.IsNaN(median(nil)))
}

func TestPaceKeepsUpWithWhatWasLate(t *testing.T) {
	begin := time.Unix(0, 0)
	p := newPace(begin, 100, 2*time.Second)
	require.Equal(t, 200, p.total)
	require.Equal(t, 1, p.dueAt(begin))
	require.Equal(t, 51, p.dueAt(begin.Add(500*time.Millisecond)))

	late := newPace(time.Now().Add(-time.Hour), 100, 2*time.Second)
	require.True(t, late.next(context.Background()))
	require.Equal(t, 200, late.due, "all at once, and no more than the window holds")
	require.False(t, late.next(context.Background()))
}

func TestACheckIsReachedAtItsBound(t *testing.T) {
	r := newReport()
	r.atLeast("a", "ratio", 0.7, 0.7)
	r.atLeast("a", "ratio", 0.69, 0.7)
	r.atMost("b", "p50", 5, 5)
	r.atMost("b", "p50", math.NaN(), 5)
	var reached []bool
	for _, c := range r.Checks {
		reached = append(reached, c.Reached)
	}
	require.Equal(t, []bool{true, false, true, false}, reached)
	var shown bytes.Buffer
	r.verdicts(&shown)
	require.Contains(t, shown.String(), "MISSED")
}

func TestAReportIsSavedAlsoWithWhatWasNotMeasured(t *testing.T) {
	r := newReport()
	r.Tables = append(r.Tables, table{Figure: "a", Columns: []string{"x"}, Rows: []row{{"r", []float64{math.NaN()}}}})
	r.atMost("a", "x", math.NaN(), 1)
	path := filepath.Join(t.TempDir(), "new", "report.json")
	require.NoError(t, r.save(path))
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, json.Valid(content))
	require.NoError(t, r.save(""), "no file is asked for")
}

func TestCostIsPerDeliveryAndForeignWorkIsApart(t *testing.T) {
	before := map[string]time.Duration{"gateway": time.Second}
	after := map[string]time.Duration{"gateway": 3 * time.Second, "redis": time.Second}
	s := newSample(1000, 2*time.Second, before, after, 4*time.Second)
	require.InDelta(t, 500, s.perSecond, 1e-9)
	require.InDelta(t, 2, s.cpu["gateway"], 1e-9)
	require.InDelta(t, 1, s.foreign, 1e-9)
	table := costTable([]pipeline{{name: "whole"}}, [][]sample{{s}})
	require.Equal(t, row{"all of them", []float64{3}}, table.Rows[2])
	require.Equal(t, row{"of them, this project's", []float64{2}}, table.Rows[3])
	require.Equal(t, row{"bare through gateway / this", []float64{1}}, table.Rows[5])
}

func TestScrapeOfAMissingMetricIsZero(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("a_total{x=\"1\"} 2\na_total{x=\"b c\"} 3\na_total_more 7\n"))
	}))
	defer server.Close()
	for name, want := range map[string]float64{"a_total": 5, "a_total_more": 7, "a": 0} {
		got, err := scrape(t.Context(), server.URL, name)
		require.NoError(t, err, name)
		require.InDelta(t, want, got, 0, name)
	}
}

func TestInfoOfRedisIsRead(t *testing.T) {
	info := parseInfo("# Stats\r\ntotal_reads_processed:12\r\nrole:master\r\ncmdstat_evalsha:calls=7,usec=9,rejected_calls=0\r\n")
	require.Equal(t, map[string]float64{"total_reads_processed": 12, "cmdstat_evalsha": 7}, info)
}

func TestOwnProcessIsMeasured(t *testing.T) {
	own := processes{"bench": {os.Getpid()}}
	require.Positive(t, own.rss("bench"))
	require.Positive(t, openFilesLimit(os.Getpid()))
	require.Positive(t, machineCPU())
	require.NotNil(t, own.cpu())
	require.Zero(t, own.with("gone", 1<<30).cpu()["gone"])
	_, err := findProcesses(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFramesArePassedOnAndCounted(t *testing.T) {
	var lc net.ListenConfig
	broker, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = broker.Close() }()
	got := make(chan []byte, 1)
	go func() {
		conn, err := broker.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write(frame(1, "start"))
		all, _ := io.ReadAll(conn)
		_ = conn.Close()
		got <- all
	}()
	counter, err := countFrames(context.Background(), broker.Addr().String())
	require.NoError(t, err)
	client, err := net.Dial("tcp", counter.address())
	require.NoError(t, err)
	sent := []byte("AMQP\x00\x00\x09\x01")
	for _, f := range [][]byte{frame(1, "publish"), frame(frameHeader, "header"), frame(3, "body"), frame(frameHeartbeat, "")} {
		sent = append(sent, f...)
	}
	_, err = client.Write(sent)
	require.NoError(t, err)
	start := make([]byte, len(frame(1, "start")))
	_, err = io.ReadFull(client, start)
	require.NoError(t, err)
	require.NoError(t, client.Close())
	require.Equal(t, sent, <-got)
	counter.close()
	require.EqualValues(t, 3, counter.sent.all.Load(), "all but the heartbeat")
	require.EqualValues(t, 1, counter.sent.messages.Load())
	require.EqualValues(t, 1, counter.received.all.Load())
}

func frame(kind byte, payload string) []byte {
	return append([]byte{kind, 0, 1, 0, 0, 0, byte(len(payload))}, payload+"\xce"...)
}

func TestSettingsThatCanNotBeMeasuredAreRefused(t *testing.T) {
	good := settings{runDir: "x", events: 1, rounds: 1, subscriptions: 1, resources: 1, prefetch: 1, healthyRate: 1, hangingSubs: 1, hanging: 1, indexed: 1000, crowdSize: 1, window: time.Minute}
	require.NoError(t, good.check())
	for name, spoil := range map[string]func(*settings){
		"no folder": func(s *settings) { s.runDir = "" }, "no rounds": func(s *settings) { s.rounds = 0 },
		"short window": func(s *settings) { s.window = leadIn },
	} {
		bad := good
		spoil(&bad)
		require.Error(t, bad.check(), name)
	}
}

func TestAQuantileOfBuckets(t *testing.T) {
	buckets := map[float64]float64{1: 50, 2: 90, 4: 100, math.Inf(1): 100}
	require.InDelta(t, 1, quantile(buckets, .5), 1e-9)
	require.InDelta(t, 2, quantile(buckets, .9), 1e-9)
	require.InDelta(t, 3.8, quantile(buckets, .99), 1e-9)
	require.InDelta(t, 2, quantile(map[float64]float64{2: 0, math.Inf(1): 5}, .5), 1e-9, "above all bounds")
	require.True(t, math.IsNaN(quantile(map[float64]float64{2: 0, math.Inf(1): 0}, .5)))
}
