package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

const (
	consumerGuide = "docs/consumer-guide.md"
	producerGuide = "docs/producer-guide.md"
	operatorGuide = "docs/operator-guide.md"
)

func TestTheGuidesCommandsWork(t *testing.T) {
	stack(t)
	for document, shown := range map[string][]string{
		consumerGuide: {"signature holds", `"status":"active"`, `"state":"verified"`, "\n204\n"},
		producerGuide: {"\n202\n", `"received_at"`},
		operatorGuide: {`"schema_mode":"reject"`, `"received_at"`},
	} {
		t.Run(document, func(t *testing.T) {
			out := typed(t, shellOf(t, document))
			for _, part := range shown {
				require.Contains(t, out, part)
			}
		})
	}
}

// snippet is one that was made ready to run.
type snippet func(env ...string) *exec.Cmd

// write puts a snippet into a file of its own, with a free port for the one that it names.
func write(t *testing.T, document, name, file string) (path, address string) {
	t.Helper()
	port := freePort(t)
	path = filepath.Join(t.TempDir(), file)
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(named(t, document, name), "9000", port)), 0o600))
	return path, "127.0.0.1:" + port
}

// tool leaves a test out where a snippet is missing, save where everything has to be checked.
func tool(t *testing.T, works bool, what string) {
	t.Helper()
	if !works && os.Getenv("CI") != "" {
		t.Fatal(what + " is missing: install it")
	}
	if !works {
		t.Skip(what + " is missing, so this snippet is not run")
	}
}

// goProgram compiles a snippet with the libraries of this module.
func goProgram(t *testing.T, path string) snippet {
	t.Helper()
	binary := path + ".bin"
	out, err := exec.CommandContext(ctx(t), "go", "build", "-o", binary, path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return func(env ...string) *exec.Cmd { return command(env, binary) }
}

// python finds an interpreter with a library, which may lie in a folder of its own.
func python(t *testing.T, library, folder string) func(path string) snippet {
	t.Helper()
	with := []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "PYTHONPATH=" + folder}
	for _, interpreter := range []string{"python3", "/usr/bin/python3"} {
		if command(with, interpreter, "-c", "import "+library).Run() == nil {
			return func(path string) snippet {
				return func(env ...string) *exec.Cmd { return command(append(with, env...), interpreter, path) }
			}
		}
	}
	tool(t, false, "python3 with "+library+" (Debian: python3-"+library+")")
	return nil
}

// javascript installs a library beside the snippet, whose name ends in .mjs.
func javascript(t *testing.T, library, path string) snippet {
	t.Helper()
	for _, name := range []string{"node", "npm"} {
		_, err := exec.LookPath(name)
		tool(t, err == nil, name)
	}
	cache := "npm_config_cache=" + filepath.Join(filepath.Dir(path), "cache")
	out, err := command([]string{cache}, "npm", "install", "--no-audit", "--no-fund", "--prefix", filepath.Dir(path), library).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return func(env ...string) *exec.Cmd { return command(env, "node", path) }
}

func command(env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// libraries is the folder of Standard Webhooks' libraries for all languages, which the module for Go brings along.
func libraries(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(ctx(t), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/standard-webhooks/standard-webhooks/libraries").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func TestTheVerifiersOfTheGuideTakeARealCallbackAndRefuseATamperedOne(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, secret := s.subscribe(t, r.URL, nil)
	_, err := s.consumer.Want(ctx(t), http.StatusAccepted, "POST", s.path()+"/"+id+"/test", nil)
	require.NoError(t, err)
	got, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	real := got[0]
	for name, prepare := range map[string]func(t *testing.T) (snippet, string){
		"go": func(t *testing.T) (snippet, string) {
			path, address := write(t, consumerGuide, "go-verify", "main.go")
			return goProgram(t, path), address
		},
		"python": func(t *testing.T) (snippet, string) {
			run := python(t, "standardwebhooks", filepath.Join(libraries(t), "python"))
			path, address := write(t, consumerGuide, "python-verify", "verify.py")
			return run(path), address
		},
		"javascript": func(t *testing.T) (snippet, string) {
			path, address := write(t, consumerGuide, "javascript-verify", "verify.mjs")
			return javascript(t, "standardwebhooks@1.1.1", path), address
		},
	} {
		t.Run(name, func(t *testing.T) {
			verifier, address := prepare(t)
			running(t, verifier("WEBHOOK_SECRET="+secret))
			require.Equal(t, http.StatusNoContent, post(t, address, real.Header, real.Body))
			require.Equal(t, http.StatusUnauthorized, post(t, address, real.Header, bytes.Replace(real.Body, []byte(`"type"`), []byte(`"tYpe"`), 1)))
			late := real.Header.Clone()
			late.Set("webhook-timestamp", fmt.Sprint(time.Now().Add(-time.Hour).Unix()))
			require.Equal(t, http.StatusUnauthorized, post(t, address, late, real.Body))
			unsigned := real.Header.Clone()
			unsigned.Del("webhook-signature")
			require.Equal(t, http.StatusUnauthorized, post(t, address, unsigned, real.Body))
		})
	}
}

// running starts a snippet and ends it with the test.
func running(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
}

// post sends a callback again, to an endpoint that may still be starting, and returns the status.
func post(t *testing.T, address string, header http.Header, body []byte) (status int) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, cancel := context.WithTimeout(ctx(t), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(c, http.MethodPost, "http://"+address+"/hooks", bytes.NewReader(body))
		require.NoError(t, err)
		req.Header = header
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		status = resp.StatusCode
		return true
	}, 20*time.Second, 20*time.Millisecond)
	return status
}

func TestEveryWayOfPublishingInTheGuideArrives(t *testing.T) {
	s := setScene(t)
	admin := s.Admin()
	_, err := admin.Do(ctx(t), "PUT", "/admin/v1/resources/orders", `{}`)
	require.NoError(t, err)
	buyer, err := s.NewConsumer(ctx(t), t.Name(), world.Grant{Resource: "orders", Actions: []string{"subscribe", "publish"}})
	require.NoError(t, err)
	r := receiver(t, nil)
	answer, err := buyer.Want(ctx(t), http.StatusCreated, "POST", "/orders/subscribe", map[string]any{
		"callback_url": r.URL, "types": []string{"order.created"}, "filter": `source == "/shop"`,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = buyer.Do(context.WithoutCancel(t.Context()), "DELETE", "/orders/subscribe/"+answer.Field("id"), nil)
	})
	for name, publish := range map[string]func(t *testing.T) *exec.Cmd{
		"go": func(t *testing.T) *exec.Cmd {
			path, _ := write(t, producerGuide, "go-publish", "main.go")
			return goProgram(t, path)("AMQP_URL=" + s.AMQPURL)
		},
		"python": func(t *testing.T) *exec.Cmd {
			run := python(t, "pika", "")
			path, _ := write(t, producerGuide, "python-publish", "publish.py")
			return run(path)("AMQP_URL=" + s.AMQPURL)
		},
		"curl": func(t *testing.T) *exec.Cmd {
			return command([]string{"GATEWAY_URL=" + s.GatewayURL, "KEY=" + buyer.Header.Get("apikey")}, "bash", "-c",
				strict+named(t, producerGuide, "curl-publish"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.Callbacks())
			out, err := publish(t).CombinedOutput()
			require.NoError(t, err, "%s", out)
			got, err := r.WaitFor(ctx(t), before+1)
			require.NoError(t, err)
			require.Regexp(t, `"order": ?"4711"`, string(got[before].Body))
		})
	}
}
