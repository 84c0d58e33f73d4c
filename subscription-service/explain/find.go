package explain

import (
	"context"
	"errors"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// Archive is what is read; *broker.Link and *rabbit.Conn are one.
type Archive interface {
	ReadStream(ctx context.Context, queue string, from rabbit.StreamOffset, handle func(ctx context.Context, batch []rabbit.StreamMessage) error) error
}

const (
	// patience bounds a search: nobody waits longer for an explanation.
	patience = 3 * time.Second
	// margin: the broker's clock, by which it finds a time, may be ahead of the listener's.
	margin = time.Minute
)

// Find searches the archive for an event that the listener took at a time or later; nil if it is not there, or too far.
func Find(ctx context.Context, archive Archive, queue string, taken time.Time, is func(contract.Archived) bool) (*contract.Archived, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var found *contract.Archived
	err := archive.ReadStream(ctx, queue, rabbit.StreamOffset{At: taken.Add(-margin)}, func(_ context.Context, batch []rabbit.StreamMessage) error {
		for _, m := range batch {
			if found = among(m, is); found != nil {
				return rabbit.ErrStopReading
			}
		}
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return found, err
}

// among looks into a pack. What is none is a marker of a replay.
func among(m rabbit.StreamMessage, is func(contract.Archived) bool) *contract.Archived {
	events, err := contract.DecodePack(m.ContentType, m.Body)
	if err != nil {
		return nil
	}
	for i := range events {
		if is(events[i]) {
			return &events[i]
		}
	}
	return nil
}
