package lane

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// scene is a set of lanes of numbers, with a clock that is moved by hand.
type scene struct {
	*Lanes[int]
	t   *testing.T
	now time.Time
}

func set(t *testing.T, o Options) *scene {
	t.Helper()
	s := &scene{t: t, now: noon}
	o.Now = func() time.Time { return s.now }
	s.Lanes = New[int](o)
	return s
}

func (s *scene) pass(d time.Duration) { s.now = s.now.Add(d) }

func (s *scene) arrive(id string, n int) Placement {
	place, _ := s.Arrive(id, Item[int]{Value: n, Size: 1}, false)
	return place
}

// known makes a lane whose subscription has been read.
func (s *scene) known(id string, limits Limits) {
	s.t.Helper()
	require.Empty(s.t, s.Set(id, limits).Start)
}

func (s *scene) alive(id string) Moves[int] { return s.Finish(id, Alive, 10*time.Millisecond, 0) }
func (s *scene) dead(id string) Moves[int]  { return s.Finish(id, Dead, 10*time.Millisecond, 0) }

// open opens a lane's breaker.
func (s *scene) open(id string) {
	s.t.Helper()
	for i := range 10 {
		require.Equal(s.t, Start, s.arrive(id, i))
		require.Equal(s.t, i == 9, s.dead(id).Opened)
	}
}

func TestAnUnknownSubscriptionGetsOneAttemptUntilItIsKnown(t *testing.T) {
	s := set(t, Options{})
	require.Equal(t, Start, s.arrive("a", 1))
	require.Equal(t, Wait, s.arrive("a", 2))
	require.Equal(t, Wait, s.arrive("a", 3))
	require.Equal(t, Wait, s.arrive("a", 4))
	require.Equal(t, []int{2, 3}, s.Set("a", Limits{InFlight: 3}).Start)
}

func TestNoMoreThanItsLimitIsUnderWayAndTheRestFollowsInOrder(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 2})
	require.Equal(t, Start, s.arrive("a", 1))
	require.Equal(t, Start, s.arrive("a", 2))
	for n := 3; n <= 6; n++ {
		require.Equal(t, Wait, s.arrive("a", n))
	}
	for n := 3; n <= 6; n++ {
		require.Equal(t, []int{n}, s.alive("a").Start)
	}
	require.Empty(t, s.alive("a").Start)
}

func TestOneLaneTakesNothingFromAnother(t *testing.T) {
	s := set(t, Options{})
	for id, last := range map[string]Placement{"a": Park, "b": Start} {
		s.known(id, Limits{InFlight: 1})
		if id == "a" {
			s.open(id)
		}
		require.Equal(t, last, s.arrive(id, 100))
	}
}

func TestLittleRoomLeftMakesSlowLanesLessPatient(t *testing.T) {
	for took, last := range map[time.Duration]Placement{quick: Park, quick - 1: Wait} {
		s := set(t, Options{MaxWaiting: 30})
		for _, id := range []string{"a", "b"} {
			s.known(id, Limits{InFlight: 1})
			require.Equal(t, Start, s.arrive(id, 1))
		}
		s.pass(took)
		for n := range 15 {
			require.Equal(t, Wait, s.arrive("a", n), n)
		}
		for n := range 4 {
			require.Equal(t, Wait, s.arrive("b", n), n)
		}
		require.Equal(t, last, s.arrive("b", 10), took)
	}
}

func TestAQuickLaneLetsManyWaitAndASlowOneFew(t *testing.T) {
	waiting := func(took time.Duration) (n int) {
		s := set(t, Options{})
		s.known("a", Limits{InFlight: 10})
		for range 50 {
			s.arrive("a", 0)
			s.Finish("a", Alive, took, 0)
		}
		for s.arrive("a", 0) != Park {
			n++
		}
		return n - 10
	}
	require.Equal(t, mostWaiting, waiting(time.Millisecond))
	require.InDelta(t, 100, waiting(time.Second), 5)
	require.Equal(t, 10, waiting(30*time.Second))
}

func TestALaneThatTurnsOutSlowParksWhatItLetWait(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 10})
	for n := range 10 + 1000 {
		require.NotEqual(t, Park, s.arrive("a", n))
	}
	s.pass(200 * time.Millisecond)
	require.Len(t, s.Wake().Park, 1000-500)
	s.pass(time.Second)
	m := s.Wake()
	require.Len(t, m.Park, 500-83)
	require.Equal(t, 10+83, m.Park[0].Value, "the first ones stay")
	require.Equal(t, 83, s.Stats().Waiting)
}

func TestAnEndpointThatHangsIsSlowBeforeAnythingHasEnded(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 10})
	for n := range 10 {
		require.Equal(t, Start, s.arrive("a", n))
	}
	s.pass(5 * time.Second)
	for n := range 20 {
		require.Equal(t, Wait, s.arrive("a", n))
	}
	require.Equal(t, Park, s.arrive("a", 20))
}

func TestWhatIsParkedComesBackInOrderAndNoSoonerThanItCanBeServed(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1, Rate: 10})
	var dues []time.Time
	for range 300 {
		if place, due := s.Arrive("a", Item[int]{}, false); place == Park {
			dues = append(dues, due)
		}
	}
	require.Len(t, dues, 300-1-100, "one under way, and what the rate serves within the patience")
	require.True(t, slices.IsSortedFunc(dues, time.Time.Compare))
	require.Equal(t, noon.Add(10100*time.Millisecond), dues[0])
	require.Equal(t, 100*time.Millisecond, dues[1].Sub(dues[0]))
}

func TestAParkedDeliveryGoesBeforeNewOnes(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1, Rate: 10})
	for s.arrive("a", 1) != Park { // until the lane is full
		continue
	}
	for range 50 {
		s.arrive("a", 1)
	}
	s.alive("a")
	require.Equal(t, Park, s.arrive("a", 2))
	place, _ := s.Arrive("a", Item[int]{Value: 3, Size: 1}, true)
	require.Equal(t, Wait, place)
}

func TestTheMoreIsParkedTheLaterItComesBack(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1})
	s.open("a")
	var first, last time.Time
	for n := range 20000 {
		place, due := s.Arrive("a", Item[int]{}, false)
		require.Equal(t, Park, place)
		if n == 0 {
			first = due
		}
		last = due
	}
	require.LessOrEqual(t, first.Sub(noon), 6*time.Second)
	require.InDelta(t, (20000 / circulation * time.Second).Seconds(), last.Sub(noon).Seconds(), 10)
	require.Equal(t, 20000, s.Stats().Parked)
}

func TestABreakerOpensAfterFailuresInARowAndProbesWithOne(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 5})
	s.open("a")
	require.Equal(t, 1, s.Stats().Open)
	require.Equal(t, Park, s.arrive("a", 1))
	s.pass(5 * time.Second)
	require.Equal(t, Start, s.arrive("a", 2), "the probe")
	require.Equal(t, Park, s.arrive("a", 3))
	require.False(t, s.dead("a").Opened, "it was open all along")
	s.pass(9 * time.Second)
	require.Equal(t, Park, s.arrive("a", 4))
	s.pass(time.Second)
	require.Equal(t, Start, s.arrive("a", 5), "twice as long after a failed probe")
	require.True(t, s.alive("a").Recovered)
	for n := range 5 {
		require.Equal(t, Start, s.arrive("a", n))
	}
	require.Zero(t, s.Stats().Open)
}

func TestABreakerIsNeverOpenForLongerThanItsBound(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1})
	s.open("a")
	for range 20 {
		s.pass(time.Minute)
		require.Equal(t, Start, s.arrive("a", 1))
		s.dead("a")
	}
}

func TestASuccessBetweenFailuresKeepsTheBreakerClosed(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1})
	for n := range 100 {
		require.Equal(t, Start, s.arrive("a", n))
		if n%10 == 9 {
			s.alive("a")
		} else {
			require.False(t, s.dead("a").Opened)
		}
	}
}

func TestAProbeThatTellsNothingIsFollowedByAnother(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1})
	s.open("a")
	s.pass(5 * time.Second)
	for range 3 {
		require.Equal(t, Start, s.arrive("a", 1))
		s.Finish("a", Unknown, 0, 0)
	}
}

func TestWhatWaitsIsParkedWhenTheBreakerOpens(t *testing.T) {
	s := set(t, Options{Threshold: 1})
	s.known("a", Limits{InFlight: 1})
	require.Equal(t, Start, s.arrive("a", 1))
	require.Equal(t, Wait, s.arrive("a", 2))
	require.Equal(t, Wait, s.arrive("a", 3))
	m := s.dead("a")
	require.True(t, m.Opened)
	require.Empty(t, m.Start)
	require.Len(t, m.Park, 2)
	require.Equal(t, 2, m.Park[0].Value)
	require.False(t, m.Park[0].Due.Before(noon.Add(5*time.Second)))
	require.Zero(t, s.Stats().Waiting)
}

func TestAnotherEndpointBeginsWithACleanRecord(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1, Target: "https://one.example"})
	s.open("a")
	s.Set("a", Limits{InFlight: 1, Target: "https://two.example"})
	require.Equal(t, Start, s.arrive("a", 1))
}

func TestTheEndpointsOwnPauseHoldsForAllItsDeliveries(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 2})
	require.Equal(t, Start, s.arrive("a", 1))
	s.Finish("a", Dead, time.Millisecond, time.Minute)
	place, due := s.Arrive("a", Item[int]{Value: 2, Size: 1}, false)
	require.Equal(t, Park, place)
	require.False(t, due.Before(noon.Add(time.Minute)))
	s.pass(time.Minute)
	require.Equal(t, Start, s.arrive("a", 3))
}

func TestADeferredDeliveryIsTheFirstAfterThePause(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1, Rate: 10})
	require.Equal(t, Start, s.arrive("a", 1))
	require.Equal(t, Wait, s.arrive("a", 2))
	require.Empty(t, s.Defer("a", []Item[int]{{Value: 1, Size: 1}}, 100*time.Millisecond).Start)
	require.Empty(t, s.Wake().Start)
	s.pass(100 * time.Millisecond)
	require.Equal(t, []int{1}, s.Wake().Start)
	require.Equal(t, []int{2}, s.alive("a").Start)
}

func TestADeferredProbeIsProbedAgain(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1})
	s.open("a")
	s.pass(5 * time.Second)
	require.Equal(t, Start, s.arrive("a", 1))
	m := s.Defer("a", []Item[int]{{Value: 1, Size: 1}}, 10*time.Millisecond)
	require.Len(t, m.Park, 1, "an open lane lets nothing wait")
	s.pass(10 * time.Millisecond)
	require.Equal(t, Start, s.arrive("a", 1))
}

func TestWhatWaitsIsBoundedOverAllLanes(t *testing.T) {
	s := set(t, Options{MaxWaiting: 3})
	for _, id := range []string{"a", "b", "c", "d"} {
		s.known(id, Limits{InFlight: 1})
		require.Equal(t, Start, s.arrive(id, 1))
	}
	for _, id := range []string{"a", "b", "c"} {
		require.Equal(t, Wait, s.arrive(id, 2))
	}
	require.Equal(t, Park, s.arrive("d", 2))

	b := set(t, Options{MaxBytes: 100})
	b.known("a", Limits{InFlight: 1})
	require.Equal(t, Start, b.arrive("a", 1))
	place, _ := b.Arrive("a", Item[int]{Value: 1, Size: 99}, false)
	require.Equal(t, Wait, place)
	place, _ = b.Arrive("a", Item[int]{Value: 1, Size: 2}, false)
	require.Equal(t, Park, place)
}

func TestAnIdleLaneIsForgottenAndABusyOneIsNot(t *testing.T) {
	s := set(t, Options{})
	s.known("idle", Limits{InFlight: 1})
	s.known("busy", Limits{InFlight: 1})
	s.known("broken", Limits{InFlight: 1})
	s.open("broken")
	require.Equal(t, Start, s.arrive("busy", 1))
	s.pass(11 * time.Minute)
	s.Wake()
	require.Equal(t, 2, s.Stats().Lanes)
}

// Whatever happens in whatever order: nothing gets lost or doubled, and no limit is passed.
func TestNothingIsLostInALane(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := set(t, Options{MaxWaiting: 50})
		running, waiting, parked, next := map[string][]int{}, 0, 0, 0
		take := func(id string, m Moves[int]) {
			running[id] = append(running[id], m.Start...)
			waiting -= len(m.Start) + len(m.Park)
			parked += len(m.Park)
		}
		ids := []string{"a", "b"}
		for _, id := range ids {
			s.known(id, Limits{InFlight: 3})
		}
		for range 2000 {
			s.pass(time.Duration(random.IntN(100)) * time.Millisecond)
			id := ids[random.IntN(2)]
			switch n := random.IntN(10); {
			case n < 5:
				next++
				switch place, _ := s.Arrive(id, Item[int]{Value: next, Size: 1}, false); place {
				case Start:
					running[id] = append(running[id], next)
				case Wait:
					waiting++
				case Park:
					parked++
				}
			case len(running[id]) == 0:
			case n < 9:
				running[id] = running[id][1:]
				take(id, s.Finish(id, Result(random.IntN(3)), time.Duration(random.IntN(3000))*time.Millisecond, 0))
			default:
				first := running[id][0]
				running[id] = running[id][1:]
				waiting++
				take(id, s.Defer(id, []Item[int]{{Value: first, Size: 1}}, 50*time.Millisecond))
			}
			s.woken(running, &waiting, &parked)
			require.LessOrEqual(t, len(running[id]), 3)
			require.Equal(t, waiting, s.Stats().Waiting)
		}
		require.Len(t, s.Drain(), waiting)
	}
}

// woken takes what Wake starts; by its lane's limit it can be told whose it is only by trying.
func (s *scene) woken(running map[string][]int, waiting, parked *int) {
	m := s.Wake()
	*waiting -= len(m.Start) + len(m.Park)
	*parked += len(m.Park)
	for _, n := range m.Start {
		for id := range running {
			if s.lanes[id].inFlight > len(running[id]) {
				running[id] = append(running[id], n)
				break
			}
		}
	}
}

func TestAnOpenBreakerTellsSinceWhenUntilWhenAndHowManyAreParked(t *testing.T) {
	s := set(t, Options{})
	s.known("a", Limits{InFlight: 1})
	s.known("b", Limits{InFlight: 1})
	require.Empty(t, s.Open())
	s.open("a")
	opened := s.now
	require.Equal(t, Park, s.arrive("a", 1))
	require.Equal(t, Park, s.arrive("a", 2))
	require.Equal(t, Start, s.arrive("b", 1))
	require.Equal(t, []Open{{ID: "a", Since: opened, Until: opened.Add(5 * time.Second), Failures: 10, Parked: 2}}, s.Open())
	s.Returned("a")
	s.now = opened.Add(5 * time.Second)
	require.Equal(t, Start, s.arrive("a", 1))
	s.dead("a")
	require.Equal(t, []Open{{ID: "a", Since: opened, Until: s.now.Add(10 * time.Second), Failures: 11, Parked: 1}}, s.Open())
	s.now = s.now.Add(10 * time.Second)
	require.Equal(t, Start, s.arrive("a", 2))
	s.alive("a")
	require.Empty(t, s.Open())
}
