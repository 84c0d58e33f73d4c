package main

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const goodKey = "0123456789abcdef0123456789abcdef"

// setAll sets a whole environment; what is not named is as good as unset.
func setAll(t *testing.T, change map[string]string) {
	t.Helper()
	for name, value := range map[string]string{
		"REDIS_URL": "redis://127.0.0.1:1/0", "WEBHOOK_GATEWAY_KEY": goodKey, "WEBHOOK_CALLBACK_KEY": goodKey,
		"WEBHOOK_EGRESS": "127.0.0.1:0", "WEBHOOK_ALLOW_CIDRS": "", "WEBHOOK_ALLOW_HTTP": "false", "WEBHOOK_DNS": "", "WEBHOOK_EGRESS_PROXY": "", "WEBHOOK_LOG_LEVEL": "warn",
		"WEBHOOK_KEYRING": "", "WEBHOOK_KEYRING_FILE": "", "WEBHOOK_RUNNER_METRICS_LISTEN": "off",
	} {
		t.Setenv(name, value)
	}
	for name, value := range change {
		t.Setenv(name, value)
	}
}

func TestTheEnvironment(t *testing.T) {
	tests := map[string]struct {
		change map[string]string
		faults []string
	}{
		"all good":         {},
		"networks":         {change: map[string]string{"WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8,::1/128", "WEBHOOK_ALLOW_HTTP": "true"}},
		"IPv6 loopback":    {change: map[string]string{"WEBHOOK_EGRESS": "[::1]:9280"}},
		"by name":          {change: map[string]string{"WEBHOOK_EGRESS": "localhost:9280"}},
		"no keys":          {map[string]string{"WEBHOOK_GATEWAY_KEY": "", "WEBHOOK_CALLBACK_KEY": ""}, []string{"WEBHOOK_GATEWAY_KEY is missing", "WEBHOOK_CALLBACK_KEY is missing"}},
		"short keys":       {map[string]string{"WEBHOOK_GATEWAY_KEY": "hunter2", "WEBHOOK_CALLBACK_KEY": "hunter2"}, []string{"WEBHOOK_GATEWAY_KEY: the key has 7", "WEBHOOK_CALLBACK_KEY: the key has 7"}},
		"no Redis":         {map[string]string{"REDIS_URL": ""}, []string{"REDIS_URL is missing"}},
		"Redis unreadable": {map[string]string{"REDIS_URL": "http://u:hunter2@h"}, []string{"REDIS_URL"}},
		"a bad network":    {map[string]string{"WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8,10.0.0.0"}, []string{"WEBHOOK_ALLOW_CIDRS", "10.0.0.0"}},
		"DNS and a proxy":  {change: map[string]string{"WEBHOOK_DNS": "10.0.0.53:53", "WEBHOOK_EGRESS_PROXY": "http://me:hunter2@proxy.example:3128"}},
		"DNS by name":      {map[string]string{"WEBHOOK_DNS": "hunter2:53"}, []string{"WEBHOOK_DNS: is not a DNS server's address"}},
		"a proxy unread":   {map[string]string{"WEBHOOK_EGRESS_PROXY": "http://me:hunter2@proxy.example"}, []string{"WEBHOOK_EGRESS_PROXY: cannot be read"}},
		"a key ring":       {change: map[string]string{"WEBHOOK_KEYRING": "k1:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="}},
		"a bad key ring":   {map[string]string{"WEBHOOK_KEYRING": "k1:hunter2"}, []string{"WEBHOOK_KEYRING entry 1"}},
		"no such key ring": {map[string]string{"WEBHOOK_KEYRING_FILE": "/no/such/file"}, []string{"WEBHOOK_KEYRING_FILE"}},
		"no boolean":       {map[string]string{"WEBHOOK_ALLOW_HTTP": "hunter2"}, []string{"WEBHOOK_ALLOW_HTTP"}},
		"no log level":     {map[string]string{"WEBHOOK_LOG_LEVEL": "hunter2"}, []string{"WEBHOOK_LOG_LEVEL"}},
		"open egress":      {map[string]string{"WEBHOOK_EGRESS": "0.0.0.0:9280"}, []string{"WEBHOOK_EGRESS is not a loopback"}},
		"egress by name":   {map[string]string{"WEBHOOK_EGRESS": "example.com:9280"}, []string{"WEBHOOK_EGRESS is not a loopback"}},
		"no port":          {map[string]string{"WEBHOOK_EGRESS": "127.0.0.1"}, []string{"WEBHOOK_EGRESS cannot be read"}},
		"metrics":          {change: map[string]string{"WEBHOOK_RUNNER_METRICS_LISTEN": "0.0.0.0:8085"}},
		"no metrics port":  {map[string]string{"WEBHOOK_RUNNER_METRICS_LISTEN": "127.0.0.1"}, []string{"WEBHOOK_RUNNER_METRICS_LISTEN cannot be read"}},
		"much at once":     {map[string]string{"REDIS_URL": "", "WEBHOOK_EGRESS": "x", "WEBHOOK_GATEWAY_KEY": ""}, []string{"REDIS_URL", "WEBHOOK_EGRESS", "WEBHOOK_GATEWAY_KEY"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			setAll(t, test.change)
			env, logging, err := readEnvironment()
			p, wrong := env.build(zap.NewNop())
			if p.store != nil {
				defer func() { _ = p.store.Close() }()
			}
			err = errors.Join(err, wrong)
			if (err == nil) != (test.faults == nil) {
				t.Fatalf("got %v", err)
			}
			for _, fault := range test.faults {
				if !strings.Contains(err.Error(), fault) {
					t.Errorf("%q is not named: %v", fault, err)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a value is repeated: %v", err)
			}
			if logging.Level != zapcore.WarnLevel {
				t.Errorf("the level is %s", logging.Level)
			}
		})
	}
}
