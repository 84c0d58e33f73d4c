package store

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// portalToken is 256 random bits, of which Redis only gets the hash.
func portalToken() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// CreatePortalLink keeps who a link signs in, for life, and returns the link's token, which is known to nobody else.
func (s *Store) CreatePortalLink(ctx context.Context, user contract.PortalUser, life time.Duration) (token string, err error) {
	token = portalToken()
	if err := s.rdb.Set(ctx, s.key.portalLink(contract.HashKey(token)), encode(user), life).Err(); err != nil {
		return "", fmt.Errorf("writing a link to the portal: %w", err)
	}
	return token, nil
}

// PortalLink returns who a link would sign in, and leaves it unused; ErrNotFound for a link that is used, too old or none.
func (s *Store) PortalLink(ctx context.Context, token string) (contract.PortalUser, error) {
	text, err := s.rdb.Get(ctx, s.key.portalLink(contract.HashKey(token))).Result()
	return decode[contract.PortalUser](text, err, "link")
}

// UsePortalLink is PortalLink, once: only one of many at the same time gets an answer.
func (s *Store) UsePortalLink(ctx context.Context, token string) (contract.PortalUser, error) {
	text, err := s.rdb.GetDel(ctx, s.key.portalLink(contract.HashKey(token))).Result()
	return decode[contract.PortalUser](text, err, "link")
}

// CreatePortalSession begins a session, which ends at the user's Ends, or after idle without a call. It returns the token.
func (s *Store) CreatePortalSession(ctx context.Context, user contract.PortalUser, idle time.Duration) (token string, err error) {
	token = portalToken()
	if err := s.rdb.Set(ctx, s.key.portalSession(contract.HashKey(token)), encode(user), idle).Err(); err != nil {
		return "", fmt.Errorf("writing a session: %w", err)
	}
	return token, nil
}

// PortalSession returns whose session it is, and puts off its end by idle; ErrNotFound for one that is over or never was.
func (s *Store) PortalSession(ctx context.Context, token string, idle time.Duration, now time.Time) (contract.PortalUser, error) {
	text, err := s.rdb.GetEx(ctx, s.key.portalSession(contract.HashKey(token)), idle).Result()
	user, err := decode[contract.PortalUser](text, err, "session")
	if err == nil && !now.Before(user.Ends) {
		return contract.PortalUser{}, fmt.Errorf("session: %w", ErrNotFound)
	}
	return user, err
}

// PortalSessionHolds tells whether a session goes on, and does not put off its end.
func (s *Store) PortalSessionHolds(ctx context.Context, token string) (bool, error) {
	n, err := s.rdb.Exists(ctx, s.key.portalSession(contract.HashKey(token))).Result()
	if err != nil {
		return false, fmt.Errorf("asking for a session: %w", err)
	}
	return n == 1, nil
}

// HasKey tells whether a consumer has an API key of that id.
func (s *Store) HasKey(ctx context.Context, consumer, id string) (bool, error) {
	known, err := s.rdb.HExists(ctx, s.key.consumerKeys(consumer), id).Result()
	if err != nil {
		return false, fmt.Errorf("asking for a key: %w", err)
	}
	return known, nil
}

// EndPortalSession ends a session, if there is one.
func (s *Store) EndPortalSession(ctx context.Context, token string) error {
	err := s.rdb.Del(ctx, s.key.portalSession(contract.HashKey(token))).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("ending a session: %w", err)
	}
	return nil
}
