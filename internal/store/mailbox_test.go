package store

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func deposit(n int, body string) Deposit {
	e := event.New()
	e.SetID(fmt.Sprint(n))
	e.SetSource("/shop")
	e.SetType("order.created")
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(body)
	return Deposit{
		contract.Letter{Command: contract.NewCommand(&e, "sub_1", "orders", start), Header: map[string]string{"content-type": "application/json"}, Body: []byte(body)},
		"sub_1", "orders",
	}
}

// mailed is a store with a subscription that pulls.
func mailed(t *testing.T, policy string) *Store {
	t.Helper()
	s := open(t)
	_, err := s.PutResource(ctx, contract.Resource{Name: "orders", Policy: []byte(policy)})
	require.NoError(t, err)
	sub := subscription("sub_1")
	sub.CallbackURL, sub.Mode = "", contract.ModePull
	create(t, s, sub)
	return s
}

func mail(t *testing.T, s *Store, deposits ...Deposit) []Deposited {
	t.Helper()
	became, err := s.Deposit(ctx, deposits)
	require.NoError(t, err)
	return became
}

func letters(t *testing.T, s *Store, after int64, most, bytes int) []Kept {
	t.Helper()
	sub, kept, err := s.Letters(ctx, "sub_1", after, most, bytes)
	require.NoError(t, err)
	require.Equal(t, "sub_1", sub.ID)
	require.NotEmpty(t, sub.Secrets, "what signs them comes with them")
	return kept
}

func TestLettersComeInOrderAndOnceAndAreReadFromAPlaceOn(t *testing.T) {
	s := mailed(t, "")
	trips := s.exchanged.roundTrips.Load()
	require.Equal(t, []Deposited{LetterThere, LetterThere, LetterThere}, mail(t, s, deposit(1, "1"), deposit(2, "22"), deposit(1, "1")))
	require.Equal(t, []Deposited{LetterThere, LetterThere}, mail(t, s, deposit(2, "22"), deposit(3, "333")))
	require.LessOrEqual(t, s.exchanged.roundTrips.Load()-trips, uint64(4), "a batch is one round trip, once the script is known")
	all := letters(t, s, 0, 10, 1000)
	require.Len(t, all, 3)
	for i, l := range all {
		require.Equal(t, deposit(i+1, string(l.Body)).Letter, l.Letter)
		require.WithinDuration(t, time.Now(), l.Since, time.Minute)
		require.Greater(t, l.Place, int64(1_700_000_000_000_000))
	}
	require.Equal(t, all[1:], letters(t, s, all[0].Place, 10, 1000))
	require.Equal(t, all[:2], letters(t, s, 0, 2, 1000))
	require.Len(t, letters(t, s, 0, 10, 1), 1, "one, however long it is")
	last, err := s.LastPlace(ctx, "sub_1")
	require.NoError(t, err)
	require.Equal(t, all[2].Place, last)
}

func TestALaterAttemptTakesThePlaceOfAnEarlierOneAtTheEnd(t *testing.T) {
	s := mailed(t, "")
	mail(t, s, deposit(1, "1"), deposit(2, "2"))
	before, err := s.WaitingAt(ctx, "sub_1", []int64{letters(t, s, 0, 1, 1)[0].Place})
	require.NoError(t, err)
	again := deposit(1, "9")
	again.Command.Attempt = 2
	mail(t, s, again)
	left, err := s.TakeOut(ctx, "sub_1", before)
	require.NoError(t, err)
	require.Equal(t, int64(2), left, "what came since is not what was read")
	all := letters(t, s, 0, 10, 1000)
	require.Equal(t, []string{"2", "9"}, []string{string(all[0].Body), string(all[1].Body)})
}

func TestAMailboxIsBoundedAndHasRoomAgainOnceLettersAreTakenOut(t *testing.T) {
	s := mailed(t, `{"mailbox":{"max_bytes":4000}}`)
	big := string(bytes.Repeat([]byte("1"), 1000))
	require.Equal(t, []Deposited{LetterThere, LetterThere, LetterNoRoom, LetterNoRoom, LetterTooLarge, LetterThere},
		mail(t, s, deposit(1, big), deposit(2, big), deposit(3, big), deposit(4, "1"), deposit(5, big+big+big+big), deposit(1, big)),
		"after the first for which there is no room there is none for shorter ones")
	all, err := s.WaitingUpTo(ctx, "sub_1", 1<<53, 10)
	require.NoError(t, err)
	require.Len(t, all, 2)
	left, err := s.TakeOut(ctx, "sub_1", all)
	require.NoError(t, err)
	require.Zero(t, left)
	left, err = s.TakeOut(ctx, "sub_1", all)
	require.NoError(t, err)
	require.Zero(t, left)
	require.Equal(t, []Deposited{LetterThere, LetterThere, LetterNoRoom}, mail(t, s, deposit(3, big), deposit(4, big), deposit(5, big)))
	require.Greater(t, letters(t, s, 0, 1, 1)[0].Place, all[1].Place, "places grow, though the mailbox was empty")
}

func TestHeadsAreReadByPlaceAndUpToOne(t *testing.T) {
	s := mailed(t, "")
	mail(t, s, deposit(1, "1"), deposit(2, "2"), deposit(3, "3"))
	all := letters(t, s, 0, 10, 1000)
	found, err := s.WaitingUpTo(ctx, "sub_1", all[1].Place, 10)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Equal(t, "2", found[1].Command.Event.ID())
	found, err = s.WaitingAt(ctx, "sub_1", []int64{all[2].Place, 5, all[0].Place})
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Equal(t, all[2].Command.Delivery, found[0].Delivery)
}

func TestALetterThatIsDamagedHoldsNoOtherUp(t *testing.T) {
	s := mailed(t, "")
	mail(t, s, deposit(1, "1"), deposit(2, "2"))
	first := letters(t, s, 0, 1, 1)[0]
	id := first.Command.Delivery
	require.NoError(t, s.rdb.HSet(ctx, s.key.mailHeads("sub_1"), id, fmt.Sprintf("%d 10 1 1\nnonsense", first.Place)).Err())
	require.Len(t, letters(t, s, 0, 10, 1000), 1)
	found, err := s.WaitingUpTo(ctx, "sub_1", 1<<53, 10)
	require.NoError(t, err)
	require.ErrorIs(t, found[0].Err, ErrDamaged)
	left, err := s.TakeOut(ctx, "sub_1", found[:1])
	require.NoError(t, err)
	require.Equal(t, int64(1), left)
}

func TestAMailboxEndsWithItsSubscription(t *testing.T) {
	s := mailed(t, "")
	mail(t, s, deposit(1, "1"))
	require.NoError(t, s.DeleteSubscription(ctx, "sub_1"))
	require.Equal(t, []Deposited{LetterGone}, mail(t, s, deposit(2, "2")))
	_, _, err := s.Letters(ctx, "sub_1", 0, 1, 1)
	require.ErrorIs(t, err, ErrNotFound)
	for _, key := range keysLeft(t, s) {
		require.NotContains(t, key, ":mail")
	}
}

func TestAMailboxIsSweptWhileThereIsSomethingInIt(t *testing.T) {
	s := mailed(t, "")
	mail(t, s, deposit(1, "1"))
	due := func(at time.Time) []string {
		found, err := s.MailboxesToSweep(ctx, at, time.Minute, 10)
		require.NoError(t, err)
		return found
	}
	now := time.Now()
	require.Empty(t, due(now.Add(-time.Minute)))
	require.Equal(t, []string{"sub_1"}, due(now.Add(time.Minute)))
	require.Empty(t, due(now.Add(90*time.Second)), "it is somebody's")
	require.NoError(t, s.SweepAgain(ctx, "sub_1", now.Add(time.Hour)))
	require.Empty(t, due(now.Add(30*time.Minute)))
	require.Equal(t, []string{"sub_1"}, due(now.Add(2*time.Hour)))
	all, err := s.WaitingUpTo(ctx, "sub_1", 1<<53, 10)
	require.NoError(t, err)
	_, err = s.TakeOut(ctx, "sub_1", all)
	require.NoError(t, err)
	require.NoError(t, s.SweepAgain(ctx, "sub_1", now))
	require.Empty(t, due(now.Add(9*time.Hour)))
	require.NoError(t, s.ForgetMailbox(ctx, "sub_1"))
}

func TestNewsOfMailComeToEveryProcess(t *testing.T) {
	s := mailed(t, "")
	heard, begun := make(chan string, 10), make(chan struct{}, 10)
	listening, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- s.MailNews(listening, func(sub string) { heard <- sub }, func() { begun <- struct{}{} })
	}()
	<-begun
	mail(t, s, deposit(1, "1"))
	require.Equal(t, "sub_1", <-heard)
	require.NoError(t, s.DeleteSubscription(ctx, "sub_1"))
	require.Equal(t, "sub_1", <-heard)
	stop()
	require.NoError(t, <-done)
}

func TestACandidateTellsThatItPulls(t *testing.T) {
	sub := subscription("sub_1")
	sub.Mode, sub.Ordering = contract.ModePull, contract.OrderingSubject
	require.Equal(t, &Candidate{Subscription: "sub_1", Types: []string{}, Ordered: true, Pulls: true}, candidateOf("sub_1", candidate(sub)))
	sub.Ordering = ""
	require.Equal(t, &Candidate{Subscription: "sub_1", Types: []string{}, Pulls: true}, candidateOf("sub_1", candidate(sub)))
}

func TestAPendingDeliveryCanLeaveItsLine(t *testing.T) {
	s := mailed(t, "")
	require.NoError(t, s.JoinLines(ctx, []Place{{"line_1", "dlv_1"}, {"line_1", "dlv_2"}}))
	d := contract.Delivery{ID: "dlv_1", Subscription: "sub_1", Status: contract.DeliveryPending, CreatedAt: start, UpdatedAt: start}
	require.NoError(t, s.Record(ctx, []Record{{Delivery: d, Line: "line_1", Passed: true}}))
	standing, err := s.Standings(ctx, []Pending{{Delivery: "dlv_2", Subscription: "sub_1", Resource: "orders", Line: "line_1"}})
	require.NoError(t, err)
	require.Nil(t, standing[0].Ahead)
}
