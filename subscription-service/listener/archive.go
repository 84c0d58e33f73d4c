package listener

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// Only replays need the archive, so that no delivery waits for it for long: an archive that does not confirm though the broker
// is there, as a stream whose node is down, is tried a few times, which take some 15 s and longer than a stream needs after its
// broker's restart, and then once in a while.
const (
	archiveTries   = 9
	archiveTimeout = 2 * time.Second
	archiveRest    = time.Minute
)

// archive keeps the events that are not in the archive yet, also those that nobody wants now: a later subscription may.
func (l *Listener) archive(stop, work context.Context, jobs []*job) error {
	var events []contract.Archived
	for _, j := range jobs {
		if j.reason == "" && !j.again {
			events = append(events, contract.Archive(j.event, j.resource, j.taken))
		}
	}
	for part := range contract.Packs(events) {
		if err := l.keep(stop, work, part); err != nil {
			return err
		}
	}
	return nil
}

// keep fails only if stop ends while the broker is away.
func (l *Listener) keep(stop, work context.Context, events []contract.Archived) error {
	if l.Now().Before(l.archiveAgain) {
		l.Metrics.unarchived.Add(float64(len(events)))
		return nil
	}
	body, err := contract.EncodePack(events)
	if err != nil {
		l.notArchived(events, err)
		return nil
	}
	message := l.Names.ToArchive(rabbit.Message{ContentType: contract.MediaPack, Timestamp: events[0].Taken, Body: body})
	tries := 0
	return l.untilItWorks(stop, "archiving events", func() error {
		ctx, cancel := context.WithTimeout(work, archiveTimeout)
		defer cancel()
		err := l.Publisher.Publish(ctx, message)
		if err == nil {
			l.archiveAgain = time.Time{}
		}
		if err == nil || work.Err() != nil || errors.Is(err, rabbit.ErrUnavailable) {
			return err
		}
		tooLarge := errors.Is(err, rabbit.ErrTooLarge)
		if tries++; tries < archiveTries && !tooLarge && l.archiveAgain.IsZero() {
			return err
		}
		if !tooLarge {
			l.archiveAgain = l.Now().Add(archiveRest)
		}
		l.notArchived(events, err)
		return nil
	})
}

// notArchived: replays will miss the events, but their deliveries are not held up.
func (l *Listener) notArchived(events []contract.Archived, err error) {
	l.Metrics.unarchived.Add(float64(len(events)))
	l.Log.Error("events can't be archived: no replay will find them", zap.Int("count", len(events)), zap.Error(err))
}
