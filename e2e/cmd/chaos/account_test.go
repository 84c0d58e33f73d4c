package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// small has three events on one subject and one slot, and two subscriptions, of which the second is ordered.
func small() plan {
	return plan{
		subscriptions: []subscription{{}, {ordered: true}},
		batches:       [][]event{{{number: 0, subject: "s"}}, {{number: 1, subject: "s"}}, {{number: 2, subject: "s"}}},
	}
}

// story makes a log of which each line begins after the one before has been answered.
func story(calls ...call) []call {
	for i := range calls {
		calls[i].began, calls[i].answered, calls[i].at = 2*i, 2*i+1, time.Duration(i)*time.Second
	}
	return calls
}

func got(event, subscription, status int) call {
	return call{pair: pair{event, subscription}, status: status}
}

func TestWhenAllArrivedInOrderTheAccountHolds(t *testing.T) {
	a := settle(small(), story(got(2, 0, 204), got(0, 0, 204), got(1, 0, 200), got(0, 1, 500), got(0, 1, 204), got(1, 1, 204), got(2, 1, 204)), nil)
	require.True(t, a.holds())
	require.Equal(t, account{Expected: 6, Delivered: 6, Calls: 7, outOfOrder: []pair{}}, a)
}

func TestWhatWasNeverAnswered2xxIsLost(t *testing.T) {
	a := settle(small(), story(got(0, 0, 204), got(1, 0, 500), got(2, 0, 0), got(0, 1, 204), got(1, 1, 204), got(2, 1, 204)), nil)
	require.False(t, a.holds())
	require.Equal(t, []pair{{1, 0}, {2, 0}}, a.lost)
	require.Equal(t, 2, a.Lost)
}

func TestDuplicatesAreExcusedByAttemptsInFlight(t *testing.T) {
	log := story(got(0, 0, 204), got(0, 0, 204), got(1, 0, 204), got(2, 0, 204), got(0, 1, 204), got(1, 1, 204), got(2, 1, 204))
	kill := happened{fault: fault{kind: kindKill, target: "redis"}, began: 0, over: time.Second, inFlight: 1}
	slow := happened{fault: fault{kind: kindSlow, target: "redis link"}, began: 5 * time.Second, over: 6 * time.Second, inFlight: 9}
	for _, c := range []struct {
		name   string
		faults []happened
		holds  bool
	}{{"by a kill", []happened{kill, slow}, true}, {"not by a slow link", []happened{slow}, false}, {"not by nothing", nil, false}} {
		t.Run(c.name, func(t *testing.T) {
			a := settle(small(), log, c.faults)
			require.Equal(t, 1, a.Duplicates)
			require.Equal(t, c.holds, a.holds())
		})
	}
	rows := settle(small(), log, []happened{kill, slow}).Faults
	require.Equal(t, faultTotal{Fault: "kill redis", Times: 1, InFlight: 1, Duplicates: 1, Silence: 1}, rows[0])
	require.Zero(t, rows[1].Duplicates)
}

func TestAnOrderedDeliveryMustNotBeginBeforeTheOneAheadSucceeded(t *testing.T) {
	unordered := story(got(0, 0, 204), got(1, 0, 204), got(2, 0, 204))
	for _, c := range []struct {
		name string
		log  []call
		want []pair
	}{
		{"overtaken", []call{got(1, 1, 204), got(0, 1, 204), got(2, 1, 204)}, []pair{{1, 1}}},
		{"the one ahead had failed", []call{got(0, 1, 500), got(1, 1, 204), got(0, 1, 204), got(2, 1, 204)}, []pair{{1, 1}}},
		{"a duplicate of the one ahead", []call{got(0, 1, 204), got(0, 1, 204), got(1, 1, 204), got(2, 1, 204)}, []pair{}},
		{"a failed attempt too early", []call{got(0, 1, 204), got(2, 1, 500), got(1, 1, 204), got(2, 1, 204)}, []pair{{2, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, settle(small(), append(story(c.log...), unordered...), nil).outOfOrder)
		})
	}
	t.Run("both at a time", func(t *testing.T) {
		log := story(got(0, 1, 204), got(1, 1, 204), got(2, 1, 204))
		log[1].began = 0 // before the first was answered
		require.Equal(t, []pair{{1, 1}}, settle(small(), log, nil).outOfOrder)
	})
}

func TestWhatNobodyAskedForAndWhatIsBadlySignedBreaksTheAccount(t *testing.T) {
	all := story(got(0, 0, 204), got(1, 0, 204), got(2, 0, 204), got(0, 1, 204), got(1, 1, 204), got(2, 1, 204))
	require.False(t, settle(small(), append(all, got(7, 0, http.StatusOK)), nil).holds())
	all[0].badlySigned = true
	require.False(t, settle(small(), all, nil).holds())
}

func TestSilenceIsTheLongestTimeWithoutASuccess(t *testing.T) {
	log := []call{{at: 1 * time.Second, status: 204}, {at: 2 * time.Second, status: 500}, {at: 4 * time.Second, status: 204}}
	require.Equal(t, 3*time.Second, silence(log, 0, 5*time.Second))
	require.Equal(t, 6*time.Second, silence(log, 0, 10*time.Second))
	require.Equal(t, time.Second, silence(log, 4500*time.Millisecond, 5500*time.Millisecond))
}

func TestAnEventIsFoundInEveryFormat(t *testing.T) {
	for _, body := range []string{`{"chaos":41}`, `{"specversion":"1.0","data":{"chaos":41},"id":"event-7"}`} {
		require.Equal(t, 41, eventOf([]byte(body)))
	}
	require.Equal(t, -1, eventOf([]byte(`{"other":1}`)))
}
