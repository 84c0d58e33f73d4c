package store

// Every Redis key of the project is a function here.

type keys struct{ namespace string }

func (k keys) resources() string                { return k.namespace + ":resources" }                    // HASH name → Resource
func (k keys) consumers() string                { return k.namespace + ":consumers" }                    // HASH id → Consumer
func (k keys) apiKeys() string                  { return k.namespace + ":keys" }                         // HASH SHA-256 of the key → keyRecord
func (k keys) consumerKeys(id string) string    { return k.namespace + ":consumer:" + id + ":keys" }     // HASH key id → Key with its hash
func (k keys) consumerSubs(id string) string    { return k.namespace + ":consumer:" + id + ":subs" }     // SET of subscription ids
func (k keys) subscription(id string) string    { return k.namespace + ":sub:" + id }                    // STRING Subscription
func (k keys) fingerprint(f string) string      { return k.namespace + ":same:" + f }                    // STRING subscription id
func (k keys) delivery(id string) string        { return k.namespace + ":delivery:" + id }               // HASH s status, d Delivery, a1… Attempt
func (k keys) deliveries(sub string) string     { return k.namespace + ":deliveries:" + sub }            // ZSET created ms → delivery id
func (k keys) match(resource string) string     { return k.namespace + ":match:" + resource }            // HASH subscription id → type patterns, active ones only
func (k keys) matchVersion(res string) string   { return k.namespace + ":match:" + res + ":version" }    // STRING a new token at each change of the hash
func (k keys) list(consumer, res string) string { return k.namespace + ":subs:" + consumer + ":" + res } // ZSET created ms → subscription id
func (k keys) resourceSubs(res string) string   { return k.namespace + ":resource:" + res + ":subs" }    // SET of subscription ids
