package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// open returns a store in a namespace of its own.
func open(t *testing.T) *Store {
	t.Helper()
	return openAs(t, testkit.Redis(t), testkit.Namespace(t))
}

func openAs(t *testing.T, url, namespace string) *Store {
	t.Helper()
	return openWith(t, url, namespace, oneRing)
}

// oneRing is that of all stores of these tests, as of all processes of a deployment.
var oneRing = keyring.Ephemeral()

func openWith(t *testing.T, url, namespace string, ring *keyring.Keyring) *Store {
	t.Helper()
	s, err := Open(Options{URL: url, Namespace: namespace, Keyring: ring})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// pair is one store in two processes.
func pair(t *testing.T) (*Store, *Store) {
	t.Helper()
	url, namespace := testkit.Redis(t), testkit.Namespace(t)
	return openAs(t, url, namespace), openAs(t, url, namespace)
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)

func subscription(id string) contract.Subscription {
	return contract.Subscription{
		ID: id, Consumer: "con_1", Resource: "orders", CallbackURL: "https://consumer.example/" + id, Format: contract.FormatStructured,
		Status: contract.StatusActive, Confidential: contract.Confidential{Secrets: []contract.Secret{{Value: "whsec_x"}}}, CreatedAt: start, UpdatedAt: start,
	}
}

func create(t *testing.T, s *Store, sub contract.Subscription) contract.Subscription {
	t.Helper()
	kept, created, err := s.CreateSubscription(ctx, sub)
	require.NoError(t, err)
	require.True(t, created)
	return kept
}

func withResource(t *testing.T, s *Store, names ...string) *Store {
	t.Helper()
	for _, name := range names {
		_, err := s.PutResource(ctx, contract.Resource{Name: name})
		require.NoError(t, err)
	}
	return s
}

// keysLeft are all keys of the namespace.
func keysLeft(t *testing.T, s *Store) []string {
	t.Helper()
	var found []string
	for it := s.rdb.Scan(ctx, 0, s.key.namespace+":*", 1000).Iterator(); it.Next(ctx); {
		found = append(found, it.Val())
	}
	return found
}

func TestOpen(t *testing.T) {
	_, err := Open(Options{URL: "nonsense://user:s3cr3t@host"})
	require.ErrorContains(t, err, "REDIS_URL")
	require.NotContains(t, err.Error(), "s3cr3t")
	s, err := Open(Options{URL: "redis://127.0.0.1:1", Timeout: 100 * time.Millisecond})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, "webhook:resources", s.key.resources())
	require.Error(t, s.Ping(ctx))
	require.NoError(t, open(t).Ping(ctx))
}

func TestEveryMethodTellsAnOutageFromAnswers(t *testing.T) {
	s, err := Open(Options{URL: "redis://127.0.0.1:1", Timeout: 50 * time.Millisecond, Keyring: keyring.Ephemeral()})
	require.NoError(t, err)
	defer s.Close()
	sub := subscription("sub_1")
	d := contract.Delivery{ID: "dlv_1", Subscription: "sub_1"}
	calls := map[string]func() error{
		"PutResource":        func() error { _, err := s.PutResource(ctx, contract.Resource{Name: "a"}); return err },
		"Resource":           func() error { _, err := s.Resource(ctx, "a"); return err },
		"Resources":          func() error { _, err := s.Resources(ctx); return err },
		"ChangeResource":     func() error { _, err := s.ChangeResource(ctx, "a", func(*contract.Resource) {}); return err },
		"DeleteResource":     func() error { return s.DeleteResource(ctx, "a") },
		"PutConsumer":        func() error { return s.PutConsumer(ctx, contract.Consumer{ID: "a"}) },
		"Consumer":           func() error { _, err := s.Consumer(ctx, "a"); return err },
		"Consumers":          func() error { _, err := s.Consumers(ctx); return err },
		"ChangeConsumer":     func() error { _, err := s.ChangeConsumer(ctx, "a", func(*contract.Consumer) {}); return err },
		"DeleteConsumer":     func() error { return s.DeleteConsumer(ctx, "a") },
		"CreateKey":          func() error { _, _, err := s.CreateKey(ctx, "a", start); return err },
		"Keys":               func() error { _, err := s.Keys(ctx, "a"); return err },
		"Deposit":            func() error { _, err := s.Deposit(ctx, []Deposit{deposit(1, "1")}); return err },
		"Letters":            func() error { _, _, err := s.Letters(ctx, "a", 0, 1, 1); return err },
		"WaitingUpTo":        func() error { _, err := s.WaitingUpTo(ctx, "a", 1, 1); return err },
		"WaitingAt":          func() error { _, err := s.WaitingAt(ctx, "a", []int64{1}); return err },
		"LastPlace":          func() error { _, err := s.LastPlace(ctx, "a"); return err },
		"TakeOut":            func() error { _, err := s.TakeOut(ctx, "a", nil); return err },
		"MailboxesToSweep":   func() error { _, err := s.MailboxesToSweep(ctx, start, time.Second, 1); return err },
		"SweepAgain":         func() error { return s.SweepAgain(ctx, "a", start) },
		"ForgetMailbox":      func() error { return s.ForgetMailbox(ctx, "a") },
		"Hold":               func() error { _, err := s.Hold(ctx, []Right{{Consumer: "a"}}); return err },
		"DeleteKey":          func() error { return s.DeleteKey(ctx, "a", "k") },
		"Authenticate":       func() error { _, err := s.Authenticate(ctx, "h", "a"); return err },
		"CreateSubscription": func() error { _, _, err := s.CreateSubscription(ctx, sub); return err },
		"Subscription":       func() error { _, err := s.Subscription(ctx, "sub_1"); return err },
		"Subscriptions":      func() error { _, _, err := s.Subscriptions(ctx, "c", "a", "", 10); return err },
		"Unlocks":            func() error { return s.Unlocks(ctx) },
		"ChangeSubscription": func() error {
			_, err := s.ChangeSubscription(ctx, "sub_1", func(*contract.Subscription) error { return nil })
			return err
		},
		"DeleteSubscription": func() error { return s.DeleteSubscription(ctx, "sub_1") },
		"Look":               func() error { _, err := s.Look(ctx, Anchor{}, []string{"a"}, []EventKey{{"a", "b", "c"}}); return err },
		"Anchor":             func() error { _, err := s.Anchor(ctx); return err },
		"EachCandidate":      func() error { return s.EachCandidate(ctx, "a", func(Candidate) {}) },
		"ResourceNames":      func() error { _, err := s.ResourceNames(ctx); return err },
		"Marks":              func() error { _, err := s.Marks(ctx, []EventKey{{"a", "b", "c"}}); return err },
		"FanOut":             func() error { _, err := s.FanOut(ctx, EventKey{"a", "b", "c"}); return err },
		"KeepFanOut":         func() error { return s.KeepFanOut(ctx, EventKey{"a", "b", "c"}, "sub_1") },
		"Standings":          func() error { _, err := s.Standings(ctx, []Pending{{Delivery: "d", Subscription: "s"}}); return err },
		"Record":             func() error { return s.Record(ctx, []Record{{Delivery: d, Line: "l"}}) },
		"LogAttempts":        func() error { return s.LogAttempts(ctx, []AttemptLog{{Delivery: d}}) },
		"AttemptDetails":     func() error { return s.AttemptDetails(ctx, &d) },
		"AddStats":           func() error { return s.AddStats(ctx, []Stat{{Resource: "a"}}) },
		"Stats":              func() error { _, err := s.Stats(ctx, StatsQuery{"a", "", start, start, time.Hour}); return err },
		"LogEnd":             func() error { _, err := s.LogEnd(ctx); return err },
		"Tail":               func() error { _, err := s.Tail(ctx, []Tailing{{Subscription: "sub_1"}}); return err },
		"Statuses":           func() error { _, err := s.Statuses(ctx, []string{"d"}); return err },
		"JoinLines":          func() error { return s.JoinLines(ctx, []Place{{"l", "d"}}) },
		"LeaveLine":          func() error { return s.LeaveLine(ctx, "l", "d") },
		"MarkSeen":           func() error { return s.MarkSeen(ctx, marked([]EventKey{{"a", "b", "c"}}, 1)) },
		"Take":               func() error { _, err := s.Take(ctx, []Ask{{"sub_1", 1, 1}}); return err },
		"FailingSince":       func() error { _, err := s.FailingSince(ctx, []string{"sub_1"}, start); return err },
		"Healthy":            func() error { return s.Healthy(ctx, []string{"sub_1"}) },
		"CreateReplay":       func() error { _, _, err := s.CreateReplay(ctx, replay("rpl_1")); return err },
		"Replay":             func() error { _, err := s.Replay(ctx, "sub_1", "rpl_1"); return err },
		"SaveReplay":         func() error { return s.SaveReplay(ctx, replay("rpl_1")) },
		"Writable":           func() error { return s.Writable(ctx) },
		"BeginAudit":         func() error { _, err := s.BeginAudit(ctx, contract.AuditEntry{}); return err },
		"EndAudit":           func() error { return s.EndAudit(ctx, BegunAudit{"admin", "1-1"}, contract.AuditEntry{}) },
		"Audit":              func() error { _, _, err := s.Audit(ctx, AuditQuery{Limit: 1}); return err },
		"Spend":              func() error { _, err := s.Spend(ctx, Spend{"a", "c", 1, 1, 1}); return err },
		"Delivery":           func() error { _, err := s.Delivery(ctx, "sub_1", "dlv_1"); return err },
		"Deliveries": func() error {
			_, _, err := s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_1", Limit: 10})
			return err
		},
	}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			err := call()
			if err == nil {
				t.Errorf("%s works without Redis", name)
			}
			for _, known := range []error{ErrNotFound, ErrConflict, ErrStale, ErrDamaged} {
				if errors.Is(err, known) {
					t.Errorf("%s: an outage is %v", name, known)
				}
			}
		})
	}
	wg.Wait()
}

func TestDamagedRecords(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	require.NoError(t, s.Record(ctx, []Record{{Delivery: contract.Delivery{ID: "dlv_1", Subscription: "sub_1", CreatedAt: start}}}))
	require.NoError(t, s.rdb.Set(ctx, s.key.subscription("sub_1"), `{"id":`, 0).Err())
	require.NoError(t, s.rdb.HSet(ctx, s.key.resources(), "orders", `[]`).Err())
	require.NoError(t, s.rdb.HSet(ctx, s.key.consumers(), "con_1", `"x"`).Err())
	require.NoError(t, s.rdb.Append(ctx, s.key.delivery("dlv_1"), "1 {\n").Err())

	_, err := s.Subscription(ctx, "sub_1")
	require.ErrorIs(t, err, ErrDamaged)
	_, _, err = s.Subscriptions(ctx, "con_1", "orders", "", 10)
	require.ErrorIs(t, err, ErrDamaged)
	_, err = s.Resource(ctx, "orders")
	require.ErrorIs(t, err, ErrDamaged)
	_, err = s.Resources(ctx)
	require.ErrorIs(t, err, ErrDamaged)
	_, err = s.Consumer(ctx, "con_1")
	require.ErrorIs(t, err, ErrDamaged)
	_, err = s.Delivery(ctx, "sub_1", "dlv_1")
	require.ErrorIs(t, err, ErrDamaged)
	require.NoError(t, s.rdb.Set(ctx, s.key.delivery("dlv_1"), "1 pending\n{\n", 0).Err())
	_, _, err = s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_1", Limit: 10})
	require.ErrorIs(t, err, ErrDamaged)
}

func TestScriptsSurviveAFlush(t *testing.T) {
	// A server of its own, since all of a server's scripts are flushed.
	s := withResource(t, openAs(t, testkit.StartRedis(t).URL, "test"), "orders")
	steps := []func() error{
		func() error { _, _, err := s.CreateSubscription(ctx, subscription("sub_1")); return err },
		func() error {
			_, err := s.ChangeSubscription(ctx, "sub_1", func(sub *contract.Subscription) error { sub.Description = "x"; return nil })
			return err
		},
		func() error {
			return s.Record(ctx, []Record{{Delivery: contract.Delivery{ID: "dlv_1", Subscription: "sub_1"}}, {Delivery: contract.Delivery{ID: "dlv_2", Subscription: "sub_1"}}})
		},
		func() error {
			_, err := s.Standings(ctx, []Pending{{Delivery: "d", Subscription: "s", Line: "l"}})
			return err
		},
		func() error { return s.JoinLines(ctx, []Place{{"l", "d"}}) },
		func() error { return s.LeaveLine(ctx, "l", "d") },
		func() error { return s.MarkSeen(ctx, marked([]EventKey{{"a", "b", "c"}}, 1)) },
		func() error {
			got, err := s.Take(ctx, []Ask{{"sub_1", 1, 1}, {"sub_2", 5, 2}})
			require.Equal(t, []int{1, 2}, []int{got[0].Allowed, got[1].Allowed})
			return err
		},
		func() error { _, err := s.FailingSince(ctx, []string{"sub_1"}, start); return err },
		func() error { _, err := s.Spend(ctx, Spend{"a", "c", 1, 1, 1}); return err },
		func() error {
			require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: "con_1"}))
			_, _, err := s.CreateKey(ctx, "con_1", start)
			return err
		},
		func() error { _, _, err := s.CreateReplay(ctx, replay("rpl_1")); return err },
		func() error { return s.SaveReplay(ctx, replay("rpl_1")) },
		func() error { _, err := s.Authenticate(ctx, "h", "orders"); return err },
		func() error { _, err := s.ChangeResource(ctx, "orders", func(*contract.Resource) {}); return err },
		func() error { return s.DeleteSubscription(ctx, "sub_1") },
		func() error { return s.DeleteResource(ctx, "orders") },
	}
	for i, step := range steps {
		require.NoError(t, s.rdb.ScriptFlush(ctx).Err())
		require.NoError(t, step(), "step %d", i)
	}
}

func TestPagesHideNothing(t *testing.T) {
	s := withResource(t, open(t), "orders")
	var want []string
	for i := range 25 { // many of one millisecond
		sub := subscription(fmt.Sprintf("sub_%02d", i))
		sub.CreatedAt = start.Add(time.Duration(i/10) * time.Millisecond)
		create(t, s, sub)
		want = append(want, sub.ID)
	}
	for _, limit := range []int{1, 2, 7, 24, 25, 26, 100} {
		var got []string
		cursor := ""
		for {
			page, next, err := s.Subscriptions(ctx, "con_1", "orders", cursor, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page), limit)
			for _, sub := range page {
				got = append(got, sub.ID)
			}
			if next == "" {
				break
			}
			cursor = next
		}
		require.Equal(t, want, got, "limit %d", limit)
	}
	for _, cursor := range []string{"x", "1", "1e3.x", ".", "9999999999999999999.a"} {
		_, _, err := s.Subscriptions(ctx, "con_1", "orders", cursor, 10)
		require.ErrorIs(t, err, ErrConflict, cursor)
		_, _, err = s.Deliveries(ctx, DeliveryQuery{Subscription: "sub_00", Cursor: cursor, Limit: 10})
		require.ErrorIs(t, err, ErrConflict, cursor)
	}
	page, next, err := s.Subscriptions(ctx, "con_other", "orders", "", 10)
	require.NoError(t, err)
	require.Empty(t, page)
	require.Empty(t, next)
}

// A Redis that is full answers, but keeps nothing: that must show, and must not look like an answer.
func TestAFullRedis(t *testing.T) {
	s := withResource(t, openAs(t, testkit.StartRedis(t).URL, "test"), "orders")
	create(t, s, subscription("sub_1"))
	require.NoError(t, s.Writable(ctx))
	keep(t, s, Record{Delivery: delivery("dlv_1", 0, contract.DeliveryPending, attempt(1))})
	join(t, s, Place{"line", "dlv_1"})
	require.NoError(t, s.rdb.ConfigSet(ctx, "maxmemory", "1").Err())

	require.NoError(t, s.Ping(ctx))
	require.ErrorContains(t, s.Writable(ctx), "OOM")
	done := Record{Delivery: delivery("dlv_1", 0, contract.DeliverySucceeded, attempt(2)), Line: "line"}
	require.ErrorContains(t, s.Record(ctx, []Record{done}), "OOM")
	require.ErrorContains(t, s.JoinLines(ctx, []Place{{"line", "dlv_2"}}), "OOM")
	require.ErrorContains(t, s.MarkSeen(ctx, marked([]EventKey{{"a", "b", "c"}}, 1)), "OOM")
	_, err := s.Take(ctx, []Ask{{"sub_1", 1, 1}})
	require.ErrorContains(t, err, "OOM")
	got := stand(t, s, Pending{Delivery: "dlv_1", Subscription: "sub_1", Line: "line"})
	require.Equal(t, contract.DeliveryPending, got.Recorded.Status, "nothing was half done")
	require.NotNil(t, stand(t, s, Pending{Delivery: "dlv_2", Subscription: "sub_1", Line: "line"}).Ahead)

	require.NoError(t, s.rdb.ConfigSet(ctx, "maxmemory", "0").Err())
	require.NoError(t, s.Writable(ctx))
	keep(t, s, done)
	require.Nil(t, stand(t, s, Pending{Delivery: "dlv_2", Subscription: "sub_1", Line: "line"}).Ahead)
}
