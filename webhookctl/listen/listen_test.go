package listen

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is a mailbox in memory, which ends the listener when it is empty.
type box struct {
	letters []Letter
	errs    []error
	end     context.CancelFunc
	collect int
	acks    []int
}

func (b *box) Collect(context.Context) ([]Letter, error) {
	b.collect++
	if len(b.errs) > 0 {
		err := b.errs[0]
		b.errs = b.errs[1:]
		return nil, err
	}
	if len(b.letters) == 0 {
		b.end()
	}
	return b.letters, nil
}

func (b *box) Acknowledge(ctx context.Context, letters ...Letter) error {
	b.acks = append(b.acks, len(letters))
	for _, l := range letters {
		if ctx.Err() != nil || b.letters[0].ID != l.ID {
			return errors.New("another one is first")
		}
		b.letters = b.letters[1:]
	}
	return nil
}

// run listens until the box is empty and returns what was told.
func run(t *testing.T, b *box, hand Hand, change func(*Listener)) (told []Attempt, notes []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b.end = cancel
	l := &Listener{Source: b, Hand: hand, Tell: func(a Attempt) { told = append(told, a) }, Note: func(text string) { notes = append(notes, text) }, Pause: func(context.Context, int) {}, Now: time.Now}
	if change != nil {
		change(l)
	}
	err = l.Run(ctx)
	return told, notes, err
}

func TestALetterIsTriedUntilItIsTakenAndNoneComesBeforeIt(t *testing.T) {
	b := &box{letters: []Letter{{ID: "1"}, {ID: "2"}}}
	answers := []int{500, 0, 302, 204, 200}
	told, _, err := run(t, b, func(context.Context, Letter) (int, error) {
		status := answers[0]
		if answers = answers[1:]; status == 0 {
			return 0, errors.New("connection refused")
		}
		return status, nil
	}, nil)
	require.NoError(t, err)
	require.Empty(t, b.letters)
	require.Equal(t, []int{2}, b.acks, "together")
	require.Len(t, told, 5)
	for i, want := range []struct {
		id     string
		number int
		taken  bool
	}{{"1", 1, false}, {"1", 2, false}, {"1", 3, false}, {"1", 4, true}, {"2", 1, true}} {
		require.Equal(t, want.id, told[i].Letter.ID)
		require.Equal(t, want.number, told[i].Number)
		require.Equal(t, want.taken, told[i].Taken())
	}
}

func TestWhatWasTakenIsAcknowledgedBeforeAWaitAndAtTheEnd(t *testing.T) {
	b := &box{letters: []Letter{{ID: "1"}, {ID: "2"}, {ID: "3"}}}
	_, _, err := run(t, b, func(_ context.Context, l Letter) (int, error) {
		if l.ID == "2" && len(b.acks) == 0 {
			return 500, nil
		}
		if l.ID == "3" {
			b.end()
			return 0, context.Canceled
		}
		return 200, nil
	}, nil)
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, b.acks)
	require.Equal(t, []Letter{{ID: "3"}}, b.letters, "what was interrupted comes again")
}

func TestAnOldSignatureIsCollectedAnew(t *testing.T) {
	b := &box{letters: []Letter{{ID: "1"}}}
	now, tries := time.Unix(1e9, 0), 0
	told, _, err := run(t, b, func(context.Context, Letter) (int, error) {
		if tries++; tries < 4 {
			return 503, nil
		}
		return 200, nil
	}, func(l *Listener) {
		l.Now = func() time.Time { return now }
		l.Pause = func(context.Context, int) { now = now.Add(3 * time.Minute) }
	})
	require.NoError(t, err)
	require.Equal(t, 3, b.collect, "once more for the fresh signature, once for nothing")
	require.Equal(t, 4, told[3].Number, "attempts are counted on")
}

func TestAGatewayThatIsAwayIsWaitedForAndARefusalIsNot(t *testing.T) {
	b := &box{errs: []error{exit.With(exit.Unavailable, errors.New("away"))}, letters: []Letter{{ID: "1"}}}
	_, notes, err := run(t, b, func(context.Context, Letter) (int, error) { return 200, nil }, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"away"}, notes)
	b = &box{errs: []error{exit.With(exit.Refused, errors.New("no grant"))}}
	_, _, err = run(t, b, nil, nil)
	require.Equal(t, exit.Refused, exit.Of(err))
}

func TestWhatIsForwardedIsWhatAnEndpointWouldGet(t *testing.T) {
	var got *http.Request
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got, body = r, string(raw)
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	forward := Forward(server.URL+"/hooks?a=b", time.Second)
	status, err := forward(t.Context(), Letter{Header: http.Header{"Webhook-Id": {"dlv_1"}, "Content-Type": {"application/cloudevents+json"}, "X-Team": {"billing"}}, Body: []byte(`{"a": 1.0}`)})
	require.NoError(t, err)
	require.Equal(t, http.StatusFound, status, "no redirect is followed")
	require.Equal(t, "POST /hooks?a=b dlv_1 application/cloudevents+json billing", got.Method+" "+got.URL.RequestURI()+" "+got.Header.Get("webhook-id")+" "+got.Header.Get("content-type")+" "+got.Header.Get("x-team"))
	require.Equal(t, `{"a": 1.0}`, body)
	server.Close()
	_, err = forward(t.Context(), Letter{Header: http.Header{}})
	require.ErrorContains(t, err, "refused")
	require.NotContains(t, err.Error(), "hooks")
}
