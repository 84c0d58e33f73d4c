package listener

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/index"
)

// job is one message of a batch on its way through the stages.
type job struct {
	message   rabbit.Message
	event     *event.Event
	vars      *expr.Vars
	resource  string
	exists    bool      // the resource does
	taken     time.Time // by the listener; milliseconds count
	published time.Time // zero: not known
	wanted    []store.Candidate
	large     bool       // wanted by more than go in one line with other events; wanted is empty then
	commands  int        // how many are confirmed
	again     bool       // its commands were published before, and it is in the archive
	reason    string     // why it is dead; "" while it is not
	dead      deadReason // the same, in a word
	stuck     bool       // not even the dead letter can be sent
	span      tracing.Span
	// parent and state are the trace context of the job's commands; empty where the event says all there is to say.
	parent, state string
}

// read never fails: what is no event gets the reason.
func read(messages []rabbit.Message, taken time.Time) []*job {
	jobs := make([]*job, len(messages))
	for i, m := range messages {
		jobs[i] = &job{message: m, taken: taken}
		jobs[i].read()
	}
	return jobs
}

func (j *job) read() {
	j.resource, _, _ = strings.Cut(j.message.RoutingKey, ".")
	if j.reason = refusal(j.message, j.resource); j.reason != "" {
		j.dead = deadRefused
		return
	}
	e, err := contract.ParseEvent(j.message.ContentType, j.message.Headers, j.message.Body)
	if err != nil {
		j.reason, j.dead = err.Error(), deadUnreadable
		return
	}
	j.event, j.vars = e, expr.NewVars(e)
}

// refusal is what can be said before the event is read.
func refusal(m rabbit.Message, resource string) string {
	if m.RoutingKey == "" {
		return "the routing key is empty: start it with the resource, as in orders.order.created"
	}
	if err := contract.ValidateResource(resource); err != nil {
		return "routing key: " + err.Error()
	}
	if len(m.Body) > contract.MaxEvent {
		return fmt.Sprintf("the body has %d bytes: an event may have at most %d; put large data elsewhere and send its address", len(m.Body), contract.MaxEvent)
	}
	switch encoding := strings.ToLower(m.ContentEncoding); encoding {
	case "gzip", "x-gzip", "deflate", "br", "zstd", "compress":
		return "content-encoding " + encoding + ": send the event uncompressed"
	}
	return ""
}

// alive leaves out what is no event.
func alive(jobs []*job) []*job {
	return slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return j.reason != "" })
}

// key is what makes two events the same one.
func (j *job) key() store.EventKey {
	return store.EventKey{Resource: j.resource, Source: j.event.Source(), ID: j.event.ID()}
}

func keysOf(jobs []*job) []store.EventKey {
	keys := make([]store.EventKey, len(jobs))
	for i, j := range jobs {
		keys[i] = j.key()
	}
	return keys
}

// resourcesOf returns the distinct resources of the jobs.
func resourcesOf(jobs []*job) []string {
	seen := map[string]bool{}
	for _, j := range jobs {
		seen[j.resource] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// dropRepeated takes the subscriptions from every event that had its commands before, be it in the same batch.
func dropRepeated(jobs []*job, seen []bool) {
	met := map[store.EventKey]bool{}
	for i, j := range jobs {
		key := j.key()
		if j.again = seen[i] || met[key]; j.again {
			j.wanted, j.large = nil, false
		}
		met[key] = met[key] || len(j.wanted) > 0 || j.large
	}
}

func (j *job) match(view *index.View) {
	if !view.Exists(j.resource) {
		j.reason, j.dead = fmt.Sprintf("resource %q does not exist: create it, or correct the routing key", j.resource), deadNoResource
		return
	}
	j.exists = true
	found, n := view.Match(j.resource, j.event.Type(), mostInLine)
	j.wanted, j.large = found, n > mostInLine
}

func (j *job) command(wants store.Candidate) contract.Command {
	c := contract.NewCommand(j.event, wants.Subscription, j.resource, j.taken)
	c.Ordered, c.Pull, c.Published = wants.Ordered, wants.Pulls, j.published
	c.TraceParent, c.TraceState = j.parent, j.state
	return c
}

// passing leaves those whose filter lets the event through.
func (l *Listener) passing(j *job, found []store.Candidate) []store.Candidate {
	return slices.DeleteFunc(found, func(c store.Candidate) bool { return !l.passes(j, c) })
}

// passes evaluates a candidate's filter. What can't be said is no: the filter may be about fields that other events have.
func (l *Listener) passes(j *job, c store.Candidate) bool {
	if c.Filter == "" {
		return true
	}
	filter, err := l.Filters.Filter(c.Filter)
	if err == nil {
		var is bool
		if is, err = filter.Match(j.vars); err == nil {
			return is
		}
	}
	l.Metrics.filterErrors.Of(j.label(l.Metrics)).Inc()
	if line := l.Log.Check(zap.DebugLevel, "a filter can't be evaluated"); line != nil {
		line.Write(zap.String("subscription", c.Subscription), zap.Error(err))
	}
	return false
}
