package store

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Names of consumers need not be unique. Who is asked for by a name that several have is nobody: see AuthenticateConsumer.

// consumersByIDAndName are the keys of the scripts below.
func (k keys) consumersByIDAndName() []string { return []string{k.consumers(), k.consumerNames()} }

// forget is the part of the scripts below that takes an id from under its record's name. A record that cannot be read has none.
const forget = `
local function forget(id)
	local read, old = pcall(function() return cjson.decode(redis.call('HGET', KEYS[1], id)).name end)
	if not read or not old then return end
	local left = {}
	for other in string.gmatch(redis.call('HGET', KEYS[2], old) or '', '%S+') do
		if other ~= id then left[#left + 1] = other end
	end
	if #left > 0 then redis.call('HSET', KEYS[2], old, table.concat(left, ' ')) else redis.call('HDEL', KEYS[2], old) end
end
local function put(id, record, name)
	forget(id)
	redis.call('HSET', KEYS[1], id, record)
	local others = redis.call('HGET', KEYS[2], name)
	redis.call('HSET', KEYS[2], name, others and others .. ' ' .. id or id)
end
`

// putConsumer
// KEYS 1 consumers, 2 names. ARGV 1 id, 2 record, 3 name. Output: nothing.
var putConsumer = redis.NewScript(forget + `put(ARGV[1], ARGV[2], ARGV[3]) return 1`)

// swapConsumer
// KEYS 1 consumers, 2 names. ARGV 1 id, 2 new record, 3 new name, 4 expected record. Output: 1 done, 0 the record is another
// one or gone.
var swapConsumer = redis.NewScript(forget + `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[4] then return 0 end
put(ARGV[1], ARGV[2], ARGV[3])
return 1`)

// deleteConsumer
// KEYS 1 consumers, 2 names. ARGV 1 id. Output: 1 deleted, 0 not there.
var deleteConsumer = redis.NewScript(forget + `
forget(ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])`)

// AuthenticateConsumer looks a consumer up by its name or id, as somebody trusted gives it, with its grants for a resource, in
// one round trip. Nobody of that name is no error: see Access.Consumer. Several are ErrConflict: it can't be told who is meant.
func (s *Store) AuthenticateConsumer(ctx context.Context, name, resource string) (Access, error) {
	keys := append(s.key.consumersByIDAndName(), s.key.resources())
	found, err := authenticateConsumer.Run(ctx, s.rdb, keys, name, resource).Slice()
	if err != nil {
		return Access{}, fmt.Errorf("looking a consumer up: %w", err)
	}
	access := Access{Known: found[1] == int64(1)}
	switch record := found[0].(type) {
	case int64:
		return Access{}, fmt.Errorf("several consumers have the name %q: %w", contract.Printable(name), ErrConflict)
	case string:
		consumer, err := decode[contract.Consumer](record, nil, "consumer")
		if err != nil {
			return Access{}, err
		}
		access.Consumer, access.Actions = consumer.ID, consumer.ActionsOn(resource)
	}
	return access, nil
}

// authenticateConsumer
// KEYS 1 consumers, 2 names, 3 resources. ARGV 1 name or id, 2 resource.
// Output: the consumer's record, or false for nobody, or 0 for several; 1 if the resource exists.
var authenticateConsumer = redis.NewScript(`
local known = redis.call('HEXISTS', KEYS[3], ARGV[2])
local record = redis.call('HGET', KEYS[1], ARGV[1])
local named = redis.call('HGET', KEYS[2], ARGV[1])
if not named then return {record, known} end
if string.find(named, ' ', 1, true) or record and named ~= ARGV[1] then return {0, known} end
return {redis.call('HGET', KEYS[1], named), known}`)
