package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

func TestReplayOverFakes(t *testing.T) {
	behaves(t, func(t *testing.T) harness { return newFake(t) })
}

// fake is a worker over a store and a broker in memory.
type fake struct {
	t       *testing.T
	worker  *Worker
	waits   []int
	begins  []rabbit.StreamOffset // of each reading
	jobs    []rabbit.Message
	sent    []contract.Command
	buried  []rabbit.Message
	limits  func(m rabbit.Message) bool // what is too large
	batch   int                         // of a reading
	pack    int                         // events in each at most
	dropped int                         // what the archive does not have any more

	entries []rabbit.Message
	subs    map[string]contract.Subscription
	replays map[string]contract.Replay
	records map[string]contract.Delivery
	lines   map[string][]string
	paced   []int
	errs    map[string][]error // of the next calls, by name
	on      map[string]func()  // before a call, by name
}

func newFake(t *testing.T) *fake {
	f := &fake{
		t: t, batch: 3, pack: 2, subs: map[string]contract.Subscription{}, replays: map[string]contract.Replay{}, records: map[string]contract.Delivery{},
		lines: map[string][]string{}, errs: map[string][]error{}, on: map[string]func(){}, limits: func(rabbit.Message) bool { return false },
	}
	f.worker = &Worker{
		Store: f, Publisher: f, Names: rabbit.NamesFor("fake"), Filters: expr.NewCache(10), Log: zap.NewNop(), Metrics: NewMetrics(prometheus.NewRegistry()),
		Rate: 100, Now: time.Now, Wait: func(_ context.Context, n int) { f.waits = append(f.waits, n) },
		limits: sliceLimits{time: time.Hour, commands: 2000, chunk: 4, pace: func(ctx context.Context, n int) error {
			f.paced = append(f.paced, n)
			return errors.Join(f.call("Pace"), ctx.Err())
		}},
	}
	return f
}

// call is the beginning of each call.
func (f *fake) call(name string) error {
	if on := f.on[name]; on != nil {
		on()
	}
	errs := f.errs[name]
	if len(errs) == 0 {
		return nil
	}
	f.errs[name] = errs[1:]
	return errs[0]
}

func (f *fake) Subscription(_ context.Context, id string) (contract.Subscription, error) {
	err := f.call("Subscription")
	sub, ok := f.subs[id]
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	return sub, err
}

func (f *fake) Replay(_ context.Context, _, id string) (contract.Replay, error) {
	err := f.call("Replay")
	r, ok := f.replays[id]
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	return r, err
}

func (f *fake) SaveReplay(_ context.Context, r contract.Replay) error {
	if err := f.call("SaveReplay"); err != nil {
		return err
	}
	f.replays[r.ID] = r
	return nil
}

func (f *fake) Statuses(_ context.Context, deliveries []string) ([]*contract.Delivery, error) {
	found := make([]*contract.Delivery, len(deliveries))
	for i, id := range deliveries {
		if d, ok := f.records[id]; ok {
			found[i] = &d
		}
	}
	return found, f.call("Statuses")
}

func (f *fake) JoinLines(_ context.Context, places []store.Place) error {
	if err := f.call("JoinLines"); err != nil {
		return err
	}
	for _, p := range places {
		if !slices.Contains(f.lines[p.Line], p.Delivery) {
			f.lines[p.Line] = append(f.lines[p.Line], p.Delivery)
		}
	}
	return nil
}

func (f *fake) LeaveLine(_ context.Context, line, delivery string) error {
	f.lines[line] = slices.DeleteFunc(f.lines[line], func(d string) bool { return d == delivery })
	return f.call("LeaveLine")
}

func (f *fake) Publish(_ context.Context, messages ...rabbit.Message) error {
	to := messages[0].Exchange + messages[0].RoutingKey
	if err := f.call("Publish"); err != nil {
		return err
	}
	if slices.ContainsFunc(messages, f.limits) {
		return fmt.Errorf("publishing: %w", rabbit.ErrTooLarge)
	}
	for _, m := range messages {
		switch {
		case m.Exchange == f.worker.Names.Commands:
			c, err := contract.DecodeCommand(m.ContentType, m.Headers, m.Body)
			require.NoError(f.t, err)
			f.sent = append(f.sent, c)
		case m.Exchange == f.worker.Names.Dead:
			f.buried = append(f.buried, m)
		case to == f.worker.Names.Replays:
			f.jobs = append(f.jobs, m)
		case to == f.worker.Names.Archive:
			f.entries = append(f.entries, m)
		default:
			f.t.Errorf("a message for %q", to)
		}
	}
	return nil
}

// ReadStream reads until ctx ends; where there is nothing more to read it ends at once, as if a slice's time was over.
func (f *fake) ReadStream(ctx context.Context, queue string, from rabbit.StreamOffset, handle func(context.Context, []rabbit.StreamMessage) error) error {
	require.Equal(f.t, f.worker.Names.Archive, queue)
	f.begins = append(f.begins, from)
	if err := f.call("ReadStream"); err != nil {
		return err
	}
	at := max(int(from.Offset), f.dropped)
	if at > len(f.entries) {
		at = len(f.entries) // waits for what comes
	}
	for ctx.Err() == nil && at < len(f.entries) {
		var batch []rabbit.StreamMessage
		for ; at < len(f.entries) && len(batch) < f.batch; at++ {
			batch = append(batch, rabbit.StreamMessage{Message: f.entries[at], Offset: int64(at)})
		}
		if err := handle(ctx, batch); err != nil {
			if errors.Is(err, rabbit.ErrStopReading) {
				err = nil
			}
			return err
		}
	}
	return nil
}

func (f *fake) subscribe(sub contract.Subscription) {
	sub.Resource, sub.Status = "orders", contract.StatusActive
	f.subs[sub.ID] = sub
}

func (f *fake) change(id string, status contract.Status) {
	sub := f.subs[id]
	sub.Status = status
	f.subs[id] = sub
}

func (f *fake) unsubscribe(id string) { delete(f.subs, id) }

func (f *fake) archive(events ...contract.Archived) {
	f.t.Helper()
	f.entries = append(f.entries, packs(f.t, f.worker.Names, f.pack, events)...)
}

func (f *fake) record(d contract.Delivery) { f.records[d.ID] = d }
func (f *fake) limit(commands int)         { f.worker.limits.commands = commands }

func (f *fake) ask(r contract.Replay) {
	f.replays[r.ID] = r
	body, err := json.Marshal(job{r.ID, r.Subscription})
	require.NoError(f.t, err)
	f.jobs = append(f.jobs, f.worker.Names.ToReplays(rabbit.Message{ID: r.ID, Body: body}))
}

// work does the jobs until there are none; at most n.
func (f *fake) work(n int) {
	for ; len(f.jobs) > 0 && n > 0; n-- {
		m := f.jobs[0]
		f.jobs = f.jobs[1:]
		require.True(f.t, f.worker.handle(never(), never(), f, m, func() bool { return false }))
	}
}

func (f *fake) replay(r contract.Replay) contract.Replay {
	f.ask(r)
	f.work(1000)
	return f.replays[r.ID]
}

func (f *fake) commands(n int) []contract.Command {
	f.t.Helper()
	sent := f.sent
	f.sent = nil
	require.Len(f.t, ids(sent), n)
	return sent
}

func (f *fake) job(m rabbit.Message) {
	f.jobs = append(f.jobs, m)
	f.work(1000)
}

func (f *fake) dead() rabbit.Message {
	m := f.buried[0]
	f.buried = f.buried[1:]
	return m
}

func (f *fake) ahead(c contract.Command) string {
	if line := f.lines[c.Line()]; line[0] != c.Delivery {
		return line[0]
	}
	return ""
}

// some events of a subscription in a fake.
func (f *fake) some(n int) *fake {
	f.subscribe(contract.Subscription{ID: "sub_1"})
	var events []contract.Archived
	for i := range n {
		events = append(events, event("orders", fmt.Sprint(i), "a"))
	}
	f.archive(events...)
	return f
}

func TestSlicesTakeTurns(t *testing.T) {
	f := newFake(t).some(10)
	f.batch = 4
	f.limit(4)
	a, b := asked("sub_1"), asked("sub_1")
	f.ask(a)
	f.ask(b)
	f.work(2)
	require.EqualValues(t, 4, f.replays[a.ID].Sent)
	require.EqualValues(t, 4, f.replays[b.ID].Sent, "a long replay holds up no other")
	f.work(100)
	f.commands(20)
	require.InDelta(t, 2, testutil.ToFloat64(f.worker.Metrics.ended.WithLabelValues("done")), 0)
	require.InDelta(t, 20, testutil.ToFloat64(f.worker.Metrics.commands), 0)
}

func TestCommandsGoAtTheirPace(t *testing.T) {
	f := newFake(t).some(10)
	f.batch = 10
	f.replay(asked("sub_1"))
	require.Equal(t, []int{4, 4, 2}, f.paced)
	f.commands(10)
	limits := newLimits(250)
	require.Equal(t, 25, limits.chunk)
	require.NoError(t, limits.pace(never(), 25), "as much as a chunk may go at once")
	require.Equal(t, 1, newLimits(.5).chunk)
	ended, cancel := context.WithCancel(never())
	cancel()
	require.Error(t, limits.pace(ended, 25))
}

func TestWhereAReplayBegins(t *testing.T) {
	f := newFake(t).some(6)
	r := asked("sub_1")
	f.limit(4)
	f.replay(r)
	require.Equal(t, []rabbit.StreamOffset{{At: r.Since.Add(-margin)}, {Offset: 2}}, f.begins)
}

func TestALongPackIsDoneInSlices(t *testing.T) {
	f := newFake(t)
	f.pack = 10
	f.some(10).archive(event("orders", "another", "a"))
	f.limit(4)
	r := asked("sub_1")
	f.ask(r)
	var nexts []int64
	for range 4 {
		f.work(1)
		nexts = append(nexts, f.replays[r.ID].Next)
	}
	require.Equal(t, []int64{contract.Position(0, 4), contract.Position(0, 8), contract.Position(2, 0), contract.Position(2, 0)}, nexts)
	require.Equal(t, contract.ReplayDone, f.replays[r.ID].State)
	require.EqualValues(t, 11, f.replays[r.ID].Scanned, "each once")
	f.commands(11)
}

func TestManyPacksAreLookedUpTogetherAndBounded(t *testing.T) {
	f := newFake(t)
	f.pack, f.batch = 100, 50
	f.worker.limits.chunk = 5000
	lookups := 0
	f.on["Statuses"] = func() { lookups++ }
	f.some(2 * atOnce).replay(asked("sub_1"))
	f.commands(2 * atOnce)
	require.Equal(t, 2, lookups)
}

func TestAnEventThatIsArchivedTwiceIsOneDelivery(t *testing.T) {
	f := newFake(t).some(3).some(3) // the listener's batch was handed out again
	r := f.replay(asked("sub_1"))
	require.EqualValues(t, 3, r.Sent)
	f.commands(3)
	f.batch = 2
	f.limit(3) // the second copies come in another slice
	f.replay(asked("sub_1"))
	for _, c := range f.commands(6) {
		require.Equal(t, 1, c.Attempt, "the engine drops the second of the same attempt")
	}
}

func TestWhatCanNotBeReadIsPassedOver(t *testing.T) {
	f := newFake(t)
	core, logged := observer.New(zap.ErrorLevel)
	f.worker.Log = zap.New(core)
	damaged := event("orders", "damaged", "a")
	delete(damaged.Headers, "cloudEvents_source")
	f.some(2).archive(damaged)
	for _, m := range []rabbit.Message{{}, {ContentType: "application/json", Body: []byte(`{}`)}, {ContentType: contract.MediaPack, Body: []byte("x")}} {
		f.entries = append(f.entries, f.worker.Names.ToArchive(m))
	}
	f.archive(event("orders", "last", "a"))
	r := f.replay(asked("sub_1"))
	require.Equal(t, contract.ReplayDone, r.State)
	require.Equal(t, []string{"0", "1", "last"}, ids(f.commands(3)))
	require.Equal(t, 4, logged.Len())
}

func TestOnlyItsOwnMarkerEndsAReplay(t *testing.T) {
	f := newFake(t).some(1)
	f.replay(asked("sub_1"))
	f.commands(1)
	f.archive(event("orders", "last", "a"))
	f.replay(asked("sub_1"))
	require.Equal(t, []string{"0", "last"}, ids(f.commands(2)))
}

func TestAReplayEndsThoughItsMarkerIsGone(t *testing.T) {
	f := newFake(t).some(4)
	f.batch = 1
	f.limit(2)
	r := asked("sub_1")
	f.ask(r)
	f.work(1)
	f.commands(2)
	f.archive(event("orders", "next", "a"))
	f.dropped = 3 // what was left, and the first marker
	f.work(100)
	require.Equal(t, contract.ReplayDone, f.replays[r.ID].State)
	f.commands(1)
}

func TestAReplayEndsThoughTheArchiveIsAnother(t *testing.T) {
	f := newFake(t).some(20)
	f.limit(10)
	r := asked("sub_1")
	f.ask(r)
	f.work(1)
	f.entries = nil
	f.work(100)
	require.Equal(t, contract.ReplayDone, f.replays[r.ID].State)
}

func TestDependenciesThatFail(t *testing.T) {
	down := errors.New("down")
	for _, name := range []string{"Subscription", "Replay", "SaveReplay", "Statuses", "JoinLines", "Publish", "ReadStream"} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t).some(5)
			f.subs["sub_1"] = contract.Subscription{ID: "sub_1", Resource: "orders", Status: contract.StatusActive, Ordering: contract.OrderingSubject}
			f.errs[name] = []error{down, down}
			r := f.replay(asked("sub_1"))
			require.Equal(t, contract.ReplayDone, r.State)
			require.Equal(t, []int{1, 2}, f.waits)
			seen := map[string]bool{}
			for _, c := range f.sent {
				require.Equal(t, 1, c.Attempt, "the engine drops the second of the same attempt")
				seen[c.Delivery] = true
			}
			require.Len(t, seen, 5)
		})
	}
}

func TestWhatWasSentBeforeAFailureIsNotSentAgain(t *testing.T) {
	f := newFake(t).some(10)
	f.errs["Publish"] = []error{nil, nil, nil, errors.New("down")} // the marker, two chunks, and the third
	f.replay(asked("sub_1"))
	require.Equal(t, []int{1}, f.waits)
	f.commands(10)
}

func TestToldToStopTheJobGoesBackWithItsProgress(t *testing.T) {
	f := newFake(t).some(10)
	stop, cancel := context.WithCancel(never())
	f.on["Pace"] = func() {
		if len(f.sent) == 6 {
			cancel()
		}
	}
	r := asked("sub_1")
	f.ask(r)
	m := f.jobs[0]
	f.jobs = nil
	require.False(t, f.worker.handle(stop, never(), f, m, func() bool { return false }))
	require.Empty(t, f.jobs, "it is given back, not published again")
	require.Equal(t, contract.Position(3, 0), f.replays[r.ID].Next)
	require.EqualValues(t, 6, f.replays[r.ID].Sent)
	f.on = nil
	f.job(m)
	f.commands(10)
}

func TestAJobThatIsHandedOutAgainIsLeftAlone(t *testing.T) {
	f := newFake(t).some(10)
	r := asked("sub_1")
	f.ask(r)
	m := f.jobs[0]
	f.jobs = nil
	require.False(t, f.worker.handle(never(), never(), f, m, func() bool { return len(f.sent) >= 3 }))
	require.Empty(t, f.jobs)
	require.Len(t, f.sent, 4, "what was on its way")
}

func TestWhatIsTooLargeIsLeftOut(t *testing.T) {
	f := newFake(t).some(5)
	f.subs["sub_1"] = contract.Subscription{ID: "sub_1", Resource: "orders", Status: contract.StatusActive, Ordering: contract.OrderingSubject}
	f.limits = func(m rabbit.Message) bool { return m.Headers["cloudEvents_id"] == "2" }
	r := f.replay(asked("sub_1"))
	require.Equal(t, contract.ReplayDone, r.State)
	require.Equal(t, []string{"0", "1", "3", "4"}, ids(f.commands(4)))
	for _, line := range f.lines {
		require.Len(t, line, 4, "it is in nobody's way")
	}
}

func TestDamagedRecords(t *testing.T) {
	f := newFake(t).some(1)
	f.errs["Subscription"] = []error{store.ErrDamaged}
	require.Equal(t, contract.ReplayCanceled, f.replay(asked("sub_1")).State)
	f.errs["Replay"] = []error{store.ErrDamaged}
	f.replay(asked("sub_1"))
	require.Contains(t, f.dead().Headers[rabbit.HeaderReason], store.ErrDamaged.Error())
}

func TestAReplayThatEndedIsLeftAlone(t *testing.T) {
	f := newFake(t).some(1)
	r := asked("sub_1")
	r.State = contract.ReplayCanceled
	f.replay(r)
	f.commands(0)
	require.Empty(t, f.begins)
}

func TestTheWaitEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	(&Worker{}).wait(ctx, 20) // hangs unless it does
	(&Worker{}).wait(never(), 1)
}
