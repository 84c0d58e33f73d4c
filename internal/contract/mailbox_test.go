package contract

import (
	"errors"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
)

func letterEvent(data string) *event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("/shop")
	e.SetType("order.created")
	e.SetSubject("o-1")
	e.SetExtension("number", int32(7))
	e.SetExtension("yes", true)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(data)
	return &e
}

func TestALetterKeepsTheCommandWhateverTheFormatMadeOfIt(t *testing.T) {
	e := letterEvent(`{"total":1}`)
	structured, err := WriteStructured(e)
	require.NoError(t, err)
	command := NewCommand(e, "sub_1", "orders", time.UnixMilli(1_700_000_000_000).UTC())
	command.Attempt, command.First, command.Replay, command.Ordered, command.Pull = 3, 2, "rpl_1", true, true
	for name, l := range map[string]Letter{
		"structured": {command, map[string]string{"content-type": "application/cloudevents+json"}, structured},
		"data":       {command, map[string]string{"content-type": "application/json"}, e.Data()},
		"transform":  {command, map[string]string{"content-type": "application/json"}, []byte("{\"id\":\n1}")},
		"no body":    {command, map[string]string{}, []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			head, content := l.Encode()
			got, err := DecodeLetter(head, content)
			require.NoError(t, err)
			require.Equal(t, l, got)
			_, want, data := command.Encode()
			_, headers, gotData := got.Command.Encode()
			require.Equal(t, want, headers)
			require.Equal(t, data, gotData)
			short, err := DecodeLetterHead(head)
			require.NoError(t, err)
			require.Equal(t, command.Delivery, short.Delivery)
			require.Equal(t, command.Event.Subject(), short.Event.Subject())
		})
	}
}

func TestAMailboxPolicyIsBounded(t *testing.T) {
	for field, p := range map[string]MailboxPolicy{
		"mailbox.max_bytes": {MaxBytes: MinMailboxBytes - 1}, "mailbox.max_age": {MaxAge: Duration(169 * time.Hour)},
	} {
		faults := Policy{Mailbox: p}.Check()
		require.Len(t, faults, 1)
		require.Equal(t, field, faults[0].Field)
	}
	require.Empty(t, Policy{Mailbox: MailboxPolicy{MaxBytes: MinMailboxBytes, MaxAge: Duration(time.Hour)}}.Check())
	require.Equal(t, DefaultMailboxAge, MailboxPolicy{}.Age())
}

func TestOnlyASubscriptionThatPullsIsAnotherForItsMode(t *testing.T) {
	push := Subscription{Consumer: "con_1", Resource: "orders", CallbackURL: "https://a.example"}
	pull := push
	pull.Mode = ModePull
	require.NotEqual(t, push.Asked(), pull.Asked())
	require.NotContains(t, string(push.Asked()), "push", "the fingerprints that are kept stay right")
}

func FuzzDecodeLetter(f *testing.F) {
	head, content := Letter{NewCommand(letterEvent("1"), "sub_1", "orders", time.Now()), map[string]string{"content-type": "a/b"}, []byte("x")}.Encode()
	f.Add(head, content)
	f.Add([]byte("{}"), []byte(`{"body":-1}`))
	f.Fuzz(func(t *testing.T, head, content []byte) {
		if _, err := DecodeLetter(head, content); err != nil && !errors.Is(err, ErrLetter) {
			t.Fatalf("%v is not ErrLetter", err)
		}
	})
}
