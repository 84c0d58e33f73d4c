package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Right is what a call that stays open stands on: a consumer's grant of an action on a resource, and the API key that it came by.
type Right struct {
	Consumer, Resource, Action string
	// Key is the key's id; empty where the caller came by no key.
	Key string
}

// Hold tells of each right whether it still holds, in one round trip.
func (s *Store) Hold(ctx context.Context, rights []Right) ([]bool, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	pipe := s.rdb.Pipeline()
	consumers, known := make([]*redis.StringCmd, len(rights)), make([]*redis.BoolCmd, len(rights))
	for i, r := range rights {
		consumers[i] = pipe.HGet(ctx, s.key.consumers(), r.Consumer)
		if r.Key != "" {
			known[i] = pipe.HExists(ctx, s.key.consumerKeys(r.Consumer), r.Key)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("asking whether rights hold: %w", err)
	}
	held := make([]bool, len(rights))
	for i, r := range rights {
		consumer, err := decode[contract.Consumer](consumers[i].Val(), consumers[i].Err(), "consumer")
		if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		held[i] = err == nil && (known[i] == nil || known[i].Val()) && slices.Contains(consumer.ActionsOn(r.Resource), r.Action)
	}
	return held, nil
}
