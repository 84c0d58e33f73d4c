package listener

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/index"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestListenerOverFakes(t *testing.T) {
	behaves(t, func(t *testing.T) harness { return newFake(t) })
}

// fake is a listener over a store and a broker in memory.
type fake struct {
	t        *testing.T
	listener *Listener
	waits    []int

	mu         sync.Mutex
	candidates map[string][]store.Candidate
	changes    []store.Change
	seen       map[store.EventKey]int // how many commands each had
	fanned     map[store.EventKey]string
	lines      map[string][]string
	lookups    int
	largest    int // of the publishes
	publishes  int
	published  []rabbit.Message
	taken      map[string]int
	storeErrs  []error // of the next lookups, nil for a good one
	joinErrs   []error
	leaveErrs  []error
	markErrs   []error
	marks      []store.Mark
	buried     []contract.DeadLetter
	keepErrs   []error
	brokerErrs []error
	limit      func(rabbit.Message) bool // what is too large
}

// fate is what becomes of a message of the queue.
type fate int

const (
	keep fate = iota // not all that follows from it is done: it goes back when the connection ends
	done
	bury // not even its dead letter can be published
)

// process takes a batch through all stages.
func (l *Listener) process(stop, work context.Context, messages []rabbit.Message) []fate {
	fates := make([]fate, len(messages))
	jobs, err := l.handle(stop, work, messages)
	if err != nil {
		return fates
	}
	for _, job := range jobs {
		if job.large && l.fanOut(stop, work, job) != nil {
			return fates
		}
	}
	if l.conclude(stop, work, jobs) != nil {
		return fates
	}
	for i, job := range jobs {
		if fates[i] = done; job.stuck {
			fates[i] = bury
		}
	}
	return fates
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, candidates: map[string][]store.Candidate{}, seen: map[store.EventKey]int{}, fanned: map[store.EventKey]string{}, lines: map[string][]string{}, taken: map[string]int{}, limit: tooManyHeaders}
	f.listener = &Listener{
		Store: f, Index: index.New(f, zap.NewNop()), Publisher: f, Names: rabbit.NamesFor("fake"), Filters: expr.NewCache(10), Log: zap.NewNop(), Metrics: NewMetrics(prometheus.NewRegistry()), Now: time.Now,
		Wait: func(_ context.Context, n int) { f.waits = append(f.waits, n) },
	}
	return f
}

func tooManyHeaders(m rabbit.Message) bool {
	size := 0
	for k, v := range m.Headers {
		size += len(k) + len(fmt.Sprint(v)) + 10
	}
	return size > rabbit.MaxHeaders
}

// place of a change in the fake's stream.
func place(n int) store.Anchor { return store.Anchor{ID: strconv.Itoa(n), Token: "x"} }

func (f *fake) Anchor(context.Context) (store.Anchor, error) { return place(len(f.changes)), nil }

func (f *fake) Look(_ context.Context, from store.Anchor, resources []string, events []store.EventKey) (store.Look, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookups++
	if err := next(&f.storeErrs); err != nil {
		return store.Look{}, err
	}
	n, _ := strconv.Atoi(from.ID)
	look := store.Look{Changes: f.changes[n:], Next: place(len(f.changes)), Exists: map[string]bool{}, Seen: make([]bool, len(events))}
	for _, r := range resources {
		_, look.Exists[r] = f.candidates[r]
	}
	for i, e := range events {
		look.Seen[i] = f.seen[e] > 0
	}
	return look, nil
}

func (f *fake) EachCandidate(_ context.Context, resource string, tell func(store.Candidate)) error {
	for _, c := range f.candidates[resource] {
		tell(c)
	}
	return nil
}

func (f *fake) ResourceNames(context.Context) ([]string, error) {
	return slices.Collect(maps.Keys(f.candidates)), nil
}

func (f *fake) FanOut(_ context.Context, event store.EventKey) (string, error) {
	return f.fanned[event], nil
}

func (f *fake) KeepFanOut(_ context.Context, event store.EventKey, last string) error {
	if err := next(&f.keepErrs); err != nil {
		return err
	}
	f.fanned[event] = last
	return nil
}

func (f *fake) listed(id string) contract.DeadLetter {
	for _, l := range f.buried {
		if l.ID == id {
			return l
		}
	}
	return contract.DeadLetter{}
}

func (f *fake) Bury(_ context.Context, letters []contract.DeadLetter) error {
	f.buried = append(f.buried, letters...)
	return nil
}

func (f *fake) MarkSeen(_ context.Context, marks []store.Mark) error {
	if err := next(&f.markErrs); err != nil {
		return err
	}
	f.marks = append(f.marks, marks...)
	for _, m := range marks {
		f.seen[m.Event] = max(f.seen[m.Event], m.Commands)
	}
	return nil
}

func (f *fake) JoinLines(_ context.Context, places []store.Place) error {
	if err := next(&f.joinErrs); err != nil {
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
	if err := next(&f.leaveErrs); err != nil {
		return err
	}
	f.lines[line] = slices.DeleteFunc(f.lines[line], func(d string) bool { return d == delivery })
	return nil
}

func (f *fake) Publish(_ context.Context, messages ...rabbit.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publishes++
	f.largest = max(f.largest, len(messages))
	if err := next(&f.brokerErrs); err != nil {
		return err
	}
	if slices.ContainsFunc(messages, f.limit) {
		return fmt.Errorf("publishing: %w", rabbit.ErrTooLarge)
	}
	f.published = append(f.published, messages...)
	return nil
}

func next(errs *[]error) error {
	if len(*errs) == 0 {
		return nil
	}
	err := (*errs)[0]
	*errs = (*errs)[1:]
	return err
}

func (f *fake) names() rabbit.Names { return f.listener.Names }

func (f *fake) resource(name string) { f.candidates[name] = nil }

func (f *fake) subscribe(id, resource string, types ...string) {
	f.activate(resource, store.Candidate{Subscription: id, Types: types})
}

func (f *fake) subscribeInOrder(id, resource string) {
	f.activate(resource, store.Candidate{Subscription: id, Ordered: true})
}

func (f *fake) activate(resource string, c store.Candidate) {
	f.candidates[resource] = append(f.candidates[resource], c)
	f.changes = append(f.changes, store.Change{Resource: resource, Subscription: c.Subscription, Candidate: &c})
}

func (f *fake) subscribeIf(id, resource, filter string) {
	f.activate(resource, store.Candidate{Subscription: id, Filter: filter})
}

func (f *fake) ahead(c contract.Command) string {
	line := f.lines[c.Line()]
	require.Contains(f.t, line, c.Delivery)
	if line[0] == c.Delivery {
		return ""
	}
	return line[0]
}

func (f *fake) send(messages ...rabbit.Message) {
	f.t.Helper()
	for i, got := range f.listener.process(never(), never(), messages) {
		require.Equal(f.t, done, got, "message %d", i)
	}
}

func (f *fake) commands(n int) []rabbit.Message { return f.take(f.listener.Names.Commands, n) }
func (f *fake) bulk(n int) []rabbit.Message     { return f.take(f.listener.Names.Bulk, n) }
func (f *fake) dead(n int) []rabbit.Message     { return f.take(f.listener.Names.Dead, n) }

func (f *fake) archived(resource string, n int) []contract.Archived {
	f.t.Helper()
	var found []contract.Archived
	for _, m := range f.published {
		if m.Exchange == "" && m.RoutingKey == f.listener.Names.Archive {
			found = append(found, ofResource(f.t, m, resource)...)
		}
	}
	require.Equal(f.t, n, len(found))
	return found
}

// ofResource are the events of a pack.
func ofResource(t *testing.T, m rabbit.Message, resource string) []contract.Archived {
	t.Helper()
	events, err := contract.DecodePack(m.ContentType, m.Body)
	require.NoError(t, err)
	return slices.DeleteFunc(events, func(a contract.Archived) bool { return a.Resource != resource })
}

func (f *fake) take(exchange string, n int) []rabbit.Message {
	f.t.Helper()
	var found []rabbit.Message
	for _, m := range f.published {
		if m.Exchange == exchange || m.Exchange == "" && m.RoutingKey == exchange {
			found = append(found, m)
		}
	}
	found = found[f.taken[exchange]:]
	require.Equal(f.t, n, len(found), exchange) // Len would print them all
	f.taken[exchange] += n
	return found
}

func someEvent(n int) rabbit.Message {
	return binary("orders.a", fmt.Sprint("e", n), "a", []byte(`{}`))
}

func TestOneLookupPerBatchAndBoundedPublishes(t *testing.T) {
	f := newFake(t)
	for i := range 30 {
		f.subscribe(fmt.Sprint("sub_", i), "orders")
		f.subscribe(fmt.Sprint("sub_", i), "payments")
	}
	var batch []rabbit.Message
	for i := range 100 {
		batch = append(batch, someEvent(i), binary("payments.a", fmt.Sprint("p", i), "a", nil))
	}
	f.send(batch...)
	require.Equal(t, 1, f.lookups)
	require.Equal(t, maxPublish, f.largest)
	f.commands(30 * 200)
	for _, resource := range []string{"orders", "payments"} {
		require.InDelta(t, 3000, testutil.ToFloat64(f.listener.Metrics.commands.Of(resource)), 0)
		require.InDelta(t, 100, testutil.ToFloat64(f.listener.Metrics.events.Of(eventKey{resource, "matched"})), 0)
	}
}

func TestDependenciesThatFail(t *testing.T) {
	down := errors.New("down")
	f := newFake(t)
	f.subscribeInOrder("sub_1", "orders")
	f.storeErrs = []error{down, down, nil}
	f.joinErrs = []error{down}
	f.markErrs = []error{down, down}
	f.brokerErrs = []error{rabbit.ErrUnavailable, rabbit.ErrNacked, &rabbit.ReturnedError{}, down, nil}
	var troubles []string
	f.listener.Wait = func(_ context.Context, n int) {
		f.waits = append(f.waits, n)
		err := f.listener.Ready(never())
		require.Error(t, err, "readiness says what the batch waits for")
		troubles = append(troubles, err.Error())
	}
	f.send(someEvent(1))
	f.commands(1)
	f.dead(0)
	require.Equal(t, []int{1, 2, 1, 1, 2, 3, 4, 1, 2}, f.waits)
	require.Contains(t, troubles[0], "looking subscriptions up")
	require.Contains(t, troubles[2], "lining deliveries up")
	require.Contains(t, troubles[3], "publishing")
	require.Contains(t, troubles[7], "marking events as seen")
	require.NoError(t, f.listener.Ready(never()))
}

func TestABatchIsArchivedAtOnce(t *testing.T) {
	f := newFake(t)
	f.subscribe("sub_1", "orders")
	f.send(someEvent(1), someEvent(2), someEvent(3))
	require.Len(t, f.published, 4, "three commands, then a pack")
	require.Equal(t, contract.MediaPack, f.published[3].ContentType)
	f.archived("orders", 3)
}

// An archive that does not work holds deliveries up for a few tries once a minute, and no longer.
func TestDeliveriesDoNotWaitForAnArchiveThatDoesNotWork(t *testing.T) {
	lines := &logBuffer{}
	f := newFake(t)
	f.listener.Log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), lines, zapcore.DebugLevel))
	now := time.Now()
	f.listener.Now = func() time.Time { return now }
	f.subscribe("sub_1", "orders")
	f.brokerErrs = slices.Repeat([]error{rabbit.ErrNacked, context.DeadlineExceeded, &rabbit.ReturnedError{}}, archiveTries/3)
	f.brokerErrs = append([]error{nil}, f.brokerErrs...) // the command is taken
	f.send(someEvent(1))
	require.Len(t, f.waits, archiveTries-1)
	require.Contains(t, lines.String(), "can't be archived")
	f.send(someEvent(2), someEvent(3))
	f.commands(3)
	f.archived("orders", 0)
	require.InDelta(t, 3, testutil.ToFloat64(f.listener.Metrics.unarchived), 0)
	require.NoError(t, f.listener.Ready(never()))
	now = now.Add(archiveRest)
	f.brokerErrs = []error{nil, rabbit.ErrNacked}
	f.send(someEvent(4))
	require.Len(t, f.waits, archiveTries-1, "once in a while is enough")
	now = now.Add(archiveRest)
	f.send(someEvent(5))
	f.archived("orders", 1)
}

func TestAnEventIsNotDoneBeforeItIsArchived(t *testing.T) {
	f := newFake(t)
	f.resource("orders")
	f.brokerErrs = []error{rabbit.ErrUnavailable, rabbit.ErrNacked}
	f.send(someEvent(1))
	require.Equal(t, []int{1, 2}, f.waits)
	f.archived("orders", 1)
}

func TestABatchThatIsHandedOutAgainIsArchivedAgain(t *testing.T) {
	f := newFake(t)
	f.subscribe("sub_1", "orders")
	stop, cancel := context.WithCancel(context.Background())
	f.markErrs = []error{errors.New("down")}
	f.listener.Wait = func(context.Context, int) { f.markErrs = []error{errors.New("down")}; cancel() }
	require.Equal(t, []fate{keep}, f.listener.process(stop, never(), []rabbit.Message{someEvent(1)}))
	f.markErrs = nil
	f.send(someEvent(1))
	f.archived("orders", 2)
	f.send(someEvent(1))
	f.archived("orders", 2)
}

// Until Redis knows, the listener itself does.
func TestAnEventThatIsYetToBeMarkedIsKnownAgain(t *testing.T) {
	f := newFake(t)
	f.subscribe("sub_1", "orders")
	first, err := f.listener.handle(never(), never(), []rabbit.Message{someEvent(1)})
	require.NoError(t, err)
	second, err := f.listener.handle(never(), never(), []rabbit.Message{someEvent(1)})
	require.NoError(t, err)
	f.commands(1)
	require.NoError(t, f.listener.conclude(never(), never(), first))
	require.NoError(t, f.listener.conclude(never(), never(), second))
	require.Empty(t, f.listener.fresh.events)
	f.send(someEvent(1))
	f.commands(0)
}

// So that it can be explained later.
func TestWhatBecameOfAnEventIsRemembered(t *testing.T) {
	f := newFake(t)
	f.subscribe("sub_1", "orders", "a")
	wrong := binary("nowhere.a", "e2", "a", []byte(`{}`))
	unread := rabbit.Message{RoutingKey: "orders.a", ContentType: "application/cloudevents+json", Body: []byte("{")}
	f.send(someEvent(1), binary("orders.b", "e3", "b", []byte(`{}`)), wrong, unread)
	require.Len(t, f.marks, 3, "what is no event has no name to remember it by")
	for i, want := range []struct {
		resource, id string
		commands     int
		dead         bool
	}{{"orders", "e1", 1, false}, {"orders", "e3", 0, false}, {"nowhere", "e2", 0, true}} {
		m := f.marks[i]
		require.Equal(t, store.EventKey{Resource: want.resource, Source: "/shop", ID: want.id}, m.Event)
		require.Equal(t, want.commands, m.Commands)
		require.Equal(t, want.dead, m.Reason != "")
		require.WithinDuration(t, time.Now(), m.Taken, time.Minute)
	}
}

func TestBatchesAreMarkedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.subscribe("sub_1", "orders")
		all := make(chan published, 3)
		for i := range 3 {
			jobs, err := f.listener.handle(never(), never(), []rabbit.Message{someEvent(i)})
			require.NoError(t, err)
			all <- published{jobs: jobs}
		}
		some := <-all
		f.listener.gather(never(), &some, all)
		require.Len(t, some.jobs, 3)
		begin := time.Now()
		stopped, stop := context.WithCancel(never())
		stop()
		f.listener.gather(stopped, &some, all)
		require.Zero(t, time.Since(begin), "the end does not wait for more")
		many := published{jobs: make([]*job, maxBatch)}
		f.listener.gather(never(), &many, all)
		require.Zero(t, time.Since(begin), "enough does not wait for more")
	})
}

func TestWhatIsTooLargeForTheArchiveIsDelivered(t *testing.T) {
	lines := &logBuffer{}
	f := newFake(t)
	f.listener.Log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), lines, zapcore.DebugLevel))
	f.subscribe("sub_1", "orders")
	f.limit = func(m rabbit.Message) bool { return m.ContentType == contract.MediaPack }
	f.send(someEvent(1), someEvent(2))
	f.commands(2)
	f.dead(0)
	require.Contains(t, lines.String(), "can't be archived")
	require.Empty(t, f.waits, "no other try would mend it")
}

func TestNothingIsDoneWhenToldToStop(t *testing.T) {
	for name, arm := range map[string]func(f *fake, always []error){
		"store":  func(f *fake, always []error) { f.storeErrs = always },
		"lines":  func(f *fake, always []error) { f.joinErrs = always },
		"broker": func(f *fake, always []error) { f.brokerErrs = always },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.subscribeInOrder("sub_1", "orders")
			arm(f, slices.Repeat([]error{errors.New("down")}, 100))
			stop, cancel := context.WithCancel(context.Background())
			f.listener.Wait = func(_ context.Context, n int) {
				if n == 3 {
					cancel()
				}
			}
			got := f.listener.process(stop, never(), []rabbit.Message{someEvent(1), {RoutingKey: ""}})
			require.Equal(t, []fate{keep, keep}, got, "neither acknowledged nor dead")
			f.commands(0)
			f.dead(0)
		})
	}
}

func TestABatchUnderWayIsFinishedWhenToldToStop(t *testing.T) {
	f := newFake(t)
	f.subscribe("sub_1", "orders")
	stop, cancel := context.WithCancel(context.Background())
	cancel()
	require.Equal(t, []fate{done}, f.listener.process(stop, never(), []rabbit.Message{someEvent(1)}))
	f.commands(1)
}

func TestWhatCanNotBeSentAtAll(t *testing.T) {
	f := newFake(t)
	f.subscribe("sub_1", "orders")
	f.limit = func(m rabbit.Message) bool { return string(m.Body) == `"x"` }
	bad := someEvent(2)
	bad.Body = []byte(`"x"`)
	require.Equal(t, []fate{done, bury, done}, f.listener.process(never(), never(), []rabbit.Message{someEvent(1), bad, someEvent(3)}))
	f.commands(2)
	require.InDelta(t, 1, testutil.ToFloat64(f.listener.Metrics.events.Of(eventKey{"orders", "stuck"})), 0)
}

func TestADeadLetterLeavesNobodyInLine(t *testing.T) {
	f := newFake(t)
	f.subscribeInOrder("sub_1", "orders")
	f.subscribeInOrder("sub_2", "orders")
	f.limit = func(m rabbit.Message) bool { return m.Exchange == f.names().Commands && string(m.Body) == `"x"` }
	f.leaveErrs = []error{errors.New("down")}
	bad := someEvent(1)
	bad.Body = []byte(`"x"`)
	f.send(bad, someEvent(2))
	f.dead(1)
	for _, c := range decode(t, f.commands(2)) {
		require.Equal(t, []string{c.Delivery}, f.lines[c.Line()], "the bad event is in nobody's way")
	}
	f.limit = tooManyHeaders
	f.send(bad)
	f.commands(2) // a dead letter that was mended is not a duplicate
}

func TestAnEventIsSeenOnceItsCommandsAreConfirmed(t *testing.T) {
	f := newFake(t)
	f.subscribe("sub_1", "orders")
	stop, cancel := context.WithCancel(context.Background())
	f.markErrs = slices.Repeat([]error{errors.New("down")}, 3)
	f.listener.Wait = func(context.Context, int) { cancel() }
	require.Equal(t, []fate{keep}, f.listener.process(stop, never(), []rabbit.Message{someEvent(1)}))
	first := decode(t, f.commands(1))
	f.markErrs = nil
	f.send(someEvent(1))
	require.Equal(t, first[0].Delivery, decode(t, f.commands(1))[0].Delivery, "the same delivery: the engine tells")
	f.send(someEvent(1), someEvent(1))
	f.commands(0)
	require.InDelta(t, 2, testutil.ToFloat64(f.listener.Metrics.events.Of(eventKey{"orders", "duplicate"})), 0)
}

func TestDeadLetterWithHeadersTooLong(t *testing.T) {
	f := newFake(t)
	long := rabbit.Message{RoutingKey: "Nothing.x", ContentType: "text/plain", Body: []byte("kept"), Headers: map[string]any{"h": strings.Repeat("x", rabbit.MaxHeaders)}}
	f.send(long)
	m := f.dead(1)[0]
	require.Equal(t, "kept", string(m.Body))
	require.Equal(t, "Nothing.x", m.RoutingKey)
	require.Contains(t, m.Headers[rabbit.HeaderReason], "routing key")
	require.NotContains(t, m.Headers, "h")
	require.NotContains(t, long.Headers, rabbit.HeaderReason, "the message itself is left alone")
}

func TestReasonsNeverHoldTheData(t *testing.T) {
	lines := &logBuffer{}
	f := newFake(t)
	f.listener.Log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), lines, zapcore.DebugLevel))
	f.send(rabbit.Message{RoutingKey: "orders", ContentType: "application/cloudevents+json", Body: []byte(`{"data":{"card":"4111-1111"}}`)})
	f.dead(1)
	require.Contains(t, lines.String(), "reason")
	require.NotContains(t, lines.String(), "4111-1111")
}

type logBuffer struct{ strings.Builder }

func (*logBuffer) Sync() error { return nil }

func TestTheWaitEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	(&Listener{}).wait(ctx, 20) // hangs unless it does
	(&Listener{}).wait(never(), 1)
}

func TestAFilterThatCanNotBeEvaluatedIsNoMatchAndIsCounted(t *testing.T) {
	f := newFake(t)
	f.resource("orders")
	f.subscribeIf("sub_missing", "orders", `data.nothing == 1`)
	f.subscribeIf("sub_broken", "orders", `data.total >`)
	f.subscribeIf("sub_no", "orders", `data.total == 1`)
	f.send(binary("orders.a", "e1", "a", []byte(`{"total":2}`)))
	require.Empty(t, f.commands(0))
	require.InDelta(t, 2, testutil.ToFloat64(f.listener.Metrics.filterErrors.Of("orders")), 0)
}
