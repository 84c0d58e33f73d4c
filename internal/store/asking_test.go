package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// asking keeps a resource and a subscription whose endpoint is to be asked at a time.
func asking(t *testing.T, s *Store, id string, at time.Time) contract.Subscription {
	t.Helper()
	_, err := s.PutResource(ctx, contract.Resource{Name: "orders"})
	require.NoError(t, err)
	sub := contract.Subscription{ID: id, Consumer: "con_1", Resource: "orders", CallbackURL: "https://a.example/" + id, CreatedAt: at}
	sub.AskConsent(contract.VerifyHandshake, at)
	sub, created, err := s.CreateSubscription(ctx, sub)
	require.NoError(t, err)
	require.True(t, created)
	return sub
}

func toAskAt(t *testing.T, s *Store, at time.Time, n int) []string {
	t.Helper()
	ids, err := s.ToAsk(ctx, at, time.Minute, n)
	require.NoError(t, err)
	return ids
}

func TestWhoIsToBeAskedIsToldToOneAskerForTheLease(t *testing.T) {
	s, other := pair(t)
	noon := time.Unix(1e9, 0)
	for i, id := range []string{"sub_a", "sub_b", "sub_c"} {
		asking(t, s, id, noon.Add(time.Duration(i)*time.Second))
	}
	require.Empty(t, toAskAt(t, s, noon.Add(-time.Second), 10))
	require.Equal(t, []string{"sub_a"}, toAskAt(t, s, noon.Add(time.Second), 1))
	require.Equal(t, []string{"sub_b"}, toAskAt(t, other, noon.Add(time.Second), 10))
	require.Equal(t, []string{"sub_c"}, toAskAt(t, s, noon.Add(59*time.Second), 10))
	require.Equal(t, []string{"sub_a", "sub_b"}, toAskAt(t, other, noon.Add(61*time.Second), 10), "those who had them died")
	require.NoError(t, s.PostponeAsking(ctx, "sub_a", noon))
	require.Equal(t, []string{"sub_a"}, toAskAt(t, s, noon, 10))
	require.NoError(t, s.ForgetAsking(ctx, "sub_a"))
	require.NoError(t, s.PostponeAsking(ctx, "sub_a", noon))
	require.Empty(t, toAskAt(t, s, noon, 10), "what is not to be asked is not put off")
}

func TestWhoIsToBeAskedFollowsTheSubscription(t *testing.T) {
	s := open(t)
	noon := time.Unix(1e9, 0)
	change := func(id string, change func(*contract.Subscription)) {
		_, err := s.ChangeSubscription(ctx, id, func(sub *contract.Subscription) error { change(sub); return nil })
		require.NoError(t, err)
	}
	id := asking(t, s, "sub_a", noon).ID
	for _, step := range []struct {
		name   string
		change func(*contract.Subscription)
		at     time.Time
		want   []string
	}{
		{"asked again in an hour", func(sub *contract.Subscription) { sub.Refused("no", noon.Add(time.Hour), noon) }, noon.Add(time.Minute), nil},
		{"an hour later", func(*contract.Subscription) {}, noon.Add(time.Hour), []string{id}},
		{"paused", func(sub *contract.Subscription) { sub.Status = contract.StatusPaused }, noon.Add(time.Hour), nil},
		{"pending again", func(sub *contract.Subscription) { sub.AskConsent(contract.VerifyAny, noon) }, noon, []string{id}},
		{"asked often enough", func(sub *contract.Subscription) { sub.Refused("no", time.Time{}, noon) }, noon.Add(time.Hour), nil},
		{"once more", func(sub *contract.Subscription) { sub.AskConsent(contract.VerifyAny, noon) }, noon, []string{id}},
		{"consented", func(sub *contract.Subscription) { sub.Consented(contract.VerifyHandshake, 0, noon) }, noon.Add(time.Hour), nil},
	} {
		change(id, step.change)
		require.ElementsMatch(t, step.want, toAskAt(t, s, step.at, 10), step.name)
	}
	gone := asking(t, s, "sub_b", noon).ID
	require.NoError(t, s.DeleteSubscription(ctx, gone))
	require.Empty(t, toAskAt(t, s, noon.Add(time.Hour), 10))
}

func TestAPendingSubscriptionIsNoCandidate(t *testing.T) {
	s := open(t)
	id := asking(t, s, "sub_a", time.Unix(1e9, 0)).ID
	candidates := func() (found []string) {
		require.NoError(t, s.EachCandidate(ctx, "orders", func(c Candidate) { found = append(found, c.Subscription) }))
		return found
	}
	require.Empty(t, candidates())
	_, err := s.ChangeSubscription(ctx, id, func(sub *contract.Subscription) error {
		sub.Consented(contract.VerifyHandshake, 0, time.Now())
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{id}, candidates())
}

func TestQuestionsAreBoundedByConsumerAndByHost(t *testing.T) {
	s, other := pair(t)
	ask := func(s *Store, consumer, host string) bool {
		wait, err := s.MayAsk(ctx, consumer, host)
		require.NoError(t, err)
		require.Less(t, wait, 2*time.Second)
		return wait == 0
	}
	allowed := 0
	for i := range 50 {
		if ask([]*Store{s, other}[i%2], "con_1", "a.example") {
			allowed++
		}
	}
	require.InDelta(t, asksOfConsumer.Burst, allowed, 2, "of one consumer")
	for i := range 100 {
		if ask(s, string(rune('A'+i)), "a.example") {
			allowed++
		}
	}
	require.InDelta(t, asksToHost.Burst, allowed, 3, "to one host, whoever asks for it")
	require.True(t, ask(s, "con_2", "b.example"), "others are not held up")
	for _, key := range keysLeft(t, s) {
		require.Contains(t, key, s.key.askRate(""))
	}
}

func TestARatePerMinuteHolds(t *testing.T) {
	s := open(t)
	got := take(t, s, Ask{"sub_1", 10.0 / 60, 3})
	require.Equal(t, 1, got[0].Allowed, "ten a minute are one at a time")
	require.InDelta(t, 6, got[0].Wait.Seconds(), 0.3)
	got = take(t, s, Ask{"sub_2", 1.0 / 60, 1}, Ask{"sub_3", 150.0 / 60, 10})
	require.InDelta(t, 60, got[0].Wait.Seconds(), 0.3)
	require.Equal(t, 3, got[1].Allowed)
	require.InDelta(t, 0.4, got[1].Wait.Seconds(), 0.1)
}
