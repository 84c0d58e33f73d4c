package contract

import (
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// TestEventType is the type of a test event. Whatever a subscription asks for, it gets its own test event, and as it is.
const TestEventType = "webhook.test"

// NewTestEvent is an event for one subscription, without a producer.
func NewTestEvent(sub Subscription, now time.Time) *event.Event {
	e := event.New()
	e.SetID(NewID("evt"))
	e.SetSource(testEventSource(sub.Resource, sub.ID))
	e.SetType(TestEventType)
	e.SetTime(now)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(`{"message":"This is a test event."}`)
	return &e
}

// IsTestEvent tells a subscription's own test events from what a producer may call the same.
func IsTestEvent(e *event.Event, sub Subscription) bool {
	return e.Type() == TestEventType && e.Source() == testEventSource(sub.Resource, sub.ID)
}

// IsTest tells the delivery of such an event, on a resource.
func (d Delivery) IsTest(resource string) bool {
	return d.EventType == TestEventType && d.EventSource == testEventSource(resource, d.Subscription)
}

func testEventSource(resource, subscription string) string {
	return "/" + resource + "/subscribe/" + subscription
}
