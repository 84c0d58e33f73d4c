package store

import (
	"fmt"
	"time"
)

// Every Redis key of the project is a function here.

type keys struct{ namespace string }

func (k keys) resources() string                { return k.namespace + ":resources" }                    // HASH name → Resource
func (k keys) catalogueVersion() string         { return k.namespace + ":resources:version" }            // STRING a new token at each change of a resource, none when there is no resource
func (k keys) policies() string                 { return k.namespace + ":policies" }                     // HASH name → the resource's policy, for who needs no more of it
func (k keys) consumers() string                { return k.namespace + ":consumers" }                    // HASH id → Consumer
func (k keys) consumerNames() string            { return k.namespace + ":consumers:names" }              // HASH name → ids of the consumers named so, spaces between them
func (k keys) apiKeys() string                  { return k.namespace + ":keys" }                         // HASH SHA-256 of the key → keyRecord
func (k keys) consumerKeys(id string) string    { return k.namespace + ":consumer:" + id + ":keys" }     // HASH key id → Key with its hash
func (k keys) consumerSubs(id string) string    { return k.namespace + ":consumer:" + id + ":subs" }     // SET of subscription ids
func (k keys) subscription(id string) string    { return k.namespace + ":sub:" + id }                    // STRING Subscription, its secrets sealed: see sealed.go
func (k keys) fingerprint(f string) string      { return k.namespace + ":same:" + f }                    // STRING subscription id
func (k keys) fingerprints() string             { return k.namespace + ":fingerprints" }                 // STRING the sealed key of all fingerprints
func (k keys) delivery(id string) string        { return k.namespace + ":delivery:" + id }               // STRING see record.go
func (k keys) deliveries(sub string) string     { return k.namespace + ":deliveries:" + sub }            // ZSET created ms → delivery id
func (k keys) log(sub string) string            { return k.namespace + ":log:" + sub }                   // ZSET when → pack of attempts, see log.go
func (k keys) line(id string) string            { return k.namespace + ":line:" + id }                   // ZSET place → delivery id
func (k keys) lastPlace() string                { return k.namespace + ":line:last" }                    // STRING counts the places of all lines
func (k keys) mailbox(sub string) string        { return k.namespace + ":mail:" + sub }                  // ZSET place → delivery id, see mailbox.go
func (k keys) mailHeads(sub string) string      { return k.namespace + ":mail:" + sub + ":heads" }       // HASH delivery id → head of its letter; #bytes, #last
func (k keys) mailContents(sub string) string   { return k.namespace + ":mail:" + sub + ":contents" }    // HASH delivery id → content of its letter
func (k keys) mailboxes() string                { return k.namespace + ":mailboxes" }                    // ZSET ms when to look for what is too old → subscription id
func (k keys) mailNews() string                 { return k.namespace + ":mail" }                         // CHANNEL ids of subscriptions whose mailbox got a letter, or is gone
func (k keys) lineChanges() string              { return k.namespace + ":lines" }                        // CHANNEL ids of lines that a delivery left, one to a line of text
func (k keys) seen(event string) string         { return k.namespace + ":e:" + event }                   // STRING see seen.go, under 16 bytes of the event's SHA-256
func (k keys) rate(sub string) string           { return k.namespace + ":rate:" + sub }                  // STRING redis_rate's
func (k keys) asking() string                   { return k.namespace + ":asking" }                       // ZSET ms → id of a subscription whose endpoint is to be asked for its consent then
func (k keys) askRate(whom string) string       { return k.namespace + ":rate:ask:" + whom }             // STRING redis_rate's
func (k keys) failing(sub string) string        { return k.namespace + ":failing:" + sub }               // STRING ms since when
func (k keys) replay(sub, id string) string     { return k.namespace + ":replay:" + sub + ":" + id }     // STRING Replay
func (k keys) replaying(f string) string        { return k.namespace + ":replaying:" + f }               // STRING id of the running replay that asks for that
func (k keys) probe() string                    { return k.namespace + ":probe" }                        // STRING written to see whether writing works
func (k keys) match(resource string) string     { return k.namespace + ":match:" + resource }            // HASH subscription id → see candidate, active ones only
func (k keys) changes() string                  { return k.namespace + ":changes" }                      // STREAM what changes in the matches of all resources, see changes.go
func (k keys) fanOut(event string) string       { return k.namespace + ":fan:" + event }                 // STRING the last subscription id that has its command, under 16 bytes of the event's SHA-256
func (k keys) used(statement string) string     { return k.namespace + ":used:" + statement }            // STRING who used the statement
func (k keys) list(consumer, res string) string { return k.namespace + ":subs:" + consumer + ":" + res } // ZSET created ms → subscription id
func (k keys) resourceSubs(res string) string   { return k.namespace + ":resource:" + res + ":subs" }    // SET of subscription ids
func (k keys) audit(of string) string           { return k.namespace + ":audit:" + of }                  // STREAM see audit.go
func (k keys) quota(of, consumer string) string { return k.namespace + ":quota:" + of + ":" + consumer } // STRING redis_rate's
func (k keys) portalLink(hash string) string    { return k.namespace + ":portal:link:" + hash }          // STRING PortalUser, under the SHA-256 of the link's token
func (k keys) portalSession(h string) string    { return k.namespace + ":portal:session:" + h }          // STRING PortalUser, under the SHA-256 of the cookie's token
func (k keys) replaysOf(sub string) string      { return k.namespace + ":replays:" + sub }               // ZSET began s → id of a running replay
func (k keys) breakers() string                 { return k.namespace + ":breakers" }                     // ZSET ms until when its report holds → replica
func (k keys) breakersOf(replica string) string { return k.namespace + ":breakers:" + replica }          // STRING JSON list of Breaker
func (k keys) dead() string                     { return k.namespace + ":dead" }                         // ZSET ms → id of a dead letter
func (k keys) letters() string                  { return k.namespace + ":dead:letters" }                 // HASH id → DeadLetter

// stats is a HASH subscription → contract.Counts, "" for all of the resource; of one step of time. Resource "" has all there is.
func (k keys) stats(resource string, step time.Duration, at time.Time) string {
	return fmt.Sprintf("%s:stats:%.0f:%d:%s", k.namespace, step.Minutes(), at.Unix()/int64(step/time.Second), resource)
}
