// Package once remembers which ids were used, for as long as anybody could use them again.
package once

import (
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const shards = 64

var (
	// ErrUsed means that the id was used before.
	ErrUsed = errors.New("used before")
	// ErrFull means that too many ids are remembered for one more.
	ErrFull = errors.New("too many ids are remembered")
)

// Set remembers ids for a time that is the same for all. It is safe for concurrent use.
type Set struct {
	life   time.Duration
	most   int // of a shard
	now    func() time.Time
	seed   maphash.Seed
	shards [shards]shard

	repeated atomic.Uint64
}

// shard keeps the ids' hashes in two generations instead of a timer for each: once the younger is as old as an id can get, all
// of the elder are over and go at once. So an id is remembered for one life to two.
type shard struct {
	mu         sync.Mutex
	young, old map[uint64]struct{}
	turned     time.Time
	_          [16]byte // a cache line of its own
}

// New makes a set that remembers each id for life, and about most of them: some 16 bytes each. now is the clock, time.Now in
// production.
func New(life time.Duration, most int, now func() time.Time) *Set {
	s := &Set{life: life, most: max(1, most/shards), now: now, seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].young, s.shards[i].turned = map[uint64]struct{}{}, now()
	}
	return s
}

// Use takes an id: nil the first time, ErrUsed afterwards. It is ErrFull where the id could not be remembered. Two ids whose
// hashes are the same are one, once in 10^13 times; the seed is secret, so that nobody can look for two.
func (s *Set) Use(id string) error {
	h := maphash.String(s.seed, id)
	sh := &s.shards[h%shards]
	now := s.now()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.turn(now, s.life)
	if sh.has(h) {
		s.repeated.Add(1)
		return ErrUsed
	}
	if len(sh.young)+len(sh.old) >= s.most {
		return ErrFull
	}
	sh.young[h] = struct{}{}
	return nil
}

func (sh *shard) has(h uint64) bool {
	_, young := sh.young[h]
	_, old := sh.old[h]
	return young || old
}

// turn drops what is over.
func (sh *shard) turn(now time.Time, life time.Duration) {
	switch age := now.Sub(sh.turned); {
	case age < life:
		return
	case age < 2*life:
		sh.old = sh.young
	default:
		sh.old = nil // the younger generation is over as well
	}
	sh.young, sh.turned = map[uint64]struct{}{}, now
}
