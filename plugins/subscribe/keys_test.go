package subscribe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

const ttl = 2 * time.Second

// source is a store whose answers a test decides on.
type source struct {
	mu    sync.Mutex
	calls int
	say   func(hash, resource string) (store.Access, error)
}

func (s *source) Authenticate(_ context.Context, hash, resource string) (store.Access, error) {
	s.mu.Lock()
	s.calls++
	say := s.say
	s.mu.Unlock()
	return say(hash, resource)
}

func (s *source) AuthenticateConsumer(ctx context.Context, name, resource string) (store.Access, error) {
	return s.Authenticate(ctx, name, resource)
}

func (s *source) set(say func(hash, resource string) (store.Access, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say = say
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func opens(actions ...string) func(string, string) (store.Access, error) {
	return func(string, string) (store.Access, error) {
		return store.Access{Consumer: "con_1", Known: true, Actions: actions}, nil
	}
}

func unknown(string, string) (store.Access, error) { return store.Access{Known: true}, nil }

func down(string, string) (store.Access, error) { return store.Access{}, errors.New("redis is down") }

func TestAnAnswerIsRememberedForItsTTL(t *testing.T) {
	s, c := &source{say: opens("subscribe")}, &testkit.Clock{}
	k := newKeyring(s, c.Now)
	for range 3 {
		if a, err := k.access("key", "orders", ttl); err != nil || a.Consumer != "con_1" {
			t.Fatalf("got %+v, %v", a, err)
		}
	}
	c.Advance(ttl - 1)
	_, _ = k.access("key", "orders", ttl)
	if n := s.count(); n != 1 {
		t.Fatalf("asked %d times", n)
	}
	s.set(unknown)
	c.Advance(1)
	if a, err := k.access("key", "orders", ttl); err != nil || a.Consumer != "" {
		t.Fatalf("a revoked key opens %+v, %v", a, err)
	}
}

func TestARememberedAnswerDoesNotOutliveItsTTLWhenRedisIsDown(t *testing.T) {
	s, c := &source{say: opens("subscribe")}, &testkit.Clock{}
	k := newKeyring(s, c.Now)
	_, _ = k.access("key", "orders", ttl)
	s.set(down)
	if _, err := k.access("key", "orders", ttl); err != nil {
		t.Fatalf("within the TTL: %v", err)
	}
	c.Advance(ttl)
	if a, err := k.access("key", "orders", ttl); err == nil {
		t.Fatalf("got %+v", a)
	}
}

func TestTheAgeOfAnAnswerCountsFromTheQuestion(t *testing.T) {
	c := &testkit.Clock{}
	s := &source{say: func(string, string) (store.Access, error) {
		c.Advance(ttl) // a slow Redis
		return store.Access{Consumer: "con_1", Known: true}, nil
	}}
	k := newKeyring(s, c.Now)
	_, _ = k.access("key", "orders", ttl)
	_, _ = k.access("key", "orders", ttl)
	if n := s.count(); n != 2 {
		t.Fatalf("asked %d times", n)
	}
}

func TestWithoutATTLEveryCallAsks(t *testing.T) {
	s, c := &source{say: opens("subscribe")}, &testkit.Clock{}
	k := newKeyring(s, c.Now)
	for range 3 {
		_, _ = k.access("key", "orders", 0)
	}
	if n := s.count(); n != 3 {
		t.Fatalf("asked %d times", n)
	}
}

func TestAFloodOfMadeUpKeysPushesNobodyOut(t *testing.T) {
	c := &testkit.Clock{}
	s := &source{say: func(hash, resource string) (store.Access, error) {
		known := resource == "orders"
		if hash == contract.HashKey("honest") {
			return store.Access{Consumer: "con_1", Known: known}, nil
		}
		return store.Access{Known: known}, nil
	}}
	k := newKeyring(s, c.Now)
	_, _ = k.access("honest", "orders", ttl)
	for i := range maxCached + 1 {
		_, _ = k.access(fmt.Sprint(i), "orders", ttl)
		_, _ = k.access("honest", fmt.Sprint("r", i), ttl)
	}
	if n := k.cache.Len(); n != 1 {
		t.Fatalf("%d remembered", n)
	}
}

func TestAKeyOfOneResourceOpensNoOther(t *testing.T) {
	s := &source{say: func(_, resource string) (store.Access, error) {
		return store.Access{Consumer: "con_1", Known: true, Actions: []string{resource}}, nil
	}}
	k := newKeyring(s, (&testkit.Clock{}).Now)
	for _, resource := range []string{"orders", "users", "orders"} {
		if a, _ := k.access("key", resource, ttl); a.Actions[0] != resource {
			t.Fatalf("%s: got %v", resource, a.Actions)
		}
	}
}

func TestAKeyAndAConsumerOfTheSameTextAreTwo(t *testing.T) {
	s := &source{say: func(who, _ string) (store.Access, error) {
		return store.Access{Consumer: "of " + who, Known: true}, nil
	}}
	k := newKeyring(s, (&testkit.Clock{}).Now)
	byKey, _ := k.access("acme", "orders", ttl)
	byName, _ := k.consumer("acme", "orders", ttl)
	byHash, _ := k.consumer(contract.HashKey("acme"), "orders", ttl)
	if byKey.Consumer != "of "+contract.HashKey("acme") || byName.Consumer != "of acme" || s.count() != 3 {
		t.Fatalf("got %+v, %+v, %+v", byKey, byName, byHash)
	}
}

// Names come from tokens: one must not run into the next one's question.
func TestQuestionsAtOnceAreNotMixedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := make(chan struct{})
		s := &source{say: func(who, resource string) (store.Access, error) {
			<-ask
			return store.Access{Consumer: who + " on " + resource, Known: true}, nil
		}}
		k := newKeyring(s, time.Now)
		for _, q := range [][2]string{{"acme", "orders"}, {"acmeo", "rders"}, {"/acme", "orders"}, {"rders//acme", "o"}, {"a//cme", "orders"}} {
			go func() {
				if a, err := k.consumer(q[0], q[1], ttl); err != nil || a.Consumer != q[0]+" on "+q[1] {
					t.Errorf("%q: got %+v, %v", q, a, err)
				}
			}()
		}
		synctest.Wait()
		close(ask)
	})
}

func TestManyAskingAtOnceAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		s := &source{say: func(string, string) (store.Access, error) {
			<-answer
			return store.Access{Consumer: "con_1", Known: true}, nil
		}}
		k := newKeyring(s, time.Now)
		for range 50 {
			go func() { _, _ = k.access("key", "orders", ttl) }()
		}
		synctest.Wait() // all 50 are waiting
		close(answer)
		synctest.Wait()
		if n := s.count(); n != 1 {
			t.Fatalf("asked %d times", n)
		}
	})
}

func TestAPanicWhileAskingReachesAllWhoWaitAndLeavesTheNextOneWell(t *testing.T) {
	s := &source{say: func(string, string) (store.Access, error) { panic("boom") }}
	k := newKeyring(s, time.Now)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = k.access("key", "orders", ttl)
	}()
	s.set(opens("subscribe"))
	if a, err := k.access("key", "orders", ttl); err != nil || a.Consumer == "" {
		t.Fatalf("got %+v, %v", a, err)
	}
}
