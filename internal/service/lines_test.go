package service

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// disk takes what is written, unless it is stuck: then not before that is closed.
type disk struct {
	stuck chan struct{}
	bytes.Buffer
	writes int
}

func (d *disk) Write(b []byte) (int, error) {
	if d.stuck != nil {
		<-d.stuck
	}
	d.writes++
	return d.Buffer.Write(b)
}

func TestADiskThatIsStuckHoldsNobodyUpWhoLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{stuck: make(chan struct{})}
		l := newLines(d)
		_, _ = l.Write([]byte("one\n"))
		time.Sleep(2 * lateness)
		begin := time.Now()
		_, _ = l.Write([]byte("two\n"))
		require.Zero(t, time.Since(begin))
		close(d.stuck)
		require.NoError(t, l.Sync())
		require.Equal(t, "one\ntwo\n", d.String())
	})
}

func TestManyLinesAreOneWriteAndComeSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l := newLines(d)
		for i := range 1000 {
			_, _ = fmt.Fprintf(l, "%d\n", i)
		}
		time.Sleep(lateness)
		synctest.Wait()
		require.Equal(t, 1, d.writes)
		require.Equal(t, 1000, strings.Count(d.String(), "\n"))
	})
}

func TestWhoLogsMoreThanMayWaitWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l := newLines(d)
		long := bytes.Repeat([]byte("x"), mostLines+1)
		_, _ = l.Write(long)
		begin := time.Now()
		_, _ = l.Write([]byte("after\n"))
		require.Equal(t, lateness, time.Since(begin))
		require.NoError(t, l.Sync())
		require.Equal(t, len(long)+len("after\n"), d.Len())
	})
}

func TestLinesOfManyAreWholeAndNoneIsMissing(t *testing.T) {
	d := &disk{}
	l := newLines(d)
	var logging sync.WaitGroup
	for who := range 8 {
		logging.Go(func() {
			for i := range 500 {
				_, _ = fmt.Fprintf(l, "%d says %d\n", who, i)
			}
		})
	}
	logging.Wait()
	require.NoError(t, l.Sync())
	next := map[int]int{}
	for line := range strings.Lines(d.String()) {
		var who, i int
		_, err := fmt.Sscanf(line, "%d says %d\n", &who, &i)
		require.NoError(t, err, line)
		require.Equal(t, next[who], i)
		next[who]++
	}
	require.Len(t, next, 8)
}
