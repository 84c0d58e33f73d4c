package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Pending names a delivery that is about to be attempted.
type Pending struct {
	Delivery, Subscription, Resource string
	// Line is where the delivery stands; empty unless it is ordered.
	Line string
}

// Standing is what is known of a pending delivery now.
type Standing struct {
	// Subscription is nil if it is gone. It is shared between calls and goroutines: never change it.
	Subscription *contract.Subscription
	// Policy is the resource's; zero if it has none or one that can't be used. Its slice is shared: never change it.
	Policy contract.DeliveryPolicy
	// Log is the resource's policy of what is kept of deliveries; zero as above.
	Log contract.LogPolicy
	// Recorded is the delivery as of its last record, without attempts; nil before the first.
	Recorded *contract.Delivery
	// Ahead is the delivery that is first in the line, or just its ID if it has no record that can be read; nil: it is this
	// one's turn.
	Ahead *contract.Delivery
	// Err is ErrDamaged if the subscription or the delivery can't be read, ErrSealed if the key ring lacks the subscription's key.
	Err error
}

// Standings reads all that must be known before many deliveries are attempted, in one round trip and in the order asked. A
// record that is damaged is the matter of its own delivery only.
func (s *Store) Standings(ctx context.Context, asked []Pending) ([]Standing, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	var w wanted
	for _, p := range asked {
		w.add(p)
	}
	found, err := s.read(ctx, &w)
	if err != nil {
		return nil, fmt.Errorf("reading subscriptions and deliveries: %w", err)
	}
	standings := make([]Standing, len(asked))
	for i, p := range asked {
		standings[i] = s.standing(p, found)
	}
	return standings, nil
}

// wanted are the different names of a batch.
type wanted struct{ subscriptions, deliveries, resources, lines nameSet }

func (w *wanted) add(p Pending) {
	w.subscriptions.add(p.Subscription)
	w.deliveries.add(p.Delivery)
	w.resources.add(p.Resource)
	w.lines.add(p.Line)
}

type nameSet struct {
	list []string
	has  map[string]bool
}

func (n *nameSet) add(name string) {
	if name == "" || n.has[name] {
		return
	}
	if n.has == nil {
		n.has = map[string]bool{}
	}
	n.has[name] = true
	n.list = append(n.list, name)
}

// findings are the texts under their names; what is not there is missing.
type findings struct {
	subscriptions, deliveries, policies map[string]string            // policies under their resources
	first                               map[string]contract.Delivery // of a line
}

func (s *Store) read(ctx context.Context, w *wanted) (*findings, error) {
	all := make([]string, 0, len(w.subscriptions.list)+len(w.deliveries.list))
	for _, id := range w.subscriptions.list {
		all = append(all, s.key.subscription(id))
	}
	for _, id := range w.deliveries.list {
		all = append(all, s.key.delivery(id))
	}
	var records, policies *redis.SliceCmd
	var firsts []*redis.Cmd
	err := s.pipelined(ctx, firstInLine, func(pipe redis.Pipeliner) {
		records, policies, firsts = pipe.MGet(ctx, all...), nil, nil
		if len(w.resources.list) > 0 {
			policies = pipe.HMGet(ctx, s.key.policies(), w.resources.list...)
		}
		for lines := range slices.Chunk(w.lines.list, mostPerScript) {
			firsts = append(firsts, s.firstInLine(ctx, pipe, lines))
		}
	})
	if err != nil {
		return nil, err
	}
	texts := textsOf(records.Val())
	f := &findings{
		subscriptions: under(w.subscriptions.list, texts),
		deliveries:    under(w.deliveries.list, texts[len(w.subscriptions.list):]),
	}
	if policies != nil {
		f.policies = under(w.resources.list, textsOf(policies.Val()))
	}
	f.first, err = firstsOf(w.lines.list, firsts)
	return f, err
}

// under puts texts under their names.
func under(names, texts []string) map[string]string {
	m := make(map[string]string, len(names))
	for i, name := range names {
		if texts[i] != "" {
			m[name] = texts[i]
		}
	}
	return m
}

func (s *Store) firstInLine(ctx context.Context, pipe redis.Pipeliner, lines []string) *redis.Cmd {
	names := make([]string, len(lines))
	for i, line := range lines {
		names[i] = s.key.line(line)
	}
	return firstInLine.EvalSha(ctx, pipe, names, s.key.delivery(""))
}

// firstInLine
// KEYS lines. ARGV 1 prefix of deliveries. Output: the id of each line's first delivery, "" if it is empty; their records.
var firstInLine = redis.NewScript(`
local ids, names = {}, {}
for i, line in ipairs(KEYS) do
  ids[i] = redis.call('ZRANGE', line, 0, 0)[1] or ''
  names[i] = ARGV[1] .. ids[i]
end
return {ids, redis.call('MGET', unpack(names))}`)

func firstsOf(lines []string, cmds []*redis.Cmd) (map[string]contract.Delivery, error) {
	firsts := make(map[string]contract.Delivery, len(lines))
	for _, cmd := range cmds {
		answer, err := cmd.Slice()
		if err != nil {
			return nil, err
		}
		ids, records := textsOf(answer[0].([]any)), textsOf(answer[1].([]any))
		for i, id := range ids {
			first := contract.Delivery{ID: id}
			if d, err := headOf(records[i]); err == nil {
				first = *d
			}
			firsts[lines[i]] = first
		}
		lines = lines[len(ids):]
	}
	return firsts, nil
}

func (s *Store) standing(p Pending, f *findings) (standing Standing) {
	if text, ok := f.subscriptions[p.Subscription]; ok {
		standing.Subscription, standing.Err = s.subs.of(p.Subscription, text, s.parseSubscription)
	}
	if text, ok := f.policies[p.Resource]; ok {
		policy, _ := s.policies.of(p.Resource, text, parsePolicy)
		standing.Policy, standing.Log = policy.DeliveryPolicy, policy.Log
	}
	if text, ok := f.deliveries[p.Delivery]; ok && standing.Err == nil {
		standing.Recorded, standing.Err = headOf(text)
	}
	if first := f.first[p.Line]; first.ID != "" && first.ID != p.Delivery {
		standing.Ahead = &first
	}
	return standing
}

// parseSubscription opens the secrets too: once for each text of a record, and not with each delivery.
func (s *Store) parseSubscription(text string) (*contract.Subscription, error) {
	sub, err := s.parse(text, nil)
	if err != nil {
		return nil, err
	}
	sub.Prepare()
	return &sub, nil
}

// parsePolicy never fails: what an admin wrote must not stop the deliveries.
func parsePolicy(text string) (contract.Policy, error) {
	policy, err := contract.Resource{Policy: json.RawMessage(text)}.FullPolicy()
	if err != nil || len(policy.DeliveryPolicy.Check()) > 0 || len(policy.Log.Check()) > 0 {
		return contract.Policy{}, nil //nolint:nilerr // see above
	}
	return policy, nil
}
