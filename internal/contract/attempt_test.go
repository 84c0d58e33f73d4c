package contract

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTimingsSurviveTheWay(t *testing.T) {
	for _, timings := range []Timings{
		{}, {Reused: true}, {TotalMS: 0.001}, {DNSMS: 1.5, ConnectMS: 20, TLSMS: 30.125, FirstByteMS: 400, TotalMS: 451.625},
		{FirstByteMS: 3, TotalMS: 4, Reused: true},
	} {
		require.Equal(t, timings, ParseTimings(timings.Encode()), timings.Encode())
	}
	require.Equal(t, "dns;dur=1.5, total;dur=20, reused", Timings{QueuedMS: 9, DNSMS: 1.5, TotalMS: 20, Reused: true}.Encode())
}

func TestWhatIsNoTimingIsLeftOut(t *testing.T) {
	require.Zero(t, ParseTimings("dns;dur=-1, connect;dur=x, tls, first;dur=NaN, total;dur=Inf, other;dur=5,,"))
}

func TestAnAnswersHeadersSurviveTheWayAndNoCookie(t *testing.T) {
	value := EncodeHeaders(http.Header{"Server": {"a & b=c%"}, "Set-Cookie": {"id=1", "id=2"}, "X-Odd": {"caf\xe9\t\"1\""}})
	headers, cut := DecodeHeaders(value)
	require.False(t, cut)
	require.Equal(t, []Header{{"Server", "a & b=c%"}, {"Set-Cookie", Hidden}, {"Set-Cookie", Hidden}, {"X-Odd", "caf\uFFFD\t\"1\""}}, headers)
}

func TestHeadersThatDoNotFitAreMissedAndTold(t *testing.T) {
	long := http.Header{"A": {"1"}, "B": {strings.Repeat("%", maxAnswered)}, "C": {"3"}}
	value := EncodeHeaders(long)
	require.LessOrEqual(t, len(value), maxAnswered)
	headers, cut := DecodeHeaders(value)
	require.True(t, cut)
	require.Equal(t, []Header{{"A", "1"}, {"C", "3"}}, headers)
}

func FuzzDecodeHeaders(f *testing.F) {
	f.Add("A=1&B=%20&=cut")
	f.Add("%=&&==%zz")
	f.Fuzz(func(_ *testing.T, value string) {
		DecodeHeaders(value)
		ParseTimings(value)
	})
}
