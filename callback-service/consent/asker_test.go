package consent

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/token"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	id     = "sub_1"
	secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	target = "https://Consumer.example.:8443/hooks"
)

// world is an asker over a store, a gateway and a broker in memory, in a bubble of time of its own.
type world struct {
	*Asker

	mu      sync.Mutex
	sub     *contract.Subscription // nil: gone
	due     time.Time              // as the store's index has it; zero: not in it
	calls   []gateway.Call
	at      []time.Duration // of the calls
	began   time.Time
	answer  func(n int, call gateway.Call) gateway.Answer
	waits   []time.Duration // of the next questions, by MayAsk
	bounded [][2]string
	failing map[string]int // how often a call fails
	policy  contract.Policy
	told    []rabbit.Message
}

func newWorld(t *testing.T, method contract.Verification, answer func(n int, call gateway.Call) gateway.Answer) *world {
	t.Helper()
	signer, err := contract.NewSigner([]byte(strings.Repeat("k", 32)), time.Now)
	require.NoError(t, err)
	w := &world{began: time.Now(), answer: answer, failing: map[string]int{}}
	w.Asker = New(Options{
		Store: w, Gateway: w, Tokens: token.New(w, time.Now), Publisher: w, Names: rabbit.NamesFor("test"), Signer: signer,
		Sender: contract.Sender{Origin: origin, URL: "https://gateway.example/base"}, Waits: []time.Duration{10 * time.Second, time.Minute},
		Timeouts: contract.Timeouts{Total: contract.Duration(7 * time.Second)}, Log: zap.NewNop(), Metrics: NewMetrics(prometheus.NewRegistry()), Now: time.Now,
	})
	w.sub = &contract.Subscription{
		ID: id, Consumer: "con_1", Resource: "orders", CallbackURL: target, Format: contract.FormatStructured, RateLimit: 0.15,
		Confidential: contract.Confidential{
			Headers: map[string]string{"X-Team": "billing"}, Auth: &contract.Auth{Type: "bearer", Token: "t0ken"}, Secrets: []contract.Secret{{Value: secret}},
		},
	}
	w.sub.AskConsent(method, time.Now())
	w.due = time.Now()
	return w
}

// run lets the asker work for a while.
func (w *world) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	require.NoError(t, w.Run(ctx))
}

func (w *world) fails(what string) error {
	if w.failing[what] > 0 {
		w.failing[what]--
		return errors.New(what + " is away")
	}
	return nil
}

func (w *world) ToAsk(_ context.Context, now time.Time, lease time.Duration, _ int) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fails("ToAsk"); err != nil || w.due.IsZero() || w.due.After(now) {
		return nil, err
	}
	w.due = now.Add(lease)
	return []string{id}, nil
}

func (w *world) PostponeAsking(_ context.Context, _ string, until time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = until
	return nil
}

func (w *world) ForgetAsking(context.Context, string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = time.Time{}
	return nil
}

func (w *world) MayAsk(_ context.Context, consumer, host string) (wait time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bounded = append(w.bounded, [2]string{consumer, host})
	if len(w.waits) > 0 {
		wait, w.waits = w.waits[0], w.waits[1:]
	}
	return wait, w.fails("MayAsk")
}

func (w *world) Subscription(context.Context, string) (contract.Subscription, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sub == nil {
		return contract.Subscription{}, store.ErrNotFound
	}
	return *w.sub, w.fails("Subscription")
}

func (w *world) Policy(context.Context, string) (contract.Policy, error) { return w.policy, nil }

func (w *world) ChangeSubscription(_ context.Context, _ string, change func(*contract.Subscription) error) (contract.Subscription, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fails("ChangeSubscription"); err != nil {
		return contract.Subscription{}, err
	}
	if w.sub == nil {
		return contract.Subscription{}, store.ErrNotFound
	}
	changed := *w.sub
	if err := change(&changed); err != nil {
		return changed, err
	}
	w.sub, w.due = &changed, changed.NextAsked()
	return changed, nil
}

func (w *world) Do(_ context.Context, call gateway.Call) (gateway.Answer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls, w.at = append(w.calls, call), append(w.at, time.Since(w.began))
	return w.answer(len(w.calls), call), nil
}

func (w *world) Publish(_ context.Context, messages ...rabbit.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fails("Publish"); err != nil {
		return err
	}
	w.told = append(w.told, messages...)
	return nil
}

func (w *world) counted(method contract.Verification, r result) float64 {
	return testutil.ToFloat64(w.Metrics.questions.WithLabelValues(string(method), string(r)))
}

func always(answer gateway.Answer) func(int, gateway.Call) gateway.Answer {
	return func(int, gateway.Call) gateway.Answer { return answer }
}

// echoing answers a challenge, and OPTIONS as if it were not known.
func echoing(_ int, call gateway.Call) gateway.Answer {
	if call.Method == http.MethodOptions {
		return answered(http.StatusMethodNotAllowed)
	}
	var question struct{ Challenge string }
	_ = json.Unmarshal(call.Body, &question) // then it has none
	return said(http.StatusOK, question.Challenge)
}

func TestAHandshakeThatIsGrantedMakesTheSubscriptionActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyHandshake, always(answered(200, contract.HeaderAllowedOrigin, origin, contract.HeaderAllowedRate, "120")))
		w.run(t, time.Hour)
		require.Len(t, w.calls, 1)
		require.Equal(t, contract.StatusActive, w.sub.Status)
		require.Equal(t, contract.ConsentVerified, w.sub.Consent.State)
		require.Equal(t, contract.VerifyHandshake, w.sub.Consent.By)
		require.Equal(t, 120, w.sub.Consent.AllowedRate)
		require.Equal(t, 1, w.sub.Consent.Attempts)
		require.EqualValues(t, 1, w.counted(contract.VerifyHandshake, resultGranted))
		require.Len(t, w.told, 1)
		require.Equal(t, "orders.subscription.verified", w.told[0].RoutingKey)
		require.NotContains(t, string(w.told[0].Body), "onsumer.example")
	})
}

func TestWhatAHandshakeAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyHandshake, always(answered(204)))
		w.policy.Timeouts.Connect = contract.Duration(time.Second)
		w.run(t, time.Second)
		call := w.calls[0]
		require.Equal(t, http.MethodOptions, call.Method)
		require.Equal(t, target, call.Target)
		require.Equal(t, id, call.Subscription)
		require.Empty(t, call.Body)
		require.Equal(t, gateway.AllOfIt, call.Keep)
		require.Equal(t, contract.Timeouts{Connect: contract.Duration(time.Second), Total: contract.Duration(7 * time.Second)}, call.Timeouts)
		require.Equal(t, origin, call.Header.Get("WebHook-Request-Origin"))
		require.Equal(t, "9", call.Header.Get("WebHook-Request-Rate"), "0.15 a second, in requests per minute")
		require.Equal(t, "Bearer t0ken", call.Header.Get("Authorization"))
		require.Equal(t, "billing", call.Header.Get("X-Team"))
		require.NotContains(t, call.Header, "Content-Type")
		token, ok := strings.CutPrefix(call.Header.Get("WebHook-Request-Callback"), "https://gateway.example/base/-/consent/")
		require.True(t, ok)
		link, err := w.Signer.VerifyLink(token)
		require.NoError(t, err)
		require.Equal(t, []string{id, w.sub.Consent.Round}, []string{link.Subscription, link.Round})
		require.Equal(t, [][2]string{{"con_1", "consumer.example"}}, w.bounded, "a host in one spelling, without its port")
	})
}

func TestWithoutAPublicURLThereIsNoLinkAndWithoutARateLimitNoRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyHandshake, always(answered(204)))
		w.Sender.URL, w.sub.RateLimit = "", 0
		w.run(t, time.Second)
		require.NotContains(t, w.calls[0].Header, contract.HeaderRequestCallback)
		require.NotContains(t, w.calls[0].Header, contract.HeaderRequestRate)
	})
}

func TestAChallengeIsSignedAndFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyChallenge, always(said(200, "no")))
		w.sub.Format, w.sub.Transform = contract.FormatData, `{"a": 1}`
		w.run(t, 11*time.Second)
		require.Len(t, w.calls, 2)
		seen := map[string]bool{}
		for _, call := range w.calls {
			var body map[string]string
			require.NoError(t, json.Unmarshal(call.Body, &body))
			require.Equal(t, "webhook.verification", body["type"])
			require.Equal(t, id, body["subscription"])
			require.GreaterOrEqual(t, len(body["challenge"]), 26)
			require.False(t, seen[body["challenge"]] || seen[call.Delivery])
			seen[body["challenge"]], seen[call.Delivery] = true, true
			require.Empty(t, call.Method)
			require.Equal(t, "application/json", call.Header.Get("Content-Type"))
			require.Equal(t, call.Delivery, call.Header.Get(standardwebhooks.HeaderWebhookID))
			hook, err := standardwebhooks.NewWebhook(secret)
			require.NoError(t, err)
			require.NoError(t, hook.VerifyIgnoringTimestamp(call.Body, call.Header))
		}
	})
}

func TestOnlyAnyFallsBackToTheChallenge(t *testing.T) {
	for method, c := range map[contract.Verification]struct {
		state contract.ConsentState
		by    contract.Verification
		calls int
	}{
		contract.VerifyAny:       {contract.ConsentVerified, contract.VerifyChallenge, 2},
		contract.VerifyChallenge: {contract.ConsentVerified, contract.VerifyChallenge, 1},
		contract.VerifyHandshake: {contract.ConsentFailed, "", 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, method, echoing)
			w.run(t, time.Hour)
			require.Equal(t, c.state, w.sub.Consent.State, method)
			require.Equal(t, c.by, w.sub.Consent.By, method)
			require.Len(t, w.calls, c.calls, method)
		})
	}
}

func TestARefusalOfTheHandshakeIsNotOverruledByAChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyAny, func(n int, call gateway.Call) gateway.Answer {
			if call.Method == http.MethodOptions {
				return answered(200, contract.HeaderAllowedOrigin, "other.example")
			}
			return echoing(n, call)
		})
		w.run(t, time.Hour)
		require.Len(t, w.calls, 1)
		require.Equal(t, contract.ConsentFailed, w.sub.Consent.State)
		require.Equal(t, contract.StatusPending, w.sub.Status)
		require.EqualValues(t, 1, w.counted(contract.VerifyHandshake, resultRefused))
	})
}

func TestAnEndpointIsAskedOnTheScheduleAndThenNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyHandshake, always(answered(500)))
		w.run(t, 24*time.Hour)
		require.Len(t, w.at, 3)
		for i, want := range []time.Duration{0, 10 * time.Second, 70 * time.Second} {
			require.InDelta(t, want, w.at[i], float64(3*lookEvery))
		}
		require.Equal(t, contract.StatusPending, w.sub.Status)
		require.Equal(t, contract.ConsentFailed, w.sub.Consent.State)
		require.Equal(t, 3, w.sub.Consent.Attempts)
		require.Equal(t, "given up after 3 questions: the endpoint answered OPTIONS with 500", w.sub.Consent.LastError)
		require.Contains(t, w.sub.StatusReason, "answered OPTIONS with 500")
		require.EqualValues(t, 2, w.counted(contract.VerifyHandshake, resultAgain))
		require.EqualValues(t, 1, w.counted(contract.VerifyHandshake, resultGivenUp))
		require.Len(t, w.told, 1)
		require.Equal(t, "orders.subscription.unverified", w.told[0].RoutingKey)
	})
}

func TestWhileTheGatewayMakesNoCallNoAttemptIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyHandshake, func(n int, _ gateway.Call) gateway.Answer {
			if n <= 20 {
				return gateway.Answer{Status: 503}
			}
			return answered(200, contract.HeaderAllowedOrigin, "*")
		})
		w.run(t, time.Hour)
		require.Len(t, w.calls, 21)
		require.Equal(t, contract.StatusActive, w.sub.Status)
		require.Equal(t, 1, w.sub.Consent.Attempts)
		require.EqualValues(t, 20, w.counted(contract.VerifyHandshake, resultHeld))
	})
}

func TestAQuestionThatIsNotAllowedYetWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyHandshake, always(answered(200, contract.HeaderAllowedOrigin, "*")))
		w.waits = []time.Duration{30 * time.Second, 5 * time.Second}
		w.run(t, time.Hour)
		require.Len(t, w.calls, 1)
		require.InDelta(t, 35*time.Second, w.at[0], float64(3*lookEvery))
		require.EqualValues(t, 2, w.counted(contract.VerifyHandshake, resultPostponed))
		require.Equal(t, 1, w.sub.Consent.Attempts)
	})
}

func TestAnAnswerToAQuestionThatDoesNotStandAnyMoreCountsNothing(t *testing.T) {
	for name, meanwhile := range map[string]func(*contract.Subscription){
		"another callback URL": func(s *contract.Subscription) {
			s.CallbackURL = "https://victim.example/"
			s.AskConsent(contract.VerifyHandshake, time.Now().Add(24*time.Hour))
		},
		"paused":            func(s *contract.Subscription) { s.Status = contract.StatusPaused },
		"consented by link": func(s *contract.Subscription) { s.Consented(contract.VerifyHandshake, 7, time.Now()) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, contract.VerifyHandshake, nil)
			var changed contract.Subscription
			w.answer = func(int, gateway.Call) gateway.Answer {
				changed = *w.sub
				meanwhile(&changed)
				w.sub, w.due = &changed, changed.NextAsked()
				return answered(200, contract.HeaderAllowedOrigin, "*")
			}
			w.run(t, time.Hour)
			require.Equal(t, changed, *w.sub, name)
			require.Len(t, w.calls, 1, name)
			require.EqualValues(t, 1, w.counted(contract.VerifyHandshake, resultStale), name)
			require.Empty(t, w.told, name)
		})
	}
}

func TestNobodyIsAskedForASubscriptionThatDoesNotWait(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world){
		"gone":          func(w *world) { w.sub = nil },
		"paused":        func(w *world) { w.sub.Status = contract.StatusPaused },
		"active":        func(w *world) { w.sub.Consented(contract.VerifyHandshake, 0, time.Now()) },
		"not yet":       func(w *world) { w.sub.Refused("no", time.Now().Add(24*time.Hour), time.Now()) },
		"asked no more": func(w *world) { w.sub.Refused("no", time.Time{}, time.Now()) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, contract.VerifyHandshake, always(answered(200, contract.HeaderAllowedOrigin, "*")))
			meanwhile(w)
			w.run(t, time.Hour)
			require.Empty(t, w.calls, name)
			require.Equal(t, w.sub == nil, w.due.IsZero(), name)
		})
	}
}

func TestAnOutageOfRedisOrTheBrokerLosesNothing(t *testing.T) {
	for _, what := range []string{"ToAsk", "Subscription", "MayAsk", "ChangeSubscription", "Publish"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, contract.VerifyHandshake, always(answered(200, contract.HeaderAllowedOrigin, "*")))
			w.failing[what] = 5
			w.run(t, time.Hour)
			require.Equal(t, contract.StatusActive, w.sub.Status, what)
			require.Len(t, w.calls, 1, what)
			require.Len(t, w.told, 1, what)
		})
	}
}

func TestAQuestionThatTheEndOfTheServiceCutsOffIsAskedAtOnceByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyHandshake, nil)
		ctx, cancel := context.WithCancel(t.Context())
		w.answer = func(int, gateway.Call) gateway.Answer {
			cancel()
			return gateway.Answer{}
		}
		require.NoError(t, w.Run(ctx))
		require.False(t, w.due.After(time.Now()))
		require.Zero(t, w.sub.Consent.Attempts)
		w.answer = always(answered(200, contract.HeaderAllowedOrigin, "*"))
		w.run(t, time.Second)
		require.Equal(t, contract.StatusActive, w.sub.Status)
	})
}

func TestASecretThatCanNotSignIsToldAndNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, contract.VerifyAny, echoing)
		w.sub.Secrets = []contract.Secret{{Value: "whsec_!!hunter2"}}
		w.run(t, time.Hour)
		require.Empty(t, w.calls)
		require.Equal(t, contract.ConsentFailed, w.sub.Consent.State)
		require.Contains(t, w.sub.Consent.LastError, "rotate")
		require.NotContains(t, w.sub.Consent.LastError, "hunter2")
	})
}
