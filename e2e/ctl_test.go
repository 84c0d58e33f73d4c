package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// ctl is webhookctl as a user of the stack has it: the addresses in the environment, nothing else.
type ctl struct {
	t      *testing.T
	binary string
	env    map[string]string
	dir    string
}

func newCtl(t *testing.T, s world.Stack, key string) *ctl {
	t.Helper()
	binary, err := filepath.Abs("../bin/webhookctl")
	require.NoError(t, err)
	require.FileExists(t, binary, "run make build")
	return &ctl{t, binary, map[string]string{
		"GATEWAY_URL": s.GatewayURL, "ADMIN_URL": s.AdminURL, "ADMIN_TOKEN": s.AdminToken, "AMQP_URL": s.AMQPURL, "REDIS_URL": s.RedisURL, "WEBHOOK_API_KEY": key,
		"CALLBACK_METRICS_URL": s.CallbackMetricsURL, "LISTENER_METRICS_URL": s.ListenerMetricsURL, "SUBSCRIPTION_METRICS_URL": s.SubscriptionMetricsURL, "RUNNER_METRICS_URL": s.RunnerMetricsURL,
		"HOME": t.TempDir(), "PATH": os.Getenv("PATH"),
	}, t.TempDir()}
}

// with is the same with another environment.
func (c *ctl) with(name, value string) *ctl {
	other := *c
	other.env = maps.Clone(c.env)
	other.env[name] = value
	return &other
}

func (c *ctl) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Dir = c.dir
	for name, value := range c.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// run runs a command line, given as words, and returns what it said and its exit code.
func (c *ctl) run(words string, more ...string) (out, errs string, code int) {
	c.t.Helper()
	return c.fed("", words, more...)
}

func (c *ctl) fed(in, words string, more ...string) (out, errs string, code int) {
	c.t.Helper()
	cmd := c.command(ctx(c.t), append(strings.Fields(words), more...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &stdout, &stderr
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		require.NoError(c.t, err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// do is run of what must succeed.
func (c *ctl) do(words string, more ...string) string {
	c.t.Helper()
	out, errs, code := c.run(words, more...)
	require.Zero(c.t, code, "webhookctl %s: %s", words, errs)
	return out
}

// object is do with JSON.
func (c *ctl) object(words string, more ...string) map[string]any {
	c.t.Helper()
	var object map[string]any
	require.NoError(c.t, json.Unmarshal([]byte(c.do("-o json "+words, more...)), &object))
	return object
}

// ctlProcess is a command that goes on until it is interrupted.
type ctlProcess struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	errs  chan string
}

func (c *ctl) start(words string, more ...string) *ctlProcess {
	c.t.Helper()
	r := &ctlProcess{t: c.t, cmd: c.command(context.WithoutCancel(c.t.Context()), append(strings.Fields(words), more...)...), lines: make(chan string, 1000), errs: make(chan string, 1000)}
	stdout, err := r.cmd.StdoutPipe()
	require.NoError(c.t, err)
	stderr, err := r.cmd.StderrPipe()
	require.NoError(c.t, err)
	require.NoError(c.t, r.cmd.Start())
	go scan(stdout, r.lines)
	go scan(stderr, r.errs)
	c.t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

func scan(from io.Reader, to chan<- string) {
	defer close(to)
	for lines := bufio.NewScanner(from); lines.Scan(); {
		to <- lines.Text()
	}
}

// line waits for a line that has a text in it.
func (r *ctlProcess) line(from <-chan string, has string) string {
	r.t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case line, ok := <-from:
			require.True(r.t, ok, "it ended without %q", has)
			if strings.Contains(line, has) {
				return line
			}
		case <-deadline:
			require.Fail(r.t, "no line has "+has)
		}
	}
}

// interrupt ends it as Ctrl-C does, and returns its exit code.
func (r *ctlProcess) interrupt() int {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(syscall.SIGINT))
	for range r.lines { // until it has ended
	}
	for range r.errs { // until it has ended
	}
	_ = r.cmd.Wait() // the code says it
	return r.cmd.ProcessState.ExitCode()
}

func TestCtlDoesWhatAnAdminDoes(t *testing.T) {
	s := stack(t)
	c := newCtl(t, s, "")
	name := fmt.Sprintf("ctl-%d", time.Now().UnixNano())
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "schema.json"), []byte(`{"type":"object","required":["total"]}`), 0o600))
	c.do("resources put " + name + " --type order.created --type order.paid --schema order.created=schema.json --policy schema_mode=reject -q")
	require.Contains(t, c.do("resources list"), name)
	require.Contains(t, c.do("resources types "+name+" --remove order.paid --add order.sent"), "order.sent")
	require.JSONEq(t, `{"schema_mode":"reject","max_subscriptions":1}`, c.do("resources policy "+name+" --set max_subscriptions=1"))

	consumer := strings.TrimSpace(c.do("consumers create " + name + " --grant " + name + ":subscribe -q"))
	require.Contains(t, c.do("consumers grants "+consumer+" --add "+name+":publish"), name+":publish,subscribe")
	require.Contains(t, c.do("consumers limits "+name+" --set max_subscriptions=3"), "max_subscriptions=3")
	key := c.object("keys create " + consumer)
	own := c.with("WEBHOOK_API_KEY", key["key"].(string))
	require.Contains(t, own.do("events types "+name), "order.sent")
	c.do("keys revoke " + consumer + " " + key["id"].(string))
	eventually(t, "the key is refused", func() bool { _, _, code := own.run("events types " + name); return code == 4 })
	require.Contains(t, c.do("audit --object "+name+" --limit 0"), "put-resource")
	require.Contains(t, c.do("portal --admin -q"), "/portal/sign-in/")
	require.Contains(t, c.do("portal --consumer "+name+" -q"), "/portal/sign-in/")

	c.do("consumers delete " + name + " -y")
	_, _, code := c.run("consumers get " + consumer)
	require.Equal(t, 3, code)
	c.do("resources delete " + name + " -y")
	_, errs, code := c.with("ADMIN_TOKEN", "wrong").run("resources list")
	require.Equal(t, 4, code, errs)
	_, errs, code = c.run("resources put Wrong")
	require.Equal(t, 5, code)
	require.Contains(t, errs, "path.resource")
}

// key makes a key for a command line of the scene's consumer.
func (s *scene) ctl(t *testing.T) *ctl {
	t.Helper()
	return newCtl(t, s.Stack, s.consumer.Header.Get("apikey"))
}

func TestCtlDoesWhatConsumersAndProducersDo(t *testing.T) {
	s := setScene(t)
	c := s.ctl(t)
	_, errs, code := c.run("receive --secret-file missing")
	require.Equal(t, 2, code, errs)
	endpoint := c.start("receive --listen 127.0.0.1:0")
	url := strings.Fields(endpoint.line(endpoint.errs, "listening on"))[2]
	sub := c.object("subscribe "+s.resource+" --callback-url "+url+"/hooks --type order.* --save-secret secret --filter", "!has(data.skip)")
	require.NotContains(t, sub, "secret")
	id := sub["id"].(string)
	at := s.resource + "/" + id

	require.Contains(t, c.do("subscriptions preview "+s.resource+" --id "+id+" --event", c.file("event.json", `{"specversion":"1.0","id":"1","source":"/a","type":"order.created","data":{}}`)), "wanted  yes")
	require.Contains(t, c.do("subscriptions test "+at+" --wait"), "succeeded")
	endpoint.line(endpoint.lines, "POST /hooks")
	tail := c.start("deliveries tail " + at)
	eventually(t, "an attempt is told live", func() bool {
		c.do("subscriptions test " + at)
		select {
		case line := <-tail.lines:
			return strings.Contains(line, "#1") && strings.Contains(line, "204")
		case <-time.After(2 * time.Second):
			return false
		}
	})
	require.Zero(t, tail.interrupt())

	require.Contains(t, c.do("events publish "+s.resource+" --type order.created --source /shop --id over-amqp", `{"total":1}`), "over-amqp")
	endpoint.line(endpoint.lines, "over-amqp")
	require.Contains(t, c.do("events publish "+s.resource+" --via http --type order.created --source /shop --id over-http", `{"total":2}`), "over-http")
	endpoint.line(endpoint.lines, "over-http")
	c.do("events publish "+s.resource+" --type order.created --source /shop --id not-wanted", `{"skip":1}`)
	eventually(t, "explained", func() bool {
		out, _, code := c.run("explain not-wanted --source /shop --subscription " + at)
		return code == 0 && strings.Contains(out, "filter")
	})
	require.Contains(t, c.do("explain over-amqp --source /shop --resource "+s.resource), id)

	var delivery string
	eventually(t, "listed", func() bool {
		delivery, _, _ = strings.Cut(c.do("deliveries list "+at+" --limit 1 -q"), "\n")
		return delivery != ""
	})
	require.Contains(t, c.do("deliveries get "+at+" "+delivery), "#1")
	require.Contains(t, c.do("replay "+at+" "+delivery), "done")
	endpoint.line(endpoint.lines, delivery)
	require.Contains(t, c.do("replay "+at+" --since 10m"), "events looked at")

	require.Contains(t, c.do("subs pause "+at), "is paused")
	require.Contains(t, c.do("subs resume "+at), "is active")
	require.Contains(t, c.do("subs update "+at+" --rate-limit 5 --clear filter"), "5 per second")
	require.Contains(t, c.do("subs rotate-secret "+at), "whsec_")
	require.Contains(t, c.do("subs list "+s.resource), id)
	require.Contains(t, c.do("portal -q"), "/portal/sign-in/")
	c.do("subs delete " + at + " -y")
	_, _, code = c.run("subs get " + at)
	require.Equal(t, 3, code)
	require.Zero(t, endpoint.interrupt())
}

func (c *ctl) file(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	require.NoError(c.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestCtlVerifiesWhatACallbackBrings(t *testing.T) {
	s := setScene(t)
	c := s.ctl(t)
	r := receiver(t, nil)
	id, secret := s.subscribe(t, r.URL, map[string]any{"signatures": []string{"v1", "v1a"}})
	s.publish(t, "1")
	got, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	raw := fmt.Sprintf("POST /hooks HTTP/1.1\r\nwebhook-id: %s\r\nwebhook-timestamp: %s\r\nwebhook-signature: %s\r\ncontent-length: %d\r\n\r\n%s", got[0].ID(),
		got[0].Header.Get("webhook-timestamp"), got[0].Header.Get("webhook-signature"), len(got[0].Body), got[0].Body)
	own := c.with("WEBHOOK_SECRET", secret)
	out, errs, code := own.fed(raw, "verify")
	require.Zero(t, code, out+errs)
	out, errs, code = c.fed(raw, "verify --subscription "+id)
	require.Zero(t, code, out+errs)
	require.Contains(t, out, "v1a")
	out, _, code = own.fed(strings.Replace(raw, "order.created", "order.deleted", 1), "verify")
	require.Equal(t, 1, code)
	require.Contains(t, out, "the signature does not hold")
}

func TestCtlPublishesManyAndGoesOnAfterAFault(t *testing.T) {
	s := setScene(t)
	c := s.ctl(t)
	r := receiver(t, nil)
	s.subscribe(t, r.URL, map[string]any{"format": "data"})
	var lines strings.Builder
	for i := range 600 {
		fmt.Fprintf(&lines, "{\"n\":%d}\n", i)
	}
	broken := strings.Replace(lines.String(), `{"n":550}`, `{"n":`, 1)
	for _, via := range []string{"amqp", "http"} {
		begun := "events publish " + s.resource + " --type order.created --id-prefix " + via + " --via " + via
		_, errs, code := c.fed(broken, begun)
		require.Equal(t, 7, code, errs)
		require.Contains(t, errs, "550 events are confirmed, up to event 550 on line 550; go on with --skip 550 --id-prefix "+via)
		out, errs, code := c.fed(lines.String(), begun+" --skip 550")
		require.Zero(t, code, errs)
		require.Contains(t, out, "50 events")
	}
	_, err := r.WaitFor(ctx(t), 1200)
	require.NoError(t, err)
	_, errs, code := c.with("AMQP_URL", strings.Replace(s.AMQPURL, "webhook:", "nobody:", 1)).run("events publish "+s.resource+" --type a", "{}")
	require.Equal(t, 6, code, errs)
}

func TestCtlDoctorFindsTheStackWell(t *testing.T) {
	s := setScene(t)
	out, errs, code := s.ctl(t).run("doctor --all")
	require.Zero(t, code, out+errs)
	require.Contains(t, out, "0 faults")
	require.Contains(t, out, "credential: accepted")
}

func TestCtlDoctorFindsWhatIsBroken(t *testing.T) {
	s := setScene(t)
	c := s.ctl(t)
	for name, one := range map[string]struct {
		c    *ctl
		want []string
	}{
		"a wrong token":    {c.with("ADMIN_TOKEN", "wrong"), []string{"token: refused", "WEBHOOK_ADMIN_TOKEN"}},
		"a revoked key":    {c.with("WEBHOOK_API_KEY", "wrong"), []string{"credential", "webhookctl keys create"}},
		"no gateway":       {c.with("GATEWAY_URL", "http://127.0.0.1:1"), []string{"start the gateway"}},
		"no Redis":         {c.with("REDIS_URL", "redis://127.0.0.1:1/0"), []string{"start Redis"}},
		"a wrong password": {c.with("AMQP_URL", strings.Replace(s.AMQPURL, "webhook:", "nobody:", 1)), []string{"start RabbitMQ, or mend AMQP_URL"}},
		"a misspelling":    {c.with("WEBHOOK_ALOW_HTTP", "true").with("ADMIN_TOKEN", "wrong"), []string{"did you mean WEBHOOK_ALLOW_HTTP?"}},
	} {
		out, errs, code := one.c.run("doctor")
		require.Equal(t, 1, code, "%s: %s", name, errs)
		for _, want := range one.want {
			require.Contains(t, out, want, name)
		}
		require.NotContains(t, out+errs, s.AdminToken)
	}
}

func TestCtlDoctorRepairsTheTopology(t *testing.T) {
	s := setScene(t)
	control(t) // only of a stack that is ours to break
	c := s.ctl(t)
	conn, err := amqp.Dial(s.AMQPURL)
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	_, err = ch.QueueDelete("webhook.operations", false, false, false)
	require.NoError(t, err)
	out, _, code := c.run("doctor")
	require.Equal(t, 1, code)
	require.Contains(t, out, "queue webhook.operations: it is not there")
	require.Contains(t, out, "--repair")
	out, errs, code := c.run("doctor --repair")
	require.Zero(t, code, out+errs)
}

func TestCtlDoctorMissesAServiceThatStands(t *testing.T) {
	s := setScene(t)
	do := control(t)
	c := s.ctl(t)
	require.NoError(t, do("stop", "event-listener"))
	t.Cleanup(func() { require.NoError(t, do("start", "event-listener")) })
	out, _, code := c.run("doctor")
	require.Equal(t, 1, code)
	require.Contains(t, out, "start it, or mend LISTENER_METRICS_URL")
	require.Contains(t, out, "nobody takes its messages")
	require.Contains(t, out, "start event-listener")
}

func TestCtlTriesDeadLettersAgain(t *testing.T) {
	s := setScene(t)
	c := s.ctl(t)
	well := make(chan struct{})
	r := receiver(t, func(int, world.Callback) int {
		select {
		case <-well:
			return 204
		default:
			return 500
		}
	})
	s.subscribe(t, r.URL, map[string]any{"retry_schedule": []string{}})
	s.publish(t, "dead")
	require.NoError(t, s.producer.Publish(ctx(t), s.producer.Message(world.Event{Resource: s.resource, Type: "order.created", Data: []byte("{}")})), "an event without an id")
	list := func(kind string) string {
		return c.do("dead-letters list --resource " + s.resource + " --kind " + kind)
	}
	eventually(t, "both are listed", func() bool {
		return strings.Contains(list("delivery"), "dlv_") && strings.Contains(list("event"), "dev_")
	})
	c.do("breakers --resource " + s.resource)
	close(well)
	require.Contains(t, c.do("dead-letters replay --kind delivery --resource "+s.resource), "1, by 1 replays")
	got, err := r.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	require.Equal(t, got[0].ID(), got[1].ID())
	event := strings.TrimSpace(c.do("dead-letters list -q --kind event --resource " + s.resource))
	require.Contains(t, c.do("dead-letters replay "+event), "published anew")
}

func TestCtlListensWithoutAnEndpointThatTheGatewayCanReach(t *testing.T) {
	s := setScene(t)
	c := s.ctl(t)
	local := receiver(t, func(n int, _ world.Callback) int {
		if n == 2 {
			return 503
		}
		return 200
	})
	listening := c.start("listen "+s.resource+" --type order.* --forward-to", local.URL)
	id := strings.TrimPrefix(strings.Fields(listening.line(listening.errs, "listening for"))[2], s.resource+"/")
	fields := strings.Fields(listening.line(listening.errs, "its secret"))
	secret := fields[len(fields)-1]
	s.publish(t, "1", "2", "3")
	got, err := local.WaitFor(ctx(t), 4)
	require.NoError(t, err)
	for i, want := range []string{"1", "2", "2", "3"} {
		require.Contains(t, string(got[i].Body), `"id":"`+want+`"`, "in their order, and the one that failed again")
		require.NoError(t, got[i].Verify(secret))
	}
	require.Equal(t, got[1].ID(), got[2].ID())
	listening.line(listening.lines, "(attempt 2)")
	eventually(t, "all are acknowledged", func() bool {
		return strings.Count(c.do("deliveries list "+s.resource+" "+id+" --status succeeded -q"), "dlv_") == 3
	})
	require.Zero(t, listening.interrupt())
	_, _, code := c.run("subs get " + s.resource + " " + id)
	require.Equal(t, 3, code, "what was made for it ends with it")

	kept := c.object("subscribe " + s.resource + " --mode pull --description kept")["id"].(string)
	listening = c.start("listen " + s.resource + " -o json --id " + kept)
	s.publish(t, "4")
	require.Contains(t, listening.line(listening.lines, "webhook-signature"), `\"id\":\"4\"`)
	require.Zero(t, listening.interrupt())
	require.Contains(t, c.do("subs get "+s.resource+" "+kept), "pull")
}
