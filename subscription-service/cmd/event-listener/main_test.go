package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// patience is how long a test waits for what should happen; a broker takes seconds to restart.
const patience = 60 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is an event-listener in this process, and what surrounds it.
type process struct {
	t       *testing.T
	app     *service.App
	address string
	store   *store.Store
	conn    *rabbit.Conn
}

func startListener(t *testing.T, redis, amqp string) *process {
	t.Helper()
	namespace := testkit.Namespace(t)
	p := &process{t: t}
	var err error
	p.store, err = store.Open(store.Options{URL: redis, Namespace: namespace, Keyring: keyring.Ephemeral()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.store.Close() })
	_, err = p.store.PutResource(context.Background(), contract.Resource{Name: "orders"})
	require.NoError(t, err)
	_, _, err = p.store.CreateSubscription(context.Background(), contract.Subscription{ID: "sub_1", Consumer: "con", Resource: "orders", Status: contract.StatusActive})
	require.NoError(t, err)
	p.conn, err = rabbit.Open(context.Background(), amqp, rabbit.Options{Namespace: namespace, Name: t.Name(), Log: zaptest.NewLogger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.conn.Close() })

	p.app = service.New(zaptest.NewLogger(t))
	p.address, err = start(context.Background(), config{
		RedisURL: redis, AMQPURL: amqp, MetricsListen: "127.0.0.1:0", Shutdown: 10 * time.Second, ReplayRate: 100, Namespace: namespace,
	}, p.app)
	require.NoError(t, err)
	t.Cleanup(p.stop)
	p.until("/readyz", http.StatusOK)
	return p
}

func (p *process) stop() { require.NoError(p.t, p.app.Stop(15*time.Second)) }

func (p *process) get(path string) (int, string) {
	p.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+p.address+path, nil)
	require.NoError(p.t, err)
	resp, err := client.Do(req)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	return resp.StatusCode, string(body)
}

func (p *process) until(path string, status int) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { got, _ := p.get(path); return got == status }, patience, 20*time.Millisecond)
}

// publish tries until the broker has confirmed.
func (p *process) publish(id string) {
	p.t.Helper()
	m := p.conn.Names().ToEvents("orders.a", rabbit.Message{ContentType: "application/json", Body: []byte(`{}`), Headers: map[string]any{
		"cloudEvents_specversion": "1.0", "cloudEvents_id": id, "cloudEvents_source": "/s", "cloudEvents_type": "a",
	}})
	require.Eventually(p.t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return p.conn.Publisher().Publish(ctx, m) == nil
	}, patience, 20*time.Millisecond)
}

// collect takes from a queue until all ids came, each at least once.
func (p *process) collect(queue string, ids ...string) {
	p.t.Helper()
	missing := map[string]bool{}
	for _, id := range ids {
		missing[id] = true
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := p.conn.Consume(ctx, queue, rabbit.ConsumeOptions{}, func(_ context.Context, batch []*rabbit.Delivery) {
		for _, d := range batch {
			delete(missing, fmt.Sprint(d.Headers["cloudEvents_id"]))
		}
		rabbit.AckAll(batch)
		if len(missing) == 0 {
			cancel()
		}
	})
	require.NoError(p.t, err)
	require.Empty(p.t, missing)
}

func TestEventsBecomeCommands(t *testing.T) {
	p := startListener(t, testkit.Redis(t), testkit.Rabbit(t))
	p.publish("e1")
	p.collect(p.conn.Names().Commands, "e1")
	_, metrics := p.get("/metrics")
	require.Contains(t, metrics, "webhook_commands_published_total{resource=\"orders\"} 1")
	require.Contains(t, metrics, `webhook_events_total{resource="other",result="dead"} 0`)
	require.Contains(t, metrics, "webhook_batch_events_count 1")
	testkit.LintMetrics(t, p.app.Metrics)
	testkit.DescribedMetrics(t, p.app.Metrics, "event-listener")
	require.Regexp(t, `webhook_redis_commands_total [1-9]`, metrics)
	require.Regexp(t, `webhook_redis_round_trips_total [1-9]`, metrics)
}

func TestReplaysAreDone(t *testing.T) {
	p := startListener(t, testkit.Redis(t), testkit.Rabbit(t))
	p.publish("e1")
	p.collect(p.conn.Names().Commands, "e1")
	now := time.Now()
	asked := contract.Replay{ID: "rpl_1", Subscription: "sub_1", Resource: "orders", State: contract.ReplayRunning, Since: now.Add(-time.Minute), Until: now, CreatedAt: now}
	_, _, err := p.store.CreateReplay(context.Background(), asked)
	require.NoError(t, err)
	job := p.conn.Names().ToReplays(rabbit.Message{Body: []byte(`{"replay":"rpl_1","subscription":"sub_1"}`)})
	require.NoError(t, p.conn.Publisher().Publish(context.Background(), job))
	p.collect(p.conn.Names().Commands, "e1")
	require.Eventually(t, func() bool {
		_, metrics := p.get("/metrics")
		return strings.Contains(metrics, `replays_ended_total{state="done"} 1`)
	}, patience, 20*time.Millisecond)
}

func TestRedisAwayLosesNothing(t *testing.T) {
	redis := testkit.StartRedis(t)
	p := startListener(t, redis.URL, testkit.Rabbit(t))
	redis.Stop()
	p.publish("e1")
	p.until("/readyz", http.StatusServiceUnavailable)
	require.Eventually(t, func() bool {
		_, body := p.get("/readyz")
		return strings.Contains(body, "looking subscriptions up") // what the batch waits for
	}, patience, 20*time.Millisecond)
	p.stop()
	p.collect(p.conn.Names().Events, "e1") // it is where it was
}

func TestRedisAtItsMemoryLimitLosesNothing(t *testing.T) {
	redis := testkit.StartRedis(t)
	p := startListener(t, redis.URL, testkit.Rabbit(t))
	configure(t, redis.URL, "maxmemory 1")
	p.publish("e1")
	p.until("/readyz", http.StatusServiceUnavailable)
	status, _ := p.get("/healthz")
	require.Equal(t, http.StatusOK, status, "it lives: a restart would not help")
	p.publish("e2")
	configure(t, redis.URL, "maxmemory 0")
	p.collect(p.conn.Names().Commands, "e1", "e2")
	p.until("/readyz", http.StatusOK)
}

// configure sends CONFIG SET to a private Redis.
func configure(t *testing.T, redis, setting string) {
	t.Helper()
	address, err := url.Parse(redis)
	require.NoError(t, err)
	c, err := net.Dial("tcp", address.Host)
	require.NoError(t, err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "CONFIG SET %s\r\n", setting)
	require.NoError(t, err)
	reply, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", reply)
}

func TestBrokerRestartLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("restarts a broker")
	}
	broker := testkit.StartRabbit(t)
	p := startListener(t, testkit.Redis(t), broker.URL)
	p.publish("before")
	require.NoError(t, broker.Restart())
	p.publish("after")
	p.collect(p.conn.Names().Commands, "before", "after")
	p.until("/readyz", http.StatusOK)
}

func TestStartsWhileTheBrokerIsAway(t *testing.T) {
	app := service.New(zaptest.NewLogger(t))
	address, err := start(context.Background(), config{
		RedisURL: testkit.Redis(t), AMQPURL: "amqp://127.0.0.1:1/", MetricsListen: "127.0.0.1:0", Shutdown: time.Second, ReplayRate: 100,
	}, app)
	require.NoError(t, err)
	p := &process{t: t, app: app, address: address}
	t.Cleanup(p.stop)
	status, _ := p.get("/healthz")
	require.Equal(t, http.StatusOK, status)
	status, body := p.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "rabbitmq")
}

func TestBadConfiguration(t *testing.T) {
	good := config{RedisURL: "redis://localhost/0", Shutdown: time.Second, ReplayRate: 100}
	for name, spoil := range map[string]func(*config){
		"REDIS_URL":                func(c *config) { c.RedisURL = "nonsense" },
		"WEBHOOK_SHUTDOWN_TIMEOUT": func(c *config) { c.Shutdown = 0 },
		"WEBHOOK_REPLAY_RATE":      func(c *config) { c.ReplayRate = math.NaN() },
	} {
		c := good
		spoil(&c)
		_, err := start(context.Background(), c, service.New(zaptest.NewLogger(t)))
		require.ErrorContains(t, err, name)
	}
}
