package store

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// logged is an attempt of a delivery with all its details, and a body that does not compress.
func logged(subscription, id string, n, bytes int) AttemptLog {
	body := make([]byte, bytes)
	_, _ = rand.Read(body)
	now := time.Now().UTC().Truncate(time.Millisecond)
	d := contract.Delivery{ID: id, Subscription: subscription, EventID: "e", EventSource: "/s", EventType: "a", Status: contract.DeliveryPending,
		CreatedAt: now, UpdatedAt: now, AttemptCount: n}
	d.Attempts = []contract.Attempt{{
		Number: n, At: now, Status: 500, Outcome: contract.OutcomeResponse,
		Request: &contract.AttemptRequest{Method: "POST", URL: "https://consumer.example/", Headers: []contract.Header{{Name: "Webhook-Id", Value: id}},
			Body: base64.StdEncoding.EncodeToString(body), BodyBase64: true, BodyBytes: bytes},
		Response: &contract.AttemptResponse{Status: 500, Body: "no"}, Timings: &contract.Timings{QueuedMS: 1.5, TotalMS: 20},
	}}
	return AttemptLog{Delivery: d}
}

// bare is what the record of a delivery has of its attempts.
func bare(attempts ...AttemptLog) *contract.Delivery {
	d := attempts[0].Delivery
	d.Attempts = nil
	for _, a := range attempts {
		attempt := a.Delivery.Attempts[0]
		attempt.Request, attempt.Response, attempt.Timings = nil, nil, nil
		d.Attempts = append(d.Attempts, attempt)
	}
	return &d
}

func logThem(t *testing.T, s *Store, attempts ...AttemptLog) {
	t.Helper()
	require.NoError(t, s.LogAttempts(ctx, attempts))
}

func TestAttemptsHaveTheDetailsThatWereLogged(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	first, second, other := logged("sub_1", "dlv_1", 1, 100), logged("sub_1", "dlv_1", 2, 100), logged("sub_1", "dlv_2", 1, 100)
	logThem(t, s, other, first)
	logThem(t, s, second)
	d := bare(first, second)
	require.NoError(t, s.AttemptDetails(ctx, d))
	require.Equal(t, []contract.Attempt{first.Delivery.Attempts[0], second.Delivery.Attempts[0]}, d.Attempts)

	never := bare(logged("sub_1", "dlv_3", 1, 1))
	require.NoError(t, s.AttemptDetails(ctx, never))
	require.Nil(t, never.Attempts[0].Request)
}

// The clocks of two machines differ, and between an attempt and its log entry there may be many others.
func TestDetailsAreFoundThoughTheClocksDiffer(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	for _, off := range []time.Duration{-time.Second, 4 * time.Second} {
		a := logged("sub_1", "dlv_1", 1, 10)
		a.Delivery.Attempts[0].At = a.Delivery.Attempts[0].At.Add(off)
		for i := range 20 {
			logThem(t, s, logged("sub_1", fmt.Sprint("dlv_other_", i), 1, 10))
		}
		logThem(t, s, a)
		d := bare(a)
		require.NoError(t, s.AttemptDetails(ctx, d))
		require.Equal(t, a.Delivery.Attempts, d.Attempts, "off by %v", off)
		require.NoError(t, s.rdb.Del(ctx, s.key.log("sub_1")).Err())
	}
}

func TestALogIsBoundedByBytes(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	policy := contract.LogPolicy{MaxBytes: 512 << 10}
	used := func() int64 {
		n, err := s.rdb.MemoryUsage(ctx, s.key.log("sub_1")).Result()
		require.NoError(t, err)
		return n
	}
	var last AttemptLog
	most := int64(0)
	for i := range 1000 {
		last = logged("sub_1", fmt.Sprint("dlv_", i), 1, 1000)
		last.Policy = policy
		logThem(t, s, last)
		most = max(most, used())
	}
	require.Less(t, most, int64(policy.LogBytes()*5/4), "it may grow by an eighth in between")
	require.Greater(t, used(), int64(policy.LogBytes()/2), "and no more goes than must")
	d := bare(last)
	require.NoError(t, s.AttemptDetails(ctx, d))
	require.NotNil(t, d.Attempts[0].Request, "it is the oldest that goes")
}

func TestALogIsBoundedByAge(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	policy := contract.LogPolicy{MaxAge: contract.Duration(2 * time.Hour)}
	old := redis.Z{Score: float64(LogAt(time.Now().Add(-3 * time.Hour)).pack), Member: "old"}
	young := redis.Z{Score: float64(LogAt(time.Now().Add(-time.Hour)).pack), Member: "young"}
	require.NoError(t, s.rdb.ZAdd(ctx, s.key.log("sub_1"), old, young).Err())
	a := logged("sub_1", "dlv_1", 1, 1)
	a.Policy = policy
	logThem(t, s, a)
	left, err := s.rdb.ZRange(ctx, s.key.log("sub_1"), 0, -1).Result()
	require.NoError(t, err)
	require.Len(t, left, 2)
	require.Equal(t, "young", left[0])
	life, err := s.rdb.TTL(ctx, s.key.log("sub_1")).Result()
	require.NoError(t, err)
	require.InDelta(t, 3, life.Hours(), 0.1, "an hour more: only then it is tended to again")
}

func TestALogGoesWithItsSubscriptionAndDoesNotComeBack(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	other := subscription("sub_2")
	other.CallbackURL += "/other"
	create(t, s, other)
	logThem(t, s, logged("sub_1", "dlv_1", 1, 1), logged("sub_2", "dlv_2", 1, 1))
	require.NoError(t, s.DeleteSubscription(ctx, "sub_1"))
	logThem(t, s, logged("sub_1", "dlv_1", 2, 1), logged("sub_2", "dlv_2", 2, 1))
	n, err := s.rdb.Exists(ctx, s.key.log("sub_1")).Result()
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = s.rdb.ZCard(ctx, s.key.log("sub_2")).Result()
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
}

// Who is not sure that a batch was written writes it again.
func TestTheSameAttemptsAgainAddNothing(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	batch := []AttemptLog{logged("sub_1", "dlv_1", 1, 1), logged("sub_1", "dlv_2", 1, 1)}
	logThem(t, s, batch...)
	logThem(t, s, batch...)
	tailed, err := s.Tail(ctx, []Tailing{{Subscription: "sub_1"}})
	require.NoError(t, err)
	require.Len(t, tailed[0], 2)
}

func TestATailGivesEachAttemptOnceAndInOrder(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	other := subscription("sub_2")
	other.CallbackURL += "/other"
	create(t, s, other)
	logThem(t, s, logged("sub_1", "dlv_before", 1, 1))
	from, err := s.LogEnd(ctx)
	require.NoError(t, err)
	var want, got []string
	var middle LogPosition
	read := func() {
		tailed, err := s.Tail(ctx, []Tailing{{"sub_2", LogPosition{}}, {"sub_1", from}})
		require.NoError(t, err)
		require.Len(t, tailed[0], 1)
		for _, l := range tailed[1] {
			got = append(got, l.Delivery.ID)
			from = l.Next
			if l.Delivery.ID == "dlv_0_1" {
				middle = l.Next
			}
		}
	}
	logThem(t, s, logged("sub_2", "dlv_other", 1, 1))
	for i := range 3 {
		var batch []AttemptLog
		for j := range 300 { // several packs
			batch = append(batch, logged("sub_1", fmt.Sprintf("dlv_%d_%d", i, j), 1, 700))
			want = append(want, batch[j].Delivery.ID)
		}
		logThem(t, s, batch...)
		read()
	}
	for len(got) < len(want) {
		read()
	}
	require.Equal(t, want, got)
	read()
	require.Len(t, got, len(want), "nothing comes twice")

	again, err := ParseLogPosition(middle.String())
	require.NoError(t, err)
	tailed, err := s.Tail(ctx, []Tailing{{"sub_1", again}})
	require.NoError(t, err)
	require.Equal(t, "dlv_0_2", tailed[0][0].Delivery.ID, "a position is one of an attempt and not of a pack")
	for _, bad := range []string{"", "x", "1", "1.x", "-1.0", "1.-1"} {
		_, err := ParseLogPosition(bad)
		require.ErrorIs(t, err, ErrConflict, bad)
	}
}

func TestADamagedPackIsTold(t *testing.T) {
	s := withResource(t, open(t), "orders")
	create(t, s, subscription("sub_1"))
	a := logged("sub_1", "dlv_1", 1, 1)
	require.NoError(t, s.rdb.ZAdd(ctx, s.key.log("sub_1"), redis.Z{Score: float64(LogAt(time.Now()).pack), Member: "nonsense"}).Err())
	require.ErrorIs(t, s.AttemptDetails(ctx, bare(a)), ErrDamaged)
	_, err := s.Tail(ctx, []Tailing{{Subscription: "sub_1"}})
	require.ErrorIs(t, err, ErrDamaged)
}
