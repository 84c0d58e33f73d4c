package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// UseStatement reports whether a statement is used for the first time, by whichever process. It is remembered for life.
func (s *Store) UseStatement(ctx context.Context, statement string, life time.Duration) (first bool, err error) {
	mine := contract.NewID("use")
	first, err = s.rdb.SetNX(ctx, s.key.used(statement), mine, life).Result()
	if err != nil {
		return false, fmt.Errorf("using a statement: %w", err)
	}
	if first {
		return true, nil
	}
	// The library asks again when an answer is lost: then it was us.
	who, err := s.rdb.Get(ctx, s.key.used(statement)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("using a statement: %w", err)
	}
	return who == mine, nil
}
