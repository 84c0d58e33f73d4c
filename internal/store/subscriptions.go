package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// CreateSubscription keeps a new subscription, or returns the one that asks for the same thing already. ErrNotFound means
// that the resource is gone, ErrFull that its policy allows the consumer no more of them, ErrQuota that the consumer may have no
// more over all resources, ErrSealed that the store can't seal.
func (s *Store) CreateSubscription(ctx context.Context, sub contract.Subscription) (kept contract.Subscription, created bool, err error) {
	sub.Revision = 1
	same, err := s.fingerprint(ctx, sub)
	if err != nil {
		return contract.Subscription{}, false, fmt.Errorf("writing the subscription: %w", err)
	}
	record, err := s.seal(sub, same)
	if err != nil {
		return contract.Subscription{}, false, err
	}
	for {
		id, err := s.createSubscription(ctx, sub, same, record)
		if err != nil || id == sub.ID {
			return sub, err == nil, err
		}
		kept, err = s.Subscription(ctx, id)
		if !errors.Is(err, ErrNotFound) { // deleted in between: then ours may stand
			return kept, false, err
		}
	}
}

func (s *Store) createSubscription(ctx context.Context, sub contract.Subscription, same, record string) (id string, err error) {
	id, err = createSubscription.Run(ctx, s.rdb, []string{
		s.key.fingerprint(same), s.key.subscription(sub.ID), s.key.list(sub.Consumer, sub.Resource),
		s.key.match(sub.Resource), s.key.changes(), s.key.consumerSubs(sub.Consumer),
		s.key.resourceSubs(sub.Resource), s.key.resources(), s.key.policies(), s.key.consumers(), s.key.asking(),
	}, sub.ID, record, sub.CreatedAt.UnixMilli(), candidate(sub), contract.NewID("v"), sub.Resource, s.key.subscription(""), mostChanges,
		sub.Consumer, s.maxSubscriptions, nextAsked(sub)).Text()
	switch {
	case err != nil:
		return "", fmt.Errorf("writing the subscription: %w", err)
	case id == "":
		return "", fmt.Errorf("resource: %w", ErrNotFound)
	}
	if most, full := strings.CutPrefix(id, "full "); full {
		return "", fmt.Errorf("%s allows each consumer %s subscriptions (max_subscriptions): end one of yours first: %w", sub.Resource, most, ErrFull)
	}
	if most, full := strings.CutPrefix(id, "quota "); full {
		return "", fmt.Errorf("you may have %s subscriptions in all (limits.max_subscriptions): end one of yours first: %w", most, ErrQuota)
	}
	return id, nil
}

// createSubscription
// KEYS 1 fingerprint, 2 subscription, 3 list, 4 match, 5 changes, 6 consumer's, 7 resource's, 8 resources, 9 policies, 10 consumers,
// 11 asking.
// ARGV 1 id, 2 record, 3 created ms, 4 candidate or "", 5 token of the change, 6 resource, 7 prefix of subscription keys, 8 most changes,
// 9 consumer, 10 how many it may have unless its own limits say otherwise, 0 for any number, 11 when to
// ask for the consent in ms or "".
// Output: the id of the subscription that stands now, ours or an older one; "" if the resource does not exist; "full N" if the
// policy allows the consumer N and there are as many, "quota N" if it has as many over all resources as it may.
var createSubscription = redis.NewScript(`
if redis.call('HEXISTS', KEYS[8], ARGV[6]) == 0 then return '' end
local same = redis.call('GET', KEYS[1])
if same and redis.call('EXISTS', ARGV[7] .. same) == 1 then return same end
local policy = redis.call('HGET', KEYS[9], ARGV[6])
local most = policy and tonumber(cjson.decode(policy).max_subscriptions)
if most and most > 0 and redis.call('ZCARD', KEYS[3]) >= most then return 'full ' .. most end
local consumer = redis.call('HGET', KEYS[10], ARGV[9])
local limits = consumer and cjson.decode(consumer).limits
local quota = limits and tonumber(limits.max_subscriptions) or tonumber(ARGV[10])
if quota > 0 and redis.call('SCARD', KEYS[6]) >= quota then return 'quota ' .. quota end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
redis.call('SADD', KEYS[6], ARGV[1])
redis.call('SADD', KEYS[7], ARGV[1])
if ARGV[11] ~= '' then redis.call('ZADD', KEYS[11], ARGV[11], ARGV[1]) end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[4])
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[8], '*', 't', ARGV[5], 'r', ARGV[6], 's', ARGV[1], 'c', ARGV[4])
end
return ARGV[1]`)

// Subscription returns one subscription or ErrNotFound.
func (s *Store) Subscription(ctx context.Context, id string) (contract.Subscription, error) {
	text, err := s.rdb.Get(ctx, s.key.subscription(id)).Result()
	return s.parse(text, err)
}

// Subscriptions returns a page of a consumer's subscriptions to a resource, oldest first, and the cursor of the next page,
// "" at the end. An unreadable cursor is ErrConflict.
func (s *Store) Subscriptions(ctx context.Context, consumer, resource, cursor string, limit int) ([]contract.Subscription, string, error) {
	entries, err := s.page(ctx, s.key.list(consumer, resource), false, cursor, limit+1)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(entries) > limit {
		entries, next = entries[:limit], cursorAt(entries[limit-1])
	}
	ids := make([]string, len(entries))
	for i, entry := range entries {
		ids[i] = entry.Member.(string)
	}
	subs, err := s.subscriptions(ctx, ids)
	return subs, next, err
}

// ResourceSubscriptions returns about limit subscriptions to a resource, of all consumers and in no order, and the cursor of the
// next ones, "" at the end. An unreadable cursor is ErrConflict.
func (s *Store) ResourceSubscriptions(ctx context.Context, resource, cursor string, limit int) ([]contract.Subscription, string, error) {
	at, err := strconv.ParseUint(cmp.Or(cursor, "0"), 10, 64)
	if err != nil {
		return nil, "", fmt.Errorf("the cursor: %w", ErrConflict)
	}
	ids, at, err := s.rdb.SScan(ctx, s.key.resourceSubs(resource), at, "", int64(limit)).Result()
	if err != nil {
		return nil, "", fmt.Errorf("reading the subscriptions to %s: %w", resource, err)
	}
	subs, err := s.subscriptions(ctx, ids)
	if at == 0 {
		return subs, "", err
	}
	return subs, strconv.FormatUint(at, 10), err
}

// subscriptions reads many in one command, in the order asked; what is gone is left out.
func (s *Store) subscriptions(ctx context.Context, ids []string) ([]contract.Subscription, error) {
	subs := make([]contract.Subscription, 0, len(ids))
	if len(ids) == 0 {
		return subs, nil
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = s.key.subscription(id)
	}
	texts, err := s.rdb.MGet(ctx, names...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading subscriptions: %w", err)
	}
	for _, v := range texts {
		text, ok := v.(string)
		if !ok {
			continue
		}
		sub, err := s.parse(text, nil)
		if err != nil {
			return nil, err
		}
		subs = append(subs, sub)
	}
	return subs, nil
}

// reading is a subscription as it was read to be changed.
type reading struct {
	text   string
	record atRest
	sub    contract.Subscription
}

// replace writes a record anew that was read before. ErrStale: read again. ErrConflict: another subscription of the
// consumer asks for the same thing. ErrNotFound: it is gone.
func (s *Store) replace(ctx context.Context, before reading, after contract.Subscription) (contract.Subscription, error) {
	after.Revision = before.sub.Revision + 1
	same, err := s.fingerprint(ctx, after)
	if err != nil {
		return contract.Subscription{}, fmt.Errorf("writing the subscription: %w", err)
	}
	record, err := s.seal(after, same)
	if err != nil {
		return contract.Subscription{}, err
	}
	n, err := updateSubscription.Run(ctx, s.rdb, []string{
		s.key.subscription(after.ID), s.key.fingerprint(before.record.same()), s.key.fingerprint(same),
		s.key.match(after.Resource), s.key.changes(), s.key.audit(string(contract.ActorService)), s.key.asking(),
	}, after.ID, record, before.text, candidate(after), contract.NewID("v"), s.key.subscription(""), after.Resource, mostChanges,
		s.ownChange(ctx, before.sub, after), s.audited, nextAsked(after)).Int()
	switch {
	case err != nil:
		return contract.Subscription{}, fmt.Errorf("writing the subscription: %w", err)
	case n == 0:
		return contract.Subscription{}, fmt.Errorf("subscription: %w", ErrNotFound)
	case n == -1:
		return contract.Subscription{}, fmt.Errorf("subscription: %w", ErrStale)
	case n == -2:
		return contract.Subscription{}, fmt.Errorf("another subscription asks for the same: %w", ErrConflict)
	}
	return after, nil
}

// updateSubscription
// KEYS 1 subscription, 2 old fingerprint, 3 new fingerprint, 4 match, 5 changes, 6 the service's own audit log, 7 asking.
// ARGV 1 id, 2 record, 3 expected record, 4 candidate or "", 5 token of the change, 6 prefix of subscription keys, 7 resource, 8 most changes,
// 9 audit entry or "", 10 most audit entries, 11 when to ask for the consent in ms or "".
// Output: 1 done, 0 not there, -1 another record, -2 another subscription has the new fingerprint.
var updateSubscription = redis.NewScript(`
local record = redis.call('GET', KEYS[1])
if not record then return 0 end
if record ~= ARGV[3] then return -1 end
local same = redis.call('GET', KEYS[3])
if same and same ~= ARGV[1] and redis.call('EXISTS', ARGV[6] .. same) == 1 then return -2 end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
redis.call('SET', KEYS[3], ARGV[1])
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[9] ~= '' then redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[10], '*', 'e', ARGV[9]) end
if ARGV[11] ~= '' then redis.call('ZADD', KEYS[7], ARGV[11], ARGV[1]) else redis.call('ZREM', KEYS[7], ARGV[1]) end
local stood = redis.call('HGET', KEYS[4], ARGV[1]) or ''
if stood == ARGV[4] then return 1 end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[4], ARGV[1], ARGV[4]) else redis.call('HDEL', KEYS[4], ARGV[1]) end
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[8], '*', 't', ARGV[5], 'r', ARGV[7], 's', ARGV[1], 'c', ARGV[4])
return 1`)

// DeleteSubscription ends a subscription, or returns ErrNotFound. It needs no key: what can't be opened can be ended.
func (s *Store) DeleteSubscription(ctx context.Context, id string) error {
	for {
		text, err := s.rdb.Get(ctx, s.key.subscription(id)).Result()
		sub, err := decode[atRest](text, err, "subscription")
		if err != nil {
			return err
		}
		if err := s.deleteSubscription(ctx, text, sub); !errors.Is(err, ErrStale) {
			return err
		}
	}
}

// deleteSubscription wants the record as it stands, since its fingerprint goes with it.
func (s *Store) deleteSubscription(ctx context.Context, text string, sub atRest) error {
	id := sub.ID
	n, err := deleteSubscription.Run(ctx, s.rdb, []string{
		s.key.subscription(id), s.key.fingerprint(sub.same()), s.key.list(sub.Consumer, sub.Resource),
		s.key.match(sub.Resource), s.key.changes(), s.key.consumerSubs(sub.Consumer),
		s.key.resourceSubs(sub.Resource), s.key.deliveries(id), s.key.failing(id), s.key.asking(), s.key.log(id),
		s.key.mailbox(id), s.key.mailHeads(id), s.key.mailContents(id), s.key.mailboxes(), s.key.mailNews(),
	}, id, contract.NewID("v"), text, sub.Resource, mostChanges).Int()
	switch {
	case err != nil:
		return fmt.Errorf("deleting the subscription: %w", err)
	case n == 0:
		return fmt.Errorf("subscription: %w", ErrNotFound)
	case n == -1:
		return fmt.Errorf("subscription: %w", ErrStale)
	}
	return nil
}

// deleteSubscription
// KEYS 1 subscription, 2 fingerprint, 3 list, 4 match, 5 changes, 6 consumer's, 7 resource's, 8 deliveries, 9 since when it fails,
// 10 asking, 11 log, 12 mailbox, 13 its heads, 14 its contents, 15 mailboxes, 16 channel of mail.
// ARGV 1 id, 2 token of the change, 3 expected record, 4 resource, 5 most changes. Output: 1 done, 0 not there, -1 another record.
var deleteSubscription = redis.NewScript(`
local record = redis.call('GET', KEYS[1])
if not record then return 0 end
if record ~= ARGV[3] then return -1 end
redis.call('DEL', KEYS[1], KEYS[8], KEYS[9])
redis.call('UNLINK', KEYS[11])
if redis.call('UNLINK', KEYS[12], KEYS[13], KEYS[14]) > 0 then redis.call('PUBLISH', KEYS[16], ARGV[1]) end
redis.call('ZREM', KEYS[15], ARGV[1])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
redis.call('ZREM', KEYS[3], ARGV[1])
if redis.call('HDEL', KEYS[4], ARGV[1]) == 1 then
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[5], '*', 't', ARGV[2], 'r', ARGV[4], 's', ARGV[1], 'c', '')
end
redis.call('SREM', KEYS[6], ARGV[1])
redis.call('SREM', KEYS[7], ARGV[1])
redis.call('ZREM', KEYS[10], ARGV[1])
return 1`)

const candidateOrdered, candidatePulls = "o", "p"

// candidate is what the listener needs of an active subscription: "o" if it is ordered, "p" if it pulls, a bar, its type patterns, which have
// neither space nor bar, a bar, its filter. It is "" for any other.
func candidate(sub contract.Subscription) string {
	if sub.Status != contract.StatusActive {
		return ""
	}
	wants := "|" + strings.Join(sub.Types, " ") + "|" + sub.Filter
	how := ""
	if sub.Ordering == contract.OrderingSubject {
		how = candidateOrdered
	}
	if sub.Pulls() {
		how += candidatePulls
	}
	return how + wants
}

// ChangeSubscription reads a subscription, lets change alter it and writes it back, again if somebody else was faster. ErrSealed:
// the store can't open or seal it, and nothing was changed.
func (s *Store) ChangeSubscription(ctx context.Context, id string, change func(*contract.Subscription) error) (contract.Subscription, error) {
	for {
		before, err := s.readToChange(ctx, id)
		if err != nil {
			return contract.Subscription{}, err
		}
		after := before.sub
		if err := change(&after); err != nil {
			return contract.Subscription{}, err
		}
		after, err = s.replace(ctx, before, after)
		if !errors.Is(err, ErrStale) {
			return after, err
		}
	}
}

func (s *Store) readToChange(ctx context.Context, id string) (r reading, err error) {
	r.text, err = s.rdb.Get(ctx, s.key.subscription(id)).Result()
	if r.record, err = decode[atRest](r.text, err, "subscription"); err != nil {
		return r, err
	}
	r.sub, err = s.open(r.record)
	return r, err
}
