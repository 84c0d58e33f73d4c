// Command rekey brings all that rests sealed under the current key of the key ring while the services work, so that the other
// keys can be taken out. It can be stopped and run again. It ends with 0 only if nothing is sealed under any other key.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

type config struct {
	RedisURL    string        `env:"REDIS_URL,required,notEmpty"`
	RedisFiles  tlsconf.Files `envPrefix:"WEBHOOK_REDIS_"`
	Keyring     string        `env:"WEBHOOK_KEYRING"`
	KeyringFile string        `env:"WEBHOOK_KEYRING_FILE"`
	// Namespace is the tests' own; production has the default one.
	Namespace string
}

const (
	// batch is more than Reseal asks for at a time.
	batch = 1000
	// tellEvery is how often progress is printed.
	tellEvery = 2 * time.Second
)

// errIncomplete ends a run after which a key besides the current one is still needed.
var errIncomplete = errors.New("not all is under the current key: keep the other keys in the ring")

func main() {
	check := flag.Bool("check", false, "only count what is sealed under which key")
	perSecond := flag.Float64("rate", 2000, "records per second, at most")
	wait := flag.Duration("wait", 5*time.Second, "how long services take to read a changed file: what they seal until then is sealed anew")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: REDIS_URL=… WEBHOOK_KEYRING_FILE=… rekey [-check] [-rate 2000] [-wait 5s]")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	c, err := service.Environment[config]()
	if err == nil {
		err = run(ctx, c, how{*check, *perSecond, *wait}, os.Stdout)
	}
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rekey:", err)
		os.Exit(1)
	}
}

// how are the flags.
type how struct {
	check     bool
	perSecond float64
	wait      time.Duration
}

func run(ctx context.Context, c config, h how, out io.Writer) error {
	if !(h.perSecond > 0) || h.wait < 0 || flag.NArg() > 0 { // neither is NaN
		return errors.New("-rate must be positive, -wait not negative, and there are no arguments: see -h")
	}
	keys, err := keyring.Load(c.Keyring, c.KeyringFile)
	if err != nil {
		return err
	}
	secure, err := tlsconf.NewClient(tlsconf.Redis(c.RedisURL), c.RedisFiles, zap.NewNop())
	if err != nil {
		return err
	}
	kept, err := store.Open(store.Options{URL: c.RedisURL, Namespace: c.Namespace, Keyring: keys, TLS: secure})
	if err != nil {
		return err
	}
	defer func() { _ = kept.Close() }() // nothing is under way
	r := &rekeying{store: kept, keys: keys.Keys(), pace: rate.NewLimiter(rate.Limit(h.perSecond), batch), out: out}
	if !h.check {
		if err := r.reseal(ctx, h.wait); err != nil {
			return err
		}
	}
	return r.check(ctx) // after a run as well: a service with an old ring may have written meanwhile
}

type rekeying struct {
	store *store.Store
	keys  []string
	pace  *rate.Limiter
	out   io.Writer
}

func (r *rekeying) reseal(ctx context.Context, wait time.Duration) error {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err()
	}
	told := time.Now()
	count, err := r.store.Reseal(ctx, store.Resealing{
		Pace: r.pace.WaitN,
		Progress: func(so store.Resealed) {
			if time.Since(told) >= tellEvery {
				told = time.Now()
				r.tell(so)
			}
		},
	})
	r.tell(count)
	return err
}

func (r *rekeying) tell(so store.Resealed) {
	r.say("%d sealed anew, %d were under %s already, %d failed", so.Done, so.Current, r.keys[0], so.Failed)
}

func (r *rekeying) check(ctx context.Context) error {
	count, err := r.store.Reseal(ctx, store.Resealing{CheckOnly: true, Failed: func(id string, err error) { r.say("failed: %s: %v", id, err) }})
	if err != nil {
		return err
	}
	r.say("records by key: %s", describe(count, r.keys[0]))
	if !count.Complete() {
		return errIncomplete
	}
	if len(r.keys) > 1 {
		r.say("all is under %s: the ring needs %s no more", r.keys[0], strings.Join(r.keys[1:], ", "))
	}
	return nil
}

// describe is "12 under k2 (current), 3 under k1, 1 not sealed, 0 failed".
func describe(count store.Resealed, current string) string {
	parts := []string{fmt.Sprintf("%d under %s (current)", count.Current, current)}
	for _, key := range slices.Sorted(maps.Keys(count.Others)) {
		if key == "" {
			parts = append(parts, fmt.Sprintf("%d not sealed", count.Others[key]))
		} else {
			parts = append(parts, fmt.Sprintf("%d under %s", count.Others[key], key))
		}
	}
	return strings.Join(append(parts, fmt.Sprintf("%d failed", count.Failed)), ", ")
}

func (r *rekeying) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, format+"\n", args...) // nobody reads it any more: the exit code tells
}
