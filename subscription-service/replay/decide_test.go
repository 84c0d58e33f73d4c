package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestAgain(t *testing.T) {
	asked := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	since, until := asked.Add(-2*time.Hour), asked.Add(-time.Hour)
	inside, before, after := since.Add(time.Minute), since.Add(-time.Minute), until.Add(time.Minute)
	const pending, succeeded, failed, canceled = contract.DeliveryPending, contract.DeliverySucceeded, contract.DeliveryFailed, contract.DeliveryCanceled
	record := func(status contract.DeliveryStatus, created, updated time.Time) *contract.Delivery {
		return &contract.Delivery{Status: status, CreatedAt: created, UpdatedAt: updated, AttemptCount: 3}
	}
	for name, c := range map[string]struct {
		status   contract.DeliveryStatus
		delivery string
		record   *contract.Delivery
		taken    time.Time
		attempt  int
	}{
		"never delivered, taken inside":          {taken: inside, attempt: 1},
		"never delivered, taken at since":        {taken: since, attempt: 1},
		"never delivered, taken at until":        {taken: until, attempt: 1},
		"never delivered, taken before":          {taken: before},
		"never delivered, taken after":           {taken: after},
		"never delivered, so never failed":       {status: failed, taken: inside},
		"succeeded":                              {record: record(succeeded, inside, inside), attempt: 4},
		"failed":                                 {record: record(failed, inside, inside), attempt: 4},
		"canceled":                               {record: record(canceled, inside, inside), attempt: 4},
		"on its way":                             {record: record(pending, inside, inside)},
		"on its way, of all that are":            {status: pending, record: record(pending, inside, inside)},
		"the status asked for":                   {status: failed, record: record(failed, inside, inside), attempt: 4},
		"another status":                         {status: failed, record: record(succeeded, inside, inside)},
		"came to be before":                      {record: record(failed, before, inside)},
		"came to be after":                       {record: record(failed, after, after)},
		"the record's time counts":               {record: record(failed, inside, inside), taken: before, attempt: 4},
		"attempted since it was asked":           {record: record(failed, inside, asked.Add(time.Millisecond))},
		"attempted just as it was asked":         {record: record(failed, inside, asked), attempt: 4},
		"the one":                                {delivery: "dlv", record: record(failed, before, before), attempt: 4},
		"the one, with the record gone":          {delivery: "dlv", taken: before, attempt: 1},
		"the one, on its way":                    {delivery: "dlv", record: record(pending, inside, inside)},
		"the one, attempted since it was asked":  {delivery: "dlv", record: record(succeeded, inside, asked.Add(time.Second))},
		"the one, which is to be of that status": {delivery: "dlv", status: failed, record: record(succeeded, inside, inside)},
	} {
		t.Run(name, func(t *testing.T) {
			r := contract.Replay{Since: since, Until: until, CreatedAt: asked, Status: c.status, Delivery: c.delivery}
			attempt, ok := again(r, c.record, c.taken)
			require.Equal(t, c.attempt, attempt)
			require.Equal(t, c.attempt > 0, ok)
		})
	}
}

func TestNoReplayGoesBeyondItsBeginning(t *testing.T) {
	asked := time.Now()
	r := contract.Replay{Since: asked.Add(-time.Hour), Until: asked.Add(time.Hour), CreatedAt: asked}
	_, ok := again(r, nil, asked.Add(time.Second))
	require.False(t, ok)
}
