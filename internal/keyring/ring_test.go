package keyring

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry is a key of one repeated byte.
func entry(id string, b byte) string {
	return id + ":" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), keyBytes)))
}

func ring(t testing.TB, entries ...string) *Ring {
	t.Helper()
	r, err := Parse(strings.Join(entries, ","))
	require.NoError(t, err)
	return r
}

func TestARingIsReadFromCommasOrLines(t *testing.T) {
	one, two := entry("k1", 'a'), entry("2026-11", 'b')
	for _, text := range []string{
		one + "," + two,
		one + "\n" + two + "\n",
		"# the keys\n\n" + one + ", # since May\r\n  " + two + "  # old\n",
		one + ", " + two + ",",
	} {
		r, err := Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, []string{"k1", "2026-11"}, r.ids(), text)
	}
}

func TestAFaultyRingIsRefusedByTheEntrysPlaceAndWithoutItsText(t *testing.T) {
	short := base64.StdEncoding.EncodeToString([]byte("s3cr3ts3cr3ts3cr3ts3cr3ts3cr3t_"))
	good := entry("good", 'g')
	for name, c := range map[string]struct{ text, want string }{
		"nothing":          {"", "holds no key"},
		"comments only":    {"# k1:…\n", "holds no key"},
		"no id":            {good + ",s3cr3t", "entry 2 is not of the form id:base64"},
		"an empty entry":   {good + ",," + entry("x", 'x'), "entry 2 is not of the form"},
		"an id in capital": {entry("K1", 'a'), "entry 1 has an id that can't be used"},
		"an empty id":      {entry("", 'a'), "entry 1 has an id"},
		"a long id":        {entry(strings.Repeat("a", 33), 'a'), "entry 1 has an id"},
		"a short key":      {good + ",k1:" + short, "entry 2 is not the base64 of exactly 32 bytes"},
		"a long key":       {"k1:" + base64.StdEncoding.EncodeToString(make([]byte, 33)), "entry 1 is not the base64"},
		"no padding":       {strings.TrimSuffix(good, "="), "entry 1 is not the base64"},
		"no base64":        {"k1:s3cr3t!", "entry 1 is not the base64"},
		"loose last bits":  {strings.TrimSuffix(good, "c=") + "d=", "entry 1 is not the base64"},
		"an id twice":      {good + "," + entry("good", 'b'), "entry 2 has the id of entry 1"},
		"a key twice":      {good + "," + entry("k1", 'g'), "entry 2 is the same key as entry 1"},
		"several":          {"s3cr3t," + good + ",x:s3cr3t", "entry 1 is not of the form id:base64: make one with: echo \"k1:$(openssl rand -base64 32)\"\nentry 3"},
	} {
		_, err := Parse(c.text)
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "s3cr3t", name)
		require.NotContains(t, err.Error(), short, name)
	}
	var many []string
	for i := range mostKeys + 1 {
		many = append(many, fmt.Sprintf("k%d:x", i))
	}
	_, err := Parse(strings.Join(many, ","))
	require.ErrorContains(t, err, "has 65 keys")
}

func TestWhatIsSealedOpensAgainAndIsNotTheSameTwice(t *testing.T) {
	r := ring(t, entry("k1", 'a'))
	for _, data := range []string{"", "s3cr3t", strings.Repeat("long ", 10_000)} {
		sealed, again := r.Seal([]byte(data), "sub_1"), r.Seal([]byte(data), "sub_1")
		require.NotEqual(t, sealed.Data, again.Data)
		require.NotEqual(t, sealed.Wrapped, again.Wrapped)
		text, err := json.Marshal(sealed)
		require.NoError(t, err)
		require.NotContains(t, string(text), "s3cr3t")
		var read Envelope
		require.NoError(t, json.Unmarshal(text, &read))
		got, err := r.Open(read, "sub_1")
		require.NoError(t, err)
		require.Equal(t, data, string(got))
	}
}

func TestOldKeysOpenAndTheFirstOneSeals(t *testing.T) {
	old := ring(t, entry("k1", 'a')).Seal([]byte("x"))
	r := ring(t, entry("k2", 'b'), entry("k1", 'a'))
	got, err := r.Open(old)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
	require.False(t, r.IsCurrent(old))
	fresh := r.Seal([]byte("x"))
	require.Equal(t, "k2", fresh.Key)
	require.True(t, r.IsCurrent(fresh))
}

// The parts of a sealed text are bound together, and to what they were sealed for.
func TestWhatWasChangedOrMovedDoesNotOpen(t *testing.T) {
	r := ring(t, entry("k1", 'a'), entry("k2", 'b'))
	sealed, other := r.Seal([]byte("s3cr3t"), "a", "b"), r.Seal([]byte("s3cr3t"), "a", "b")
	flip := func(b []byte, at int) []byte {
		c := append([]byte(nil), b...)
		c[at] ^= 1
		return c
	}
	change := func(f func(*Envelope)) Envelope {
		e := sealed
		f(&e)
		return e
	}
	for name, c := range map[string]struct {
		envelope Envelope
		bounds   []string
	}{
		"other bounds":          {sealed, []string{"a", "c"}},
		"no bounds":             {sealed, nil},
		"bounds run together":   {sealed, []string{"ab"}},
		"bounds in other order": {sealed, []string{"b", "a"}},
		"another's data":        {change(func(e *Envelope) { e.Data = other.Data }), []string{"a", "b"}},
		"another's data key":    {change(func(e *Envelope) { e.Wrapped = other.Wrapped }), []string{"a", "b"}},
		"data and key swapped":  {change(func(e *Envelope) { e.Data, e.Wrapped = e.Wrapped, e.Data }), []string{"a", "b"}},
		"a bit of the data":     {change(func(e *Envelope) { e.Data = flip(e.Data, len(e.Data)-1) }), []string{"a", "b"}},
		"a bit of the nonce":    {change(func(e *Envelope) { e.Data = flip(e.Data, 0) }), []string{"a", "b"}},
		"a bit of the key":      {change(func(e *Envelope) { e.Wrapped = flip(e.Wrapped, 20) }), []string{"a", "b"}},
		"no data":               {change(func(e *Envelope) { e.Data = nil }), []string{"a", "b"}},
		"no data key":           {change(func(e *Envelope) { e.Wrapped = nil }), []string{"a", "b"}},
		"under another name":    {change(func(e *Envelope) { e.Key, e.Check = r.keys[1].id, r.keys[1].check }), []string{"a", "b"}},
		"no key's name":         {Envelope{Key: "S3CR3T!"}, []string{"a", "b"}},
	} {
		_, err := r.Open(c.envelope, c.bounds...)
		require.ErrorIs(t, err, ErrDamaged, name)
		require.NotErrorIs(t, err, ErrNoKey, name)
		require.NotContains(t, strings.ToLower(err.Error()), "s3cr3t", name)
	}
}

func TestAMissingKeyIsNamedAndIsNoDamage(t *testing.T) {
	sealed := ring(t, entry("k1", 'a')).Seal([]byte("x"))
	_, err := ring(t, entry("k2", 'b')).Open(sealed)
	require.ErrorIs(t, err, ErrNoKey)
	require.NotErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "k1")
	_, err = ring(t, entry("k1", 'b')).Open(sealed)
	require.ErrorIs(t, err, ErrNoKey, "a key of the same name is another key")
	require.ErrorContains(t, err, "k1 is another")
}

func FuzzParse(f *testing.F) {
	f.Add(entry("k1", 'a') + "," + entry("k2", 'b'))
	f.Add("# comment\n" + entry("k1", 'a') + "\n")
	f.Add("k1:,:")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		require.NotEmpty(t, r.keys)
		got, err := r.Open(r.Seal([]byte("x")))
		require.NoError(t, err)
		require.Equal(t, "x", string(got))
	})
}

func FuzzOpen(f *testing.F) {
	r := ring(f, entry("k1", 'a'))
	good, err := json.Marshal(r.Seal([]byte("x"), "b"))
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(`{"key":"k1","check":"","wrapped":"AAAA","data":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var e Envelope
		if json.Unmarshal(text, &e) != nil {
			return
		}
		if data, err := r.Open(e, "b"); err == nil {
			require.Equal(t, "x", string(data), "nobody else has the key")
		}
	})
}

func BenchmarkSealAndOpen(b *testing.B) {
	r := ring(b, entry("k1", 'a'))
	data := []byte(strings.Repeat("x", 300)) // a signing secret and a credential
	sealed := r.Seal(data, "sub_1")
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Seal(data, "sub_1")
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Open(sealed, "sub_1"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
