package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// The audit log is one stream for each sort of writer, so that none can push out what another one did: consumers make their
// subscriptions as often as they like, and nobody in particular can be refused without end.
var auditStreams = []string{string(contract.ActorAdmin), string(contract.ActorConsumer), string(contract.ActorService), auditRefused}

const (
	auditRefused = "refused"
	// auditStep is how many entries of each stream are read at a time, auditScanned how many one page looks at.
	auditStep    = 250
	auditScanned = 5000
	// mostAudited is about how many entries a stream keeps unless Options say otherwise.
	mostAudited = 100_000
)

func streamOf(e contract.AuditEntry) string {
	switch {
	case e.Refused():
		return auditRefused
	case e.Actor.Kind == contract.ActorUnknown: // who need not say who they are, as with the link of a late consent
		return string(contract.ActorConsumer)
	}
	return string(e.Actor.Kind)
}

// BegunAudit is an entry that was written before its end was known.
type BegunAudit struct{ stream, id string }

// BeginAudit writes that something is about to be done. Do it only if that succeeds.
func (s *Store) BeginAudit(ctx context.Context, e contract.AuditEntry) (BegunAudit, error) {
	stream := streamOf(e)
	id, err := s.rdb.XAdd(ctx, s.auditing(stream, e)).Result()
	if err != nil {
		return BegunAudit{}, fmt.Errorf("writing the audit log: %w", err)
	}
	return BegunAudit{stream, id}, nil
}

// EndAudit writes an entry with its end, in the place of the one that was begun; of the zero value there is none.
func (s *Store) EndAudit(ctx context.Context, begun BegunAudit, e contract.AuditEntry) error {
	pipe := s.rdb.TxPipeline()
	if begun.id != "" {
		pipe.XDel(ctx, s.key.audit(begun.stream), begun.id)
	}
	pipe.XAdd(ctx, s.auditing(streamOf(e), e))
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	return nil
}

func (s *Store) auditing(stream string, e contract.AuditEntry) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: s.key.audit(stream), MaxLen: s.audited, Approx: true, Values: []any{"e", encode(e)}}
}

type calledKey struct{}

// Called marks a context as that of a call whose audit entry the caller writes. Every other change of a subscription is the
// service's own, and the script that makes it writes the entry.
func Called(ctx context.Context) context.Context { return context.WithValue(ctx, calledKey{}, true) }

// ownChange is the entry of a change that nobody called for; "" for any other.
func (s *Store) ownChange(ctx context.Context, before, after contract.Subscription) string {
	if ctx.Value(calledKey{}) != nil {
		return ""
	}
	return encode(contract.AuditEntry{
		Actor: contract.Actor{Kind: contract.ActorService, ID: s.service}, Action: "change-subscription",
		Object: "/" + after.Resource + "/subscribe/" + after.ID, Status: http.StatusOK, Fields: changedFields(before, after), Reason: after.StatusReason,
	})
}

// changedFields names what differs, but for what differs after every change.
func changedFields(before, after contract.Subscription) []string {
	was, is := membersOf(before), membersOf(after)
	var names []string
	for name := range maps.Keys(merged(was, is)) {
		if name != "revision" && name != "updated_at" && !bytes.Equal(was[name], is[name]) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func merged(a, b map[string]json.RawMessage) map[string]json.RawMessage {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func membersOf(sub contract.Subscription) (members map[string]json.RawMessage) {
	_ = json.Unmarshal([]byte(encode(sub)), &members) // an object, as it was just made
	return members
}

// AuditQuery asks for entries, newest first. What is zero asks for all.
type AuditQuery struct {
	// Actor is a kind or an id, Object a path or a segment of one.
	Actor, Action, Object string
	Since, Until          time.Time
	Cursor                string
	Limit                 int
}

func (q AuditQuery) matches(e contract.AuditEntry) bool {
	return (q.Actor == "" || q.Actor == e.Actor.ID || q.Actor == string(e.Actor.Kind)) && (q.Action == "" || q.Action == e.Action) &&
		(q.Object == "" || q.Object == e.Object || slices.Contains(strings.Split(e.Object, "/"), q.Object))
}

// Audit returns a page of the audit log, and the cursor of the next one, "" at the end. It looks at a bounded number of entries,
// so that a page may have fewer than asked for, or none, and still a cursor. An unreadable cursor is ErrConflict.
func (s *Store) Audit(ctx context.Context, q AuditQuery) ([]contract.AuditEntry, string, error) {
	at, err := parseAuditPlace(q.Cursor)
	if err != nil {
		return nil, "", err
	}
	found := []contract.AuditEntry{}
	for range auditScanned / auditStep {
		entries, err := s.auditAfter(ctx, q, at)
		if err != nil {
			return nil, "", err
		}
		for _, e := range entries {
			if q.matches(e.AuditEntry) {
				if len(found) == q.Limit {
					return found, at.String(), nil
				}
				found = append(found, e.AuditEntry)
			}
			at = e.auditPlace
		}
		if len(entries) < auditStep {
			return found, "", nil
		}
	}
	return found, at.String(), nil
}

// auditPlace is where an entry stands among those of all streams: by its id, then by its stream.
type auditPlace struct {
	ms, seq uint64
	stream  int
}

func (p auditPlace) String() string { return fmt.Sprintf("%d-%d.%d", p.ms, p.seq, p.stream) }

func (p auditPlace) id() string { return fmt.Sprintf("%d-%d", p.ms, p.seq) }

// newestFirst orders places.
func newestFirst(a, b auditPlace) int {
	return cmp.Or(cmp.Compare(b.ms, a.ms), cmp.Compare(b.seq, a.seq), cmp.Compare(a.stream, b.stream))
}

// parseAuditPlace reads what String wrote; "" is before all.
func parseAuditPlace(text string) (p auditPlace, err error) {
	if text == "" {
		return auditPlace{ms: 1<<63 - 1}, nil
	}
	id, stream, found := strings.Cut(text, ".")
	if p, err = placeOf(id); err == nil {
		p.stream, err = strconv.Atoi(stream)
	}
	if err != nil || !found || p.stream < 0 || p.stream >= len(auditStreams) {
		return p, fmt.Errorf("the cursor: %w", ErrConflict)
	}
	return p, nil
}

func placeOf(id string) (p auditPlace, err error) {
	ms, seq, _ := strings.Cut(id, "-")
	if p.ms, err = strconv.ParseUint(ms, 10, 63); err == nil {
		p.seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil {
		return p, fmt.Errorf("the id of an audit entry: %w", err)
	}
	return p, nil
}

// placed is an entry in its place.
type placed struct {
	auditPlace
	contract.AuditEntry
}

// auditAfter reads the next entries of all streams in one round trip: auditStep, or fewer at the end.
func (s *Store) auditAfter(ctx context.Context, q AuditQuery, at auditPlace) ([]placed, error) {
	pipe := s.rdb.Pipeline()
	read := make([]*redis.XMessageSliceCmd, len(auditStreams))
	for i, name := range auditStreams {
		read[i] = pipe.XRevRangeN(ctx, s.key.audit(name), q.edge(at, i), q.oldest(), auditStep)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	var all []placed
	for i, cmd := range read {
		for _, m := range cmd.Val() {
			e, err := placedOf(m, i)
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return newestFirst(a.auditPlace, b.auditPlace) })
	return all[:min(len(all), auditStep)], nil // what is beyond may lack others in between
}

// edge is the newest id of a stream that comes after a place.
func (q AuditQuery) edge(at auditPlace, stream int) string {
	if until := uint64(max(0, q.Until.UnixMilli())); !q.Until.IsZero() && until < at.ms { // #nosec G115 -- not negative
		return strconv.FormatUint(until, 10)
	}
	if stream > at.stream {
		return at.id()
	}
	return "(" + at.id()
}

func (q AuditQuery) oldest() string {
	if q.Since.IsZero() || q.Since.UnixMilli() < 0 {
		return "-"
	}
	return strconv.FormatInt(q.Since.UnixMilli(), 10)
}

func placedOf(m redis.XMessage, stream int) (placed, error) {
	place, err := placeOf(m.ID)
	if err != nil {
		return placed{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	e, err := decode[contract.AuditEntry](text(m, "e"), nil, "audit entry")
	place.stream = stream
	e.ID, e.At = place.String(), time.UnixMilli(int64(place.ms)).UTC() // #nosec G115 -- milliseconds, for a long time to come
	return placed{place, e}, err
}
