package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func audited(kind contract.ActorKind, action string, status int) contract.AuditEntry {
	return contract.AuditEntry{Actor: contract.Actor{Kind: kind, ID: "who"}, Action: action, Object: "/orders/subscribe/sub_1", Status: status}
}

func write(t *testing.T, s *Store, entries ...contract.AuditEntry) {
	t.Helper()
	for _, e := range entries {
		require.NoError(t, s.EndAudit(ctx, BegunAudit{}, e))
	}
}

func audit(t *testing.T, s *Store, q AuditQuery) (actions []string) {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	for range 1000 {
		page, next, err := s.Audit(ctx, q)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), q.Limit)
		for _, e := range page {
			actions = append(actions, e.Action)
		}
		if q.Cursor = next; next == "" {
			return actions
		}
	}
	t.Fatal("the pages have no end")
	return nil
}

func TestTheEndOfAnEntryTakesThePlaceOfItsBeginning(t *testing.T) {
	s := open(t)
	begun, err := s.BeginAudit(ctx, audited(contract.ActorAdmin, "delete-consumer", 0))
	require.NoError(t, err)
	page, _, err := s.Audit(ctx, AuditQuery{Limit: 10})
	require.NoError(t, err)
	require.Len(t, page, 1, "it is there before it is done")
	require.Zero(t, page[0].Status)
	require.NoError(t, s.EndAudit(ctx, begun, audited(contract.ActorAdmin, "delete-consumer", 404)))
	page, _, err = s.Audit(ctx, AuditQuery{Limit: 10})
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, 404, page[0].Status)
	require.WithinDuration(t, time.Now(), page[0].At, time.Minute)
}

func TestThePagesOfTheAuditLogHideAndRepeatNothing(t *testing.T) {
	s := open(t)
	var want []string
	kinds := []contract.ActorKind{contract.ActorAdmin, contract.ActorConsumer, contract.ActorService, contract.ActorUnknown}
	for i := range 60 { // many of one millisecond, in streams of their own
		e := audited(kinds[i%4], fmt.Sprint("action-", i), 200)
		write(t, s, e)
		want = append(want, e.Action)
	}
	for _, limit := range []int{1, 7, 59, 60, 61} {
		require.ElementsMatch(t, want, audit(t, s, AuditQuery{Limit: limit}), "limit %d", limit)
	}
	var admins []string
	for i := 56; i >= 0; i -= 4 {
		admins = append(admins, want[i])
	}
	require.Equal(t, admins, audit(t, s, AuditQuery{Actor: "admin", Limit: 4}), "newest first")
}

func TestTheAuditLogIsAskedForSomeEntries(t *testing.T) {
	s := open(t)
	other := audited(contract.ActorAdmin, "put-resource", 200)
	other.Actor.ID, other.Object = "alice", "/admin/v1/resources/orders"
	write(t, s, audited(contract.ActorConsumer, "subscribe", 201), audited(contract.ActorConsumer, "unsubscribe", 404), other)
	for name, c := range map[string]struct {
		q    AuditQuery
		want []string
	}{
		"a kind of actor":     {AuditQuery{Actor: "consumer"}, []string{"unsubscribe", "subscribe"}},
		"an actor":            {AuditQuery{Actor: "alice"}, []string{"put-resource"}},
		"an action":           {AuditQuery{Action: "subscribe"}, []string{"subscribe"}},
		"a segment":           {AuditQuery{Object: "sub_1"}, []string{"unsubscribe", "subscribe"}},
		"a path":              {AuditQuery{Object: "/admin/v1/resources/orders"}, []string{"put-resource"}},
		"a part of a segment": {AuditQuery{Object: "sub"}, nil},
		"since an hour ago":   {AuditQuery{Since: time.Now().Add(-time.Hour)}, []string{"put-resource", "unsubscribe", "subscribe"}},
		"since later":         {AuditQuery{Since: time.Now().Add(time.Hour)}, nil},
		"until an hour ago":   {AuditQuery{Until: time.Now().Add(-time.Hour)}, nil},
		"until later":         {AuditQuery{Until: time.Now().Add(time.Hour), Limit: 2}, []string{"put-resource", "unsubscribe", "subscribe"}},
		"until before 1970":   {AuditQuery{Until: time.Unix(-1, 0)}, nil},
	} {
		t.Run(name, func(t *testing.T) { require.ElementsMatch(t, c.want, audit(t, s, c.q)) })
	}
	for _, cursor := range []string{"x", "1-1", "1-1.9", "1-1.-1", "1-x.1", "-1-1.1", "1-1.1.1"} {
		_, _, err := s.Audit(ctx, AuditQuery{Cursor: cursor, Limit: 1})
		require.ErrorIs(t, err, ErrConflict, cursor)
	}
}

func TestAPageOfTheAuditLogLooksAtABoundedNumberOfEntries(t *testing.T) {
	s := open(t)
	pipe := s.rdb.Pipeline()
	for range auditScanned + 1 {
		pipe.XAdd(ctx, s.auditing("consumer", audited(contract.ActorConsumer, "subscribe", 201)))
	}
	_, err := pipe.Exec(ctx)
	require.NoError(t, err)
	page, next, err := s.Audit(ctx, AuditQuery{Action: "never", Limit: 10})
	require.NoError(t, err)
	require.Empty(t, page)
	require.NotEmpty(t, next, "there is more to look at")
	page, next, err = s.Audit(ctx, AuditQuery{Action: "never", Limit: 10, Cursor: next})
	require.NoError(t, err)
	require.Empty(t, page)
	require.Empty(t, next)
}

func TestNobodyPushesOutWhatAnAdminDid(t *testing.T) {
	s := open(t)
	s.audited = 10
	write(t, s, audited(contract.ActorAdmin, "create-key", 201))
	for range 500 { // a stream gives up whole nodes of entries
		write(t, s, audited(contract.ActorConsumer, "subscribe", 201), audited(contract.ActorAdmin, "create-key", 422))
	}
	entries, err := s.rdb.XLen(ctx, s.key.audit("admin")).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, entries)
	entries, err = s.rdb.XLen(ctx, s.key.audit("consumer")).Result()
	require.NoError(t, err)
	require.Less(t, entries, int64(500), "the others are bounded")
}

func TestWhatAStrangerIsAllowedIsNotAmongTheRefused(t *testing.T) {
	s := open(t)
	write(t, s, audited(contract.ActorUnknown, "consent", 200), audited(contract.ActorUnknown, "consent", 401))
	for _, stream := range []string{"consumer", "refused"} {
		entries, err := s.rdb.XLen(ctx, s.key.audit(stream)).Result()
		require.NoError(t, err)
		require.EqualValues(t, 1, entries, stream)
	}
}

func TestTheServicesOwnChangeIsAuditedWithIt(t *testing.T) {
	s := withResource(t, open(t), "orders")
	s.service = "callback-service"
	sub := create(t, s, subscription("sub_1"))
	disable := func(sub *contract.Subscription) error {
		sub.Status, sub.StatusReason, sub.UpdatedAt = contract.StatusDisabled, "the endpoint answered 410", start.Add(time.Second)
		return nil
	}
	before, err := s.readToChange(ctx, sub.ID)
	require.NoError(t, err)
	_, err = s.ChangeSubscription(ctx, sub.ID, disable)
	require.NoError(t, err)
	page, _, err := s.Audit(ctx, AuditQuery{Limit: 10})
	require.NoError(t, err)
	require.Len(t, page, 1)
	page[0].ID, page[0].At = "", time.Time{}
	require.Equal(t, contract.AuditEntry{
		Actor: contract.Actor{Kind: contract.ActorService, ID: "callback-service"}, Action: "change-subscription", Object: "/orders/subscribe/sub_1",
		Status: 200, Fields: []string{"status", "status_reason"}, Reason: "the endpoint answered 410",
	}, page[0])

	_, err = s.ChangeSubscription(Called(ctx), sub.ID, func(sub *contract.Subscription) error { sub.Description = "x"; return nil })
	require.NoError(t, err)
	require.Len(t, audit(t, s, AuditQuery{}), 1, "what somebody called for is that call's entry")
	_, err = s.replace(ctx, before, sub)
	require.ErrorIs(t, err, ErrStale)
	require.Len(t, audit(t, s, AuditQuery{}), 1, "no change, no entry")
}

func TestChangedFieldsHaveNoValues(t *testing.T) {
	before := subscription("sub_1")
	after := before
	after.Secrets, after.Auth, after.Types = []contract.Secret{{Value: "whsec_new"}}, &contract.Auth{Type: "bearer", Token: "t0ken"}, []string{"a"}
	require.Equal(t, []string{"auth", "secrets", "types"}, changedFields(before, after))
	require.Equal(t, []string{"auth", "secrets", "types"}, changedFields(after, before))
	require.Empty(t, slices.Concat(changedFields(after, after), changedFields(before, before)))
}
