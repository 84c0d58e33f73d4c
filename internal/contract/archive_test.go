package contract

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

var taken = time.Date(2026, 1, 2, 3, 4, 6, 7e6, time.UTC)

func archived(t testing.TB, contentType string, h map[string]any, body []byte) Archived {
	t.Helper()
	e, err := ParseEvent(contentType, h, body)
	require.NoError(t, err)
	return Archive(e, "orders", taken)
}

// some are events of all kinds.
func some(t testing.TB) []Archived {
	return []Archived{
		archived(t, "application/json", headers("cloudEvents_", "subject", "order 7", "num", int32(-5), "yes", true, "no", false, "empty", ""), []byte("{\"total\":  1.50}")),
		archived(t, structuredType, nil, []byte(`{"specversion":"1.0","id":"e2","source":"/s","type":"t","datacontenttype":"text/plain","data_base64":"aGVsbG8="}`)),
		archived(t, "", headers("cloudEvents:", "time", taken), []byte{0, 255}),
		archived(t, "", headers("cloudEvents_"), nil),
	}
}

func TestPackGolden(t *testing.T) {
	events := some(t)
	body, err := EncodePack(events)
	require.NoError(t, err)
	golden(t, "pack.hex", []byte(hex.Dump(body)))
}

// What an older service archived is there for days.
func TestAnOlderPack(t *testing.T) {
	stored, err := os.ReadFile(filepath.Join("testdata", "pack.hex"))
	require.NoError(t, err)
	var body []byte
	for line := range strings.Lines(string(stored)) {
		columns, _, _ := strings.Cut(line[8:], "|")
		part, err := hex.DecodeString(strings.Join(strings.Fields(columns), ""))
		require.NoError(t, err)
		body = append(body, part...)
	}
	back, err := DecodePack(MediaPack, body)
	require.NoError(t, err)
	require.Equal(t, some(t), back)
}

func TestAnArchivedEventIsTheSameAgain(t *testing.T) {
	for i, a := range some(t) {
		e, err := a.Event()
		require.NoError(t, err)
		require.Equal(t, a.Type(), e.Type())
		require.Equal(t, a, Archive(e, "orders", taken), i)
	}
	damaged := archived(t, "", headers("cloudEvents_"), nil)
	delete(damaged.Headers, "cloudEvents_id")
	_, err := damaged.Event()
	require.ErrorIs(t, err, ErrEvent)
	damaged.Headers["cloudEvents_ext"] = []byte(nil)
	damaged.Headers["cloudEvents_my-ext"] = "x"
	_, err = damaged.Event()
	require.ErrorIs(t, err, ErrEvent)
}

func TestHeadersKeepTheirTypes(t *testing.T) {
	want := map[string]any{
		"text": "grüße", "empty": "", "yes": true, "no": false, "small": int32(-7), "wide": int64(1) << 40, "bytes": []byte{0, 255},
		"utc": taken, "zone": time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)),
	}
	body, err := EncodePack([]Archived{{Taken: taken, Headers: want}})
	require.NoError(t, err)
	back, err := DecodePack(MediaPack, body)
	require.NoError(t, err)
	require.True(t, want["zone"].(time.Time).Equal(back[0].Headers["zone"].(time.Time)))
	delete(want, "zone")
	delete(back[0].Headers, "zone")
	require.Equal(t, want, back[0].Headers)
}

func TestPacksAreBounded(t *testing.T) {
	small, large := Archived{Body: []byte("x")}, Archived{Body: make([]byte, packBytes)}
	sizes := func(events ...Archived) (n []int) {
		for part := range Packs(events) {
			n = append(n, len(part))
		}
		return n
	}
	require.Empty(t, sizes())
	require.Equal(t, []int{3}, sizes(small, small, small))
	require.Equal(t, []int{1, 1, 2}, sizes(large, large, small, small))
	require.Equal(t, []int{2, 1, 1}, sizes(small, small, large, small))
	require.Equal(t, []int{MaxPack, 1}, sizes(slices.Repeat([]Archived{small}, MaxPack+1)...))
	for range Packs([]Archived{large, large}) {
		break
	}
	_, err := EncodePack(make([]Archived, MaxPack+1))
	require.Error(t, err)
}

func TestAPlaceIsOneNumber(t *testing.T) {
	require.Less(t, MaxPack, replayStep)
	for _, offset := range []int64{0, 1, 1 << 40} {
		for _, index := range []int{0, 1, MaxPack} {
			gotOffset, gotIndex := Replay{Next: Position(offset, index)}.Place()
			require.Equal(t, []any{offset, index}, []any{gotOffset, gotIndex})
		}
	}
}

func TestTheLongestEventFits(t *testing.T) {
	h := headers("cloudEvents_", "subject", strings.Repeat("s", 90<<10))
	body, err := EncodePack([]Archived{archived(t, "text/plain", h, bytes.Repeat([]byte("x"), MaxEvent))})
	require.NoError(t, err)
	require.Less(t, len(body), MaxEvent+(1<<20))
}

func TestWhatCanNotBePacked(t *testing.T) {
	for _, value := range []any{1, 1.5, nil, map[string]any{}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 40*24*3600))} {
		_, err := EncodePack([]Archived{{Headers: map[string]any{"h": value}}})
		require.ErrorContains(t, err, "header h", "%T", value)
	}
}

func TestRefusedPacks(t *testing.T) {
	good, err := EncodePack(some(t))
	require.NoError(t, err)
	for name, body := range map[string][]byte{
		"nothing":          nil,
		"nonsense":         []byte("nonsense"),
		"cut":              good[:len(good)-10],
		"an unknown kind":  rawHeader(99, "x"),
		"a time of no day": rawHeader(headerTime, "x"),
		"no value":         rawHeader(headerName, "x"),
		"a damaged header": appendBytes(nil, packEvents, appendText(nil, eventHeaders, "\xff")),
		"too many":         bytes.Repeat(appendBytes(nil, packEvents, nil), MaxPack+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodePack(MediaPack, body)
			require.ErrorIs(t, err, ErrPack)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	_, err = DecodePack("application/json", good)
	require.ErrorIs(t, err, ErrPack)
}

// rawHeader is a pack of an event with one header.
func rawHeader(n protowire.Number, value string) []byte {
	header := appendText(appendText(nil, headerName, "h"), n, value)
	return appendBytes(nil, packEvents, appendBytes(nil, eventHeaders, header))
}

func TestFieldsOfALaterVersionArePassedOver(t *testing.T) {
	good, err := EncodePack(some(t))
	require.NoError(t, err)
	later := protowire.AppendFixed64(protowire.AppendTag(nil, 9, protowire.Fixed64Type), 1)
	later = appendText(later, 10, "x")
	body := appendBytes(slices.Concat(later, good, later), packEvents, slices.Concat(later, appendText(nil, eventResource, "later")))
	back, err := DecodePack(MediaPack, body)
	require.NoError(t, err)
	require.Equal(t, some(t), back[:len(back)-1])
	require.Equal(t, "later", back[len(back)-1].Resource)
}

func FuzzDecodePack(f *testing.F) {
	good, err := EncodePack(some(f))
	require.NoError(f, err)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(rawHeader(headerTime, "x"))
	f.Add(rawHeader(headerWide, "x"))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := DecodePack(MediaPack, body)
		if err != nil {
			if !errors.Is(err, ErrPack) || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		for _, a := range events {
			if _, err := a.Event(); err != nil && !errors.Is(err, ErrEvent) {
				t.Fatalf("%v is not ErrEvent", err)
			}
		}
		again, err := EncodePack(events)
		if err != nil {
			t.Fatalf("what was read can't be packed: %v", err)
		}
		if back, err := DecodePack(MediaPack, again); err != nil || !reflect.DeepEqual(back, events) {
			t.Fatalf("%v\ngot  %v\nwant %v", err, back, events)
		}
	})
}

// BenchmarkPack tells what an event costs in a pack of so many.
func BenchmarkPack(b *testing.B) {
	for _, n := range []int{1, 200} {
		var events []Archived
		for i := range n {
			h := headers("cloudEvents_", "id", fmt.Sprint("e", i), "time", "2026-01-02T03:04:05.678Z", "subject", fmt.Sprint("order ", i), "num", int32(5))
			events = append(events, archived(b, "application/json", h, fmt.Appendf(nil, `{"order":"%0400d"}`, i)))
		}
		body, err := EncodePack(events)
		require.NoError(b, err)
		run := func(name string, each func() error) {
			b.Run(fmt.Sprintf("%s/events=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := each(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
			})
		}
		run("encode", func() error { _, err := EncodePack(events); return err })
		run("decode", func() error { _, err := DecodePack(MediaPack, body); return err })
	}
}
