package listener

import (
	"context"
	"errors"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Catalogue says what is wrong with an event by the schemas and the policy of its resource; *catalogue.Catalogue is one.
type Catalogue interface {
	// Check returns refuse for an event that must not be taken, warn for one that is to be counted and taken.
	// catalogue.ErrNotLoaded says nothing of the event.
	Check(resource string, e *event.Event) (warn, refuse error)
}

// check makes dead letters of the events that the catalogue refuses. It waits for a catalogue that is not loaded yet.
func (l *Listener) check(stop context.Context, jobs []*job) error {
	if l.Catalogue == nil {
		return nil
	}
	for _, j := range alive(jobs) {
		var warn, refuse error
		err := l.untilItWorks(stop, "asking the catalogue", func() error {
			if warn, refuse = l.Catalogue.Check(j.resource, j.event); errors.Is(refuse, catalogue.ErrNotLoaded) {
				return refuse
			}
			return nil
		})
		if err != nil {
			return err
		}
		l.judge(j, warn, refuse)
	}
	return nil
}

func (l *Listener) judge(j *job, warn, refuse error) {
	l.Metrics.violations.Count(j.resource, contract.SchemaWarn, warn)
	l.Metrics.violations.Count(j.resource, contract.SchemaReject, refuse)
	if refuse != nil {
		j.reason, j.dead = refuse.Error(), deadCatalogue
		return
	}
	if warn != nil {
		l.Log.Info("an event breaks the schema of its type", zap.String("resource", j.resource), zap.String("type", contract.Printable(j.event.Type())),
			zap.String("source", contract.Printable(j.event.Source())), zap.String("id", contract.Printable(j.event.ID())), zap.Error(warn))
	}
}
