package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// queue is one set of lines with a clock of its own.
type queue struct {
	*lines
	at time.Time
}

func newQueue() *queue {
	q := &queue{at: time.Unix(1e9, 0)}
	q.lines = newLines(func() time.Time { return q.at })
	return q
}

// standing is a delivery of a subject's line.
func standing(subject, id string) *task {
	cmd := command("application/json", `{}`)
	cmd.Event.SetSubject(subject)
	cmd.Delivery, cmd.Subscription, cmd.Attempt, cmd.First, cmd.Ordered = id, "sub_1", 1, 1, true
	return &task{cmd: cmd, size: 100}
}

func TestOneDeliveryOfALineIsOnItsWayAtATime(t *testing.T) {
	q := newQueue()
	a, b, c, other := standing("s", "a"), standing("s", "b"), standing("s", "c"), standing("t", "o")
	require.Equal(t, turnGo, q.arrive(a))
	require.Equal(t, turnHeld, q.arrive(b))
	require.Equal(t, turnHeld, q.arrive(c))
	require.Equal(t, turnGo, q.arrive(other), "another line")
	require.Equal(t, turnGo, q.arrive(a), "it has rested")
	require.Equal(t, []*task{b}, q.leave(a))
	require.Empty(t, q.leave(a), "it left before")
	require.Equal(t, []*task{c}, q.leave(b))
	require.Empty(t, q.leave(c))
	require.Empty(t, q.leave(other))
	require.Empty(t, q.lines.lines, "lines without deliveries are forgotten")
	require.Zero(t, q.bytes)
	require.Zero(t, q.count)
}

func TestTheFirstOfALineTakesTheWayOfTheOneThatWasNot(t *testing.T) {
	q := newQueue()
	late, first := standing("s", "late"), standing("s", "first")
	q.arrive(late)
	q.arrive(first)
	instead, dismissed, _ := q.behind(late, contract.Delivery{ID: "first"})
	require.Same(t, first, instead)
	require.Empty(t, dismissed)
	require.Equal(t, []*task{late}, q.leave(first))
}

func TestWhileTheFirstIsAwayOnlyItMayGo(t *testing.T) {
	q := newQueue()
	late, later, first := standing("s", "late"), standing("s", "later"), standing("s", "first")
	q.arrive(late)
	instead, dismissed, _ := q.behind(late, contract.Delivery{ID: "first"})
	require.Nil(t, instead)
	require.Empty(t, dismissed)
	require.Equal(t, turnHeld, q.arrive(later))
	require.Equal(t, turnGo, q.arrive(first))
	require.Equal(t, []*task{late}, q.leave(first))
	require.Equal(t, []*task{later}, q.leave(late))
}

func TestALineThatMovedElsewhereGoesOn(t *testing.T) {
	q := newQueue()
	late := standing("s", "late")
	q.arrive(late)
	q.behind(late, contract.Delivery{ID: "elsewhere"})
	require.Equal(t, []*task{late}, q.moved(late.cmd.Line()))
	require.Empty(t, q.moved(late.cmd.Line()), "it is on its way")
}

func TestALineThatNobodyTellsOfIsAskedForAgain(t *testing.T) {
	q := newQueue()
	late := standing("s", "late")
	q.arrive(late)
	q.behind(late, contract.Delivery{ID: "elsewhere"})
	require.Empty(t, q.stale())
	q.at = q.at.Add(askAgain)
	require.Equal(t, []*task{late}, q.stale())
	require.Empty(t, q.stale())
}

func TestWhenTheFirstComesBackLateTheOthersWaitAtTheBrokerToo(t *testing.T) {
	for _, wait := range []time.Duration{soon, soon + 1} {
		t.Run(wait.String(), func(t *testing.T) {
			q := newQueue()
			first, late := standing("s", "first"), standing("s", "late")
			q.arrive(first)
			first.first = true
			q.arrive(late)
			require.Equal(t, wait > soon, len(q.away(first, q.at.Add(wait))) == 1)
			require.Equal(t, turnHeld, q.arrive(standing("s", "later")))
			require.Equal(t, turnGo, q.arrive(first), "back again")
		})
	}
	q := newQueue()
	late := standing("s", "late")
	q.arrive(late)
	q.arrive(standing("s", "later"))
	_, dismissed, _ := q.behind(late, contract.Delivery{ID: "elsewhere", NextAttempt: q.at.Add(time.Hour)})
	require.Len(t, dismissed, 2)
	require.Zero(t, q.count)
}

func TestWhatIsHeldOfLinesIsBounded(t *testing.T) {
	q := newQueue()
	q.arrive(standing("s", "first"))
	for i := range mostHeldOfOne {
		require.Equal(t, turnHeld, q.arrive(standing("s", fmt.Sprint(i))))
	}
	require.Equal(t, turnFull, q.arrive(standing("s", "one more")))
	require.Len(t, q.drain(), mostHeldOfOne)
	big := standing("s", "big")
	big.size = mostHeldBytes + 1
	require.Equal(t, turnFull, q.arrive(big))
}

func TestAFirstThatShowsNoSignOfLifeCountsAsLost(t *testing.T) {
	q := newQueue()
	late := standing("s", "late")
	for wait, lost := range map[time.Duration]bool{0: false, headLost: false, headLost + 1: true} {
		q.at = time.Unix(1e9, 0).Add(wait)
		q.lines.lines = map[string]*line{late.cmd.Line(): {head: "x", since: time.Unix(1e9, 0)}}
		q.arrive(late)
		_, _, is := q.behind(late, contract.Delivery{ID: "x"})
		require.Equal(t, lost, is, wait)
	}
}
