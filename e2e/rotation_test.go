package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// A key is rotated as docs/operator-guide.md says, while events are delivered and subscriptions change: nothing stops, nothing is lost, and in
// the end the old key is needed by nobody.
func TestAKeyIsRotatedWhileEverythingWorks(t *testing.T) {
	control(t) // the stack is ours
	s := setScene(t)
	endpoint := receiver(t, nil)
	wish := map[string]any{"auth": map[string]string{"type": "bearer", "token": "t0ken"}}
	id, secret := s.subscribe(t, endpoint.URL, wish)
	path := filepath.Join(runDir(), "keyring")
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	name := fmt.Sprintf("r%d", time.Now().UnixMilli())
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	fresh := name + ":" + base64.StdEncoding.EncodeToString(raw[:])

	stop, published := make(chan struct{}), 0
	var busy sync.WaitGroup
	busy.Go(func() {
		for done := false; !done; published++ {
			select {
			case <-stop:
				done = true
			default:
			}
			if err := s.producer.PublishEvents(ctx(t), s.events(fmt.Sprint("rotation-", published))...); err != nil {
				t.Error(err)
				return
			}
			if _, err := s.consumer.Want(ctx(t), 200, "PATCH", s.path()+"/"+id, map[string]any{"rate_limit": 5000 + published%100}); err != nil {
				t.Error(err)
			}
		}
	})
	useRing(t, s, path, fresh+"\n"+string(old), name)
	out, err := rekey(t, s, path)
	require.NoError(t, err, out)
	close(stop)
	busy.Wait()
	out, err = rekey(t, s, path)
	require.NoError(t, err, out)
	require.Contains(t, out, "all is under "+name)
	useRing(t, s, path, fresh+"\n", name)

	s.publish(t, "after")
	got, err := endpoint.WaitFor(ctx(t), published+1)
	require.NoError(t, err)
	for _, call := range got {
		require.NoError(t, call.Verify(secret))
		require.Equal(t, "Bearer t0ken", call.Header.Get("Authorization"))
	}
	answer, err := s.consumer.Want(ctx(t), 200, "PATCH", s.path()+"/"+id, map[string]any{"rate_limit": nil})
	require.NoError(t, err)
	wish["callback_url"] = endpoint.URL
	same, err := s.consumer.Want(ctx(t), 200, "POST", s.path(), wish)
	require.NoError(t, err, "the same subscription again is still the same one")
	require.Equal(t, answer.Field("id"), same.Field("id"))
}

// useRing gives the services a key ring and waits until each of them has it, and no other.
func useRing(t *testing.T, s *scene, path, text, current string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
	keys := strings.Count(strings.TrimSpace(text), "\n") + 1
	for _, url := range []string{s.SubscriptionMetricsURL, s.CallbackMetricsURL} {
		eventually(t, "the key ring is read", func() bool {
			answer, err := world.Client{Base: url}.Want(ctx(t), http.StatusOK, http.MethodGet, "", nil)
			return err == nil && strings.Contains(string(answer.Body), `webhook_keyring_key{current="true",id="`+current+`"}`) &&
				strings.Count(string(answer.Body), "\nwebhook_keyring_key{") == keys
		})
	}
}

func rekey(t *testing.T, s *scene, ring string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx(t), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "../bin/rekey", "-wait", "0s")
	cmd.Env = []string{"REDIS_URL=" + s.RedisURL, "WEBHOOK_KEYRING_FILE=" + ring}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
