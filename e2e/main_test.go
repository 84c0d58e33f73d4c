package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// scene is one test's corner of the running stack: a resource of its own and a consumer who may subscribe and publish.
type scene struct {
	world.Stack
	resource string
	consumer world.Client
	producer *world.Producer
}

var scenes atomic.Int64

// setScene needs a running stack: E2E_ENV_FILE names its env file.
func setScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{Stack: stack(t), resource: fmt.Sprintf("e2e-%d-%d", time.Now().UnixMilli(), scenes.Add(1))}
	require.NoError(t, s.NewResource(ctx(t), s.resource))
	var err error
	s.consumer, err = s.NewConsumer(ctx(t), t.Name(), world.Grant{Resource: s.resource, Actions: []string{"subscribe", "publish"}})
	require.NoError(t, err)
	s.producer, err = s.NewProducer(ctx(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.producer.Close() })
	return s
}

func stack(t *testing.T) world.Stack {
	t.Helper()
	file := os.Getenv("E2E_ENV_FILE")
	if file == "" {
		if os.Getenv("WEBHOOK_TEST_REQUIRE") != "" {
			t.Fatal("E2E_ENV_FILE is not set")
		}
		t.Skip("E2E_ENV_FILE is not set: run through make test, or give the env file of make up")
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join("..", file)
	}
	s, err := world.ReadStack(file)
	require.NoError(t, err)
	return s
}

// control returns a runner of the stack's script, for tests that break parts of it.
func control(t *testing.T) func(args ...string) error {
	t.Helper()
	script := os.Getenv("E2E_STACK")
	if script == "" {
		t.Skip("E2E_STACK is not set: this stack is not ours to break")
	}
	return func(args ...string) error {
		cmd := exec.CommandContext(ctx(t), script, args...) // #nosec G204 -- the project's own script
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", script, strings.Join(args, " "), err, out)
		}
		return nil
	}
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 90*time.Second)
	t.Cleanup(cancel)
	return c
}

func (s *scene) path() string { return "/" + s.resource + "/subscribe" }

func receiver(t *testing.T, answer func(n int, c world.Callback) int) *world.Receiver {
	t.Helper()
	r, err := world.NewReceiver(answer)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// subscribe creates a subscription and returns its id and secret. more overrides or adds fields.
func (s *scene) subscribe(t *testing.T, url string, more map[string]any) (id, secret string) {
	t.Helper()
	made := s.create(t, url, more)
	return made.Field("id"), made.Field("secret")
}

func (s *scene) create(t *testing.T, url string, more map[string]any) world.Answer {
	t.Helper()
	wish := map[string]any{"callback_url": url}
	for k, v := range more {
		wish[k] = v
	}
	made, err := s.consumer.Want(ctx(t), 201, "POST", s.path(), wish)
	require.NoError(t, err)
	require.Equal(t, s.path()+"/"+made.Field("id"), made.Header.Get("Location"))
	return made
}

func (s *scene) publish(t *testing.T, ids ...string) {
	t.Helper()
	require.NoError(t, s.producer.PublishEvents(ctx(t), s.events(ids...)...))
}

func (s *scene) events(ids ...string) []world.Event {
	events := make([]world.Event, len(ids))
	for i, id := range ids {
		events[i] = world.Event{Resource: s.resource, ID: id, Type: "order.created", Data: []byte(`{"id": "` + id + `"}`)}
	}
	return events
}

// eventually polls until a call through the API says what is wanted.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 25*time.Millisecond, what)
}
