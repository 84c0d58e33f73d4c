package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/callback"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/stats"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// mail are the calls by which a consumer collects deliveries: as server-sent events, or by long polls.
type mail struct {
	store     *store.Store
	open      *streams
	news      *mailNews
	now       func() time.Time
	stats     *stats.Counter
	log       *zap.Logger
	collected prometheus.Counter
}

const (
	pathStream = pathSubscription + "/stream"
	pathAck    = pathStream + "/ack"

	// aheadLetters and aheadBytes bound what is read of a mailbox before the client has taken it.
	aheadLetters, aheadBytes = 64, 1 << 20
	// pollBytes bounds an answer to a poll, unless a single letter has more.
	pollBytes = 4 << 20
	// lookAgain is how often a mailbox is looked into of which nothing is heard: the subscription may be paused.
	lookAgain = 15 * time.Second
	// mostPlace is beyond every place that there will be; JSON numbers and Redis's scores are exact up to it.
	mostPlace = 1 << 53
	// ackAtOnce is how many letters are acknowledged in one round.
	ackAtOnce = 256
)

func newMail(o Options, open *streams, news *mailNews, counter *stats.Counter) mail {
	collected := prometheus.NewCounter(prometheus.CounterOpts{Name: "webhook_mailbox_collected_total", Help: "Deliveries that were acknowledged by who collected them."})
	o.Metrics.MustRegister(collected)
	return mail{o.Store, open, news, o.Now, counter, o.Log, collected}
}

const streamDescription = "For a subscription of mode pull. As server-sent events each delivery is `id` and `data`, the body as a callback would have it " +
	"(in base64 where it is no UTF-8 or has a CR: then content-transfer-encoding in headers says so), and a line `headers`, JSON, with webhook-id, webhook-timestamp and webhook-signature, " +
	"which parsers of event streams leave alone. It begins after `Last-Event-ID`, or with the oldest that is not acknowledged. With `Accept: application/json`, or `wait`, it is a long poll: " +
	"the answer comes as soon as there is a delivery. What is not acknowledged comes again in the next stream or poll; `ack` acknowledges."

func (m mail) register(api huma.API) {
	op := streamOperation("collect", pathStream, "Collect deliveries, as they come or by long polls", http.StatusConflict)
	op.Description = streamDescription
	op.Responses["200"].Content[mediaJSON] = &huma.MediaType{Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[pollBody](), true, "PollBody")}
	register(api, op, m.collect)
	register(api, operation("acknowledge", http.MethodPost, pathAck, "Acknowledge deliveries that were collected", http.StatusBadRequest,
		http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType), m.acknowledge)
}

type collectRequest struct {
	Own
	Accept      string `header:"Accept" maxLength:"500"`
	LastEventID string `header:"Last-Event-ID" maxLength:"20" doc:"the id of the last delivery that was taken"`
	Last        string `query:"last_event_id" maxLength:"20" doc:"as Last-Event-ID, for who can set no header"`
	Ack         string `query:"ack" maxLength:"20" doc:"auto: what Last-Event-ID names, and all before it, is acknowledged; or an id that is, with all before it"`
	Wait        string `query:"wait" maxLength:"10" doc:"how long a poll waits for a delivery, up to 30s; makes the call a poll" example:"20s"`
	Limit       int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"of a poll"`
}

// mostWait bounds a poll: the gateway waits for an answer a minute.
const mostWait = 30 * time.Second

func (in *collectRequest) polls() bool {
	return in.Wait != "" || strings.Contains(in.Accept, mediaJSON) && !strings.Contains(in.Accept, mediaEvents)
}

// collecting is what a call says in texts.
type collecting struct {
	after, ack int64
	wait       time.Duration
}

func (in *collectRequest) read() (a collecting, err error) {
	var errs []error
	place := func(field, text string) int64 {
		n, err := placeOf(text)
		if err != nil {
			errs = append(errs, fault(field, err.Error()))
		}
		return n
	}
	if a.after = place("header.Last-Event-ID", in.LastEventID); in.LastEventID == "" {
		a.after = place("query.last_event_id", in.Last)
	}
	if a.ack = a.after; in.Ack != "auto" {
		a.ack = place("query.ack", in.Ack)
	}
	if in.Wait != "" {
		var d contract.Duration
		if d.UnmarshalText([]byte(in.Wait)) != nil || d < 0 || time.Duration(d) > mostWait {
			errs = append(errs, fault("query.wait", "is not a duration up to 30s: write it as 20s"))
		}
		a.wait = time.Duration(d)
	}
	if len(errs) > 0 {
		return a, unprocessable(errs...)
	}
	return a, nil
}

// placeOf reads an id of a letter; zero for none.
func placeOf(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > mostPlace {
		return 0, errors.New("is no id of a delivery in the mailbox: give one as it came")
	}
	return n, nil
}

func (m mail) collect(ctx context.Context, in *collectRequest) (*huma.StreamResponse, error) {
	a, err := in.read()
	if err != nil {
		return nil, err
	}
	sub, err := ownSubscription(ctx, m.store, in.ID)
	if err != nil {
		return nil, err
	}
	if err := collectable(sub); err != nil {
		return nil, err
	}
	if a.ack > 0 {
		if _, err := m.ackUpTo(ctx, sub, a.ack); err != nil {
			return nil, err
		}
	}
	if in.polls() {
		return m.poll(ctx, sub.ID, a, in.Limit)
	}
	return m.open.answer(ctx, func(ctx context.Context, to *eventWriter) error { return m.stream(ctx, sub.ID, a.after, to) })
}

// collectable refuses a stream of what nothing goes into.
func collectable(sub contract.Subscription) error {
	if !sub.Pulls() {
		return problem(contract.KindConflict, `the subscription's deliveries go to its callback_url: to collect them, make one with "mode":"pull"`)
	}
	return mustBeActive(sub)
}

// stream sends letters after a place, and those that come, until ctx ends or nothing can come any more.
func (m mail) stream(ctx context.Context, id string, after int64, to *eventWriter) error {
	news, done := m.news.wait(id)
	defer done()
	for {
		letters, err := m.read(ctx, id, after, aheadLetters, aheadBytes)
		if err != nil {
			return err
		}
		if len(letters) == 0 {
			pauseFor(ctx, news, lookAgain)
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		events := make([]sse, len(letters))
		for i, l := range letters {
			events[i], after = l.event(), l.place
		}
		if err := to.Send(events...); err != nil {
			return err
		}
	}
}

// pauseFor returns with news, after a time, or with ctx.
func pauseFor(ctx context.Context, news <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-news:
	case <-timer.C:
	}
}

// letter is one that is signed.
type letter struct {
	place    int64
	delivery string
	headers  map[string]string
	body     []byte
}

// read signs what it reads: with the secrets as they are now. What can't be signed ends it.
func (m mail) read(ctx context.Context, id string, after int64, most, size int) ([]letter, error) {
	sub, kept, err := m.store.Letters(ctx, id, after, most, size)
	if err != nil {
		return nil, err
	}
	if sub.Status != contract.StatusActive {
		return nil, errNotActive
	}
	letters := make([]letter, len(kept))
	for i, k := range kept {
		headers, err := callback.Sign(k.Letter, sub, m.now())
		if err != nil {
			return nil, err
		}
		letters[i] = letter{k.Place, k.Command.Delivery, headers, k.Body}
	}
	return letters, nil
}

var errNotActive = errors.New("the subscription is not active any more")

// headerEncoding says that a body is in base64 (RFC 2045, section 6).
const headerEncoding = "content-transfer-encoding"

func (l letter) event() sse {
	headers, data := l.headers, l.body
	if !utf8.Valid(data) || bytes.IndexByte(data, '\r') >= 0 {
		headers[headerEncoding] = "base64"
		data = base64.StdEncoding.AppendEncode(nil, data)
	}
	text, _ := json.Marshal(headers) // texts: never fails
	return sse{ID: strconv.FormatInt(l.place, 10), Data: data, More: []sseField{{"headers", string(text)}}}
}

// pollBody is the answer to a poll.
type pollBody struct {
	Items  []pollItem `json:"items" nullable:"false"`
	LastID string     `json:"last_id,omitempty" doc:"of the last item: acknowledge it when all are dealt with"`
}

type pollItem struct {
	ID         string            `json:"id"`
	DeliveryID string            `json:"delivery_id"`
	Headers    map[string]string `json:"headers" doc:"as a callback would have them, names in lower case"`
	Body       string            `json:"body,omitempty"`
	BodyBase64 string            `json:"body_base64,omitempty" doc:"instead of body where that is no UTF-8"`
}

// poll holds a place among the streams for as long as it waits.
func (m mail) poll(ctx context.Context, id string, a collecting, limit int) (*huma.StreamResponse, error) {
	st, err := m.open.enter(ctx)
	if err != nil {
		return nil, err
	}
	recordOf(ctx).stays = true
	var letters []letter
	err = m.open.hold(ctx, st, func() {}, func(ctx context.Context) error {
		letters, err = m.await(ctx, id, a, limit)
		return err
	})
	switch {
	case errors.Is(err, errNotActive):
		return nil, problem(contract.KindNotActive, "the subscription is not active any more")
	case errors.Is(err, errRevoked), errors.Is(err, errExpired):
		return nil, huma.Error401Unauthorized(err.Error())
	case errors.Is(err, errStopping), errors.Is(err, errUnsure):
		return nil, huma.Error503ServiceUnavailable(err.Error())
	case err != nil:
		return nil, err
	}
	return jsonAnswer(viewOfLetters(letters)), nil
}

// await returns as soon as there is a letter, or none after the wait.
func (m mail) await(ctx context.Context, id string, a collecting, limit int) ([]letter, error) {
	news, done := m.news.wait(id)
	defer done()
	until := time.Now().Add(a.wait)
	for {
		letters, err := m.read(ctx, id, a.after, limit, pollBytes)
		left := time.Until(until)
		if err != nil || len(letters) > 0 || left <= 0 || ctx.Err() != nil {
			return letters, err
		}
		pauseFor(ctx, news, min(left, lookAgain))
	}
}

func viewOfLetters(letters []letter) pollBody {
	view := pollBody{Items: make([]pollItem, len(letters))}
	for i, l := range letters {
		item := pollItem{ID: strconv.FormatInt(l.place, 10), DeliveryID: l.delivery, Headers: l.headers}
		item.Body, item.BodyBase64 = texts(l.body)
		view.Items[i], view.LastID = item, item.ID
	}
	return view
}

// jsonAnswer is the other form of an answer that may be a stream.
func jsonAnswer(v any) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(call huma.Context) {
		call.SetHeader("Content-Type", mediaJSON)
		call.SetStatus(http.StatusOK)
		_ = json.NewEncoder(call.BodyWriter()).Encode(v) // the client hung up: nobody left to tell
	}}
}

// ackBody names what was dealt with.
type ackBody struct {
	ID  string   `json:"id,omitempty" maxLength:"20" doc:"this delivery and all before it"`
	IDs []string `json:"ids,omitempty" maxItems:"1000" doc:"these deliveries alone"`
}

// Resolve checks what the schema can't say.
func (b *ackBody) Resolve(_ huma.Context, prefix *huma.PathBuffer) []error {
	at := prefix.With("")
	var errs []error
	if (b.ID == "") == (len(b.IDs) == 0) {
		errs = append(errs, fault(at+"id", "give either id or ids"))
	}
	if _, err := placeOf(b.ID); err != nil {
		errs = append(errs, fault(at+"id", err.Error()))
	}
	for i, id := range b.IDs {
		if n, err := placeOf(id); err != nil || n == 0 {
			errs = append(errs, fault(fmt.Sprintf("%sids[%d]", at, i), "is no id of a delivery in the mailbox: give one as it came"))
		}
	}
	return errs
}

type ackRequest struct {
	Own
	Body ackBody
}

type ackAnswer struct {
	Body struct {
		Acknowledged int   `json:"acknowledged" doc:"how many were waiting until now"`
		Waiting      int64 `json:"waiting" doc:"how many are left in the mailbox"`
	}
}

func (m mail) acknowledge(ctx context.Context, in *ackRequest) (*ackAnswer, error) {
	sub, err := ownSubscription(ctx, m.store, in.ID)
	if err != nil {
		return nil, err
	}
	if !sub.Pulls() {
		return nil, collectable(sub)
	}
	if err := m.everGiven(ctx, sub.ID, in.Body); err != nil {
		return nil, err
	}
	answer := &ackAnswer{}
	if in.Body.ID != "" {
		place, _ := placeOf(in.Body.ID)
		answer.Body.Acknowledged, err = m.ackUpTo(ctx, sub, place)
	} else {
		answer.Body.Acknowledged, err = m.ackEach(ctx, sub, in.Body.IDs)
	}
	if err == nil {
		answer.Body.Waiting, err = m.store.TakeOut(ctx, sub.ID, nil)
	}
	return answer, err
}

// everGiven refuses ids that no delivery had. One that was acknowledged before, or is too old, is fine.
func (m mail) everGiven(ctx context.Context, id string, body ackBody) error {
	last, err := m.store.LastPlace(ctx, id)
	if err != nil {
		return err
	}
	var errs []error
	check := func(field, text string) {
		if place, _ := placeOf(text); place > last {
			errs = append(errs, fault(field, "is no id that a delivery of this subscription had: give one as it came"))
		}
	}
	check("body.id", body.ID)
	for i, text := range body.IDs {
		check(fmt.Sprintf("body.ids[%d]", i), text)
	}
	if len(errs) > 0 {
		return unprocessable(errs...)
	}
	return nil
}

func (m mail) ackUpTo(ctx context.Context, sub contract.Subscription, place int64) (n int, err error) {
	for {
		waiting, err := m.store.WaitingUpTo(ctx, sub.ID, place, ackAtOnce)
		if err != nil || len(waiting) == 0 {
			return n, err
		}
		if err := m.done(ctx, sub, waiting); err != nil {
			return n, err
		}
		n += len(waiting)
	}
}

func (m mail) ackEach(ctx context.Context, sub contract.Subscription, ids []string) (int, error) {
	places := make([]int64, len(ids))
	for i, text := range ids {
		places[i], _ = placeOf(text)
	}
	waiting, err := m.store.WaitingAt(ctx, sub.ID, places)
	if err != nil || len(waiting) == 0 {
		return 0, err
	}
	return len(waiting), m.done(ctx, sub, waiting)
}

// done records first and takes out then: after a crash in between the same comes again, and is acknowledged again.
func (m mail) done(ctx context.Context, sub contract.Subscription, waiting []store.Waiting) error {
	policy, err := m.store.Policy(ctx, sub.Resource)
	if err != nil {
		return err
	}
	records := make([]store.Record, 0, len(waiting))
	for _, w := range waiting {
		if w.Err == nil {
			records = append(records, store.Record{Delivery: m.succeeded(w), Line: w.Command.Line(), Log: policy.Log})
		}
	}
	if err := m.store.Record(ctx, records); err != nil {
		return err
	}
	if _, err := m.store.TakeOut(ctx, sub.ID, waiting); err != nil {
		return err
	}
	m.collected.Add(float64(len(waiting)))
	m.tell(ctx, sub, records)
	return nil
}

// tell lets live pages and statistics know. It is beside what it tells of: an acknowledgement that is on record has succeeded.
func (m mail) tell(ctx context.Context, sub contract.Subscription, records []store.Record) {
	entries := make([]store.AttemptLog, len(records))
	for i, r := range records {
		waited := r.UpdatedAt.Sub(r.CreatedAt)
		m.stats.Attempt(sub.Resource, sub.ID, true, waited)
		attempt := r.Attempts[0]
		attempt.Timings = &contract.Timings{QueuedMS: contract.Milliseconds(waited)}
		r.Attempts = []contract.Attempt{attempt}
		entries[i] = store.AttemptLog{Delivery: r.Delivery, Policy: r.Log}
	}
	if err := m.store.LogAttempts(ctx, entries); err != nil {
		m.log.Warn("what was collected is not in the log of attempts", zap.Int("count", len(entries)), zap.Error(err))
	}
}

func (m mail) succeeded(w store.Waiting) contract.Delivery {
	now, c := m.now().UTC(), w.Command
	return contract.Delivery{
		ID: c.Delivery, Subscription: c.Subscription, EventID: c.Event.ID(), EventSource: c.Event.Source(), EventType: c.Event.Type(),
		Status: contract.DeliverySucceeded, CreatedAt: c.Created, UpdatedAt: now, AttemptCount: c.Attempt,
		Attempts: []contract.Attempt{{Number: c.Attempt, At: now, Outcome: contract.OutcomeCollected}},
	}
}
