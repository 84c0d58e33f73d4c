package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// Every kind of secret is set, used, changed and taken away, with good and with bad ends. Then none of them is in Redis, in a
// queue, in the archive, or in any file of the stack but those that are there to hold one; in no form. What is no secret, and
// went the same ways, is found there: so the search can fail.
func TestNoSecretRestsAnywhere(t *testing.T) {
	s := setScene(t)
	tap := tapBroker(t, s)
	planted := "planted-" + s.resource
	secrets := map[string]string{"the API key": s.consumer.Header.Get("apikey")}
	secretOf := func(kind string) string {
		secrets["the "+kind] = fmt.Sprintf("s3cr3t %s/%s+%d", kind, s.resource, len(secrets))
		return secrets["the "+kind]
	}
	works := receiver(t, nil)
	gone := receiver(t, func(int, world.Callback) int { return 410 })
	fails := receiver(t, func(int, world.Callback) int { return 500 })
	ids := map[string]string{}
	subscribe := func(kind, url string, more map[string]any) {
		more["description"] = planted
		ids[kind], secrets["the signing secret of "+kind] = s.subscribe(t, url, more)
	}
	subscribe("bearer", works.URL, map[string]any{"auth": map[string]string{"type": "bearer", "token": secretOf("bearer token")}})
	subscribe("basic", gone.URL, map[string]any{"auth": map[string]string{"type": "basic", "username": secretOf("user name"), "password": secretOf("password")}})
	subscribe("header", fails.URL, map[string]any{"headers": map[string]string{"X-Key": secretOf("header")}, "retry_schedule": []string{"1h"}})
	grants := newGrantor(t, "acme", secretOf("client secret"), "granted-"+s.resource)
	secrets["the access token"] = "granted-" + s.resource
	subscribe("oauth2", works.URL+"/oauth2", map[string]any{"auth": grants.auth("acme", secrets["the client secret"]), "signatures": []string{"v1", "v1a"}})
	subscribe("secret header", works.URL+"/header", map[string]any{"auth": map[string]any{"type": "headers", "headers": map[string]string{"X-Key": secretOf("secret header")}}})
	certificate, private := testkit.NewAuthority(t).Issue("acme", nil, nil)
	secrets["the private key"] = strings.Split(private, "\n")[2]
	subscribe("mtls", "https"+strings.TrimPrefix(works.URL, "http"), map[string]any{
		"auth": map[string]any{"type": "mtls", "certificate": certificate, "key": private}, "retry_schedule": []string{"1h"},
	})
	subscribe("taken", works.URL+"/taken", map[string]any{"auth": map[string]string{"type": "bearer", "token": secretOf("token of one that ends")}})
	secrets["the link of a consent"] = s.consentByLink(t)
	change := func(status int, method, path string, body any) world.Answer {
		answer, err := s.consumer.Want(ctx(t), status, method, s.path()+"/"+path, body)
		require.NoError(t, err)
		return answer
	}
	change(200, "PATCH", ids["bearer"], map[string]any{"auth": map[string]string{"type": "bearer", "token": secretOf("changed token")}})
	secrets["the rotated secret"] = change(200, "POST", ids["bearer"]+"/rotate-secret", nil).Field("secret")
	change(204, "DELETE", ids["taken"], nil)
	change(422, "PATCH", ids["bearer"], map[string]any{"auth": map[string]string{"type": "bearer", "token": secretOf("refused token") + "\n"}})

	s.publish(t, planted)
	_, err := works.WaitFor(ctx(t), 3) // bearer, oauth2, headers; that of mtls has no TLS: it fails
	require.NoError(t, err)
	for kind, status := range map[string]string{
		"bearer": "succeeded", "basic": "failed", "header": "pending", "oauth2": "succeeded", "secret header": "succeeded", "mtls": "pending",
	} {
		eventually(t, kind+" is "+status, func() bool {
			answer, err := s.consumer.Do(ctx(t), "GET", s.path()+"/"+ids[kind]+"/deliveries", nil)
			return err == nil && strings.Contains(string(answer.Body), `"status":"`+status+`"`) && strings.Contains(string(answer.Body), `"attempt_count":1`)
		})
		s.timeline(t, ids[kind], 1)
	}

	places := map[string]map[string][]byte{
		"Redis": redisHolds(t, s.RedisURL), "the queues": brokerHolds(t, s), "what was published": tap(), "the archive": archiveHolds(t, s, planted),
	}
	if _, err := os.Stat(filepath.Join(runDir(), "keyring")); err == nil {
		places["the stack's folder"] = filesHold(t)
	}
	maps.Copy(secrets, ownSecrets(t))
	maps.Copy(secrets, ringsKeys(t))
	search, err := world.NewFinder(secrets)
	require.NoError(t, err)
	marker, err := world.NewFinder(map[string]string{"it": planted})
	require.NoError(t, err)
	for place, holds := range places {
		marked := 0
		for name, text := range holds {
			if found := search.In(text); len(found) > 0 {
				t.Errorf("%s: %.100s holds %s", place, name, strings.Join(found, ", "))
			}
			if marker.In(text) != nil {
				marked++
			}
		}
		require.NotZero(t, marked, "%s: what is no secret was not found either, among %d", place, len(holds))
	}
}

// consentByLink makes a subscription active by the link that its endpoint was given, and returns what was secret of the link.
func (s *scene) consentByLink(t *testing.T) string {
	t.Helper()
	verify := func(method string) {
		_, err := s.Admin().Want(ctx(t), 200, "PUT", "/admin/v1/resources/"+s.resource, map[string]any{"policy": map[string]any{"verification": method}})
		require.NoError(t, err)
	}
	verify("handshake")
	e := newEndpoint(t, consents("", ""))
	s.pending(t, e.URL, nil)
	eventually(t, "it is asked", func() bool { return len(e.of(http.MethodOptions)) > 0 })
	link := strings.TrimPrefix(e.of(http.MethodOptions)[0].header.Get("WebHook-Request-Callback"), s.GatewayURL)
	_, err := s.Consumer("").Want(ctx(t), 200, http.MethodPost, link, nil)
	require.NoError(t, err)
	verify("none")
	return link[strings.LastIndexAny(link, "/.")+1:] // its signature
}

// redisHolds is every key with its value.
func redisHolds(t *testing.T, url string) map[string][]byte {
	t.Helper()
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(opts)
	defer client.Close()
	all := map[string][]byte{}
	for keys := client.Scan(ctx(t), 0, "*", 1000).Iterator(); keys.Next(ctx(t)); {
		value, err := redisValue(ctx(t), client, keys.Val())
		require.NoError(t, err)
		all[keys.Val()] = fmt.Appendf(nil, "%s %s", keys.Val(), value)
	}
	return all
}

func redisValue(ctx context.Context, client *redis.Client, key string) (any, error) {
	kind, err := client.Type(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	switch kind {
	case "string":
		value, err := client.Get(ctx, key).Result()
		if errors.Is(err, redis.Nil) {
			err = nil // its time was over
		}
		return value, err
	case "hash":
		return client.HGetAll(ctx, key).Result()
	case "set":
		return client.SMembers(ctx, key).Result()
	case "zset":
		members, err := client.ZRange(ctx, key, 0, -1).Result()
		return unfolded(members), err // the log of attempts is packed
	case "list":
		return client.LRange(ctx, key, 0, -1).Result()
	case "stream":
		return client.XRange(ctx, key, "-", "+").Result()
	case "none":
		return "", nil
	}
	return nil, fmt.Errorf("%s is a %s: this test has to learn to read it", key, kind)
}

func channel(t *testing.T, s *scene) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(s.AMQPURL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

func messageText(m amqp.Delivery) []byte {
	return fmt.Appendf(nil, "%s %s %s %s %v\n%s", m.Exchange, m.RoutingKey, m.MessageId, m.ContentType, m.Headers, m.Body)
}

// tapBroker gets a copy of all that is published on an exchange from now on, and returns what reads it.
func tapBroker(t *testing.T, s *scene) func() map[string][]byte {
	t.Helper()
	ch, names := channel(t, s), rabbit.NamesFor("")
	own, err := ch.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	for exchange, key := range map[string]string{names.Events: "#", names.Commands: names.Commands, names.Dead: "", names.Operations: "#"} {
		require.NoError(t, ch.QueueBind(own.Name, key, exchange, false, nil))
	}
	return func() map[string][]byte { return messages(t, ch, own.Name) }
}

// brokerHolds is what stands in the queues now. It all stays there.
func brokerHolds(t *testing.T, s *scene) map[string][]byte {
	t.Helper()
	names := rabbit.NamesFor("")
	queues := []string{names.Commands, names.Bulk, names.Dead, names.Operations, names.Replays}
	for _, step := range rabbit.DelaySteps() {
		queues = append(queues, names.Delay(step))
	}
	all := map[string][]byte{}
	for _, queue := range queues { // the events queue hands out to one consumer only: see tapBroker
		ch := channel(t, s)
		maps.Copy(all, messages(t, ch, queue))
		require.NoError(t, ch.Close(), "which gives back what was not acknowledged")
	}
	return all
}

func messages(t *testing.T, ch *amqp.Channel, queue string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for {
		m, ok, err := ch.Get(queue, false)
		require.NoError(t, err)
		if !ok {
			return all
		}
		all[fmt.Sprint(queue, " ", len(all))] = messageText(m)
	}
}

// archiveHolds reads the archive until an event is there.
func archiveHolds(t *testing.T, s *scene, until string) map[string][]byte {
	t.Helper()
	conn, err := rabbit.Open(ctx(t), s.AMQPURL, rabbit.Options{Name: t.Name(), Log: zap.NewNop()})
	require.NoError(t, err)
	defer conn.Close()
	all := map[string][]byte{}
	err = conn.ReadStream(ctx(t), conn.Names().Archive, rabbit.StreamOffset{First: true}, func(_ context.Context, batch []rabbit.StreamMessage) error {
		for _, m := range batch {
			all[fmt.Sprint("pack ", m.Offset)] = fmt.Appendf(nil, "%v\n%s", m.Headers, m.Body)
			if bytes.Contains(m.Body, []byte(until)) {
				return rabbit.ErrStopReading
			}
		}
		return nil
	})
	require.NoError(t, err)
	return all
}

// holders are the files of the stack that are there to hold its own secrets.
var holders = []string{"env", "secrets.env", "keyring", "gateway.keys", "callback.keys", "settings", "redis/redis.conf", "rabbitmq/rabbitmq.conf", "rabbitmq/home/.erlang.cookie"}

// filesHold is every file of the stack: logs, and what Redis and RabbitMQ have on disk, with all that they forgot since.
func filesHold(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(runDir(), func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(runDir(), path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && (!entry.Type().IsRegular() || slices.Contains(holders, filepath.ToSlash(name))) {
			return nil // the broker's files come and go
		}
		if err == nil {
			all[name], err = os.ReadFile(path) // #nosec G304 -- the stack's own folder
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	require.NoError(t, err)
	return all
}

// ringsKeys are the keys of the key ring.
func ringsKeys(t *testing.T) map[string]string {
	t.Helper()
	keys := map[string]string{}
	text, err := os.ReadFile(filepath.Join(runDir(), "keyring"))
	if errors.Is(err, fs.ErrNotExist) {
		return keys
	}
	require.NoError(t, err)
	for entry := range strings.FieldsSeq(strings.ReplaceAll(string(text), ",", " ")) {
		id, key, _ := strings.Cut(entry, ":")
		raw, err := base64.StdEncoding.DecodeString(key)
		require.NoError(t, err)
		keys["key "+id], keys["the bytes of key "+id] = key, string(raw)
	}
	require.NotEmpty(t, keys)
	return keys
}
