package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// named returns who is found under a name or id on orders: an id, "" for nobody, or "several".
func named(t *testing.T, s *Store, name string) string {
	t.Helper()
	access, err := s.AuthenticateConsumer(ctx, name, "orders")
	if err != nil {
		require.ErrorIs(t, err, ErrConflict)
		return "several"
	}
	return access.Consumer
}

func put(t *testing.T, s *Store, id, name string) {
	t.Helper()
	require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: id, Name: name}))
}

func rename(t *testing.T, s *Store, id, name string) {
	t.Helper()
	_, err := s.ChangeConsumer(ctx, id, func(c *contract.Consumer) { c.Name = name })
	require.NoError(t, err)
}

func TestAConsumerIsFoundByItsNameAndByItsID(t *testing.T) {
	s := withResource(t, open(t), "orders")
	grants := []contract.Grant{{Resource: "orders", Actions: []string{"subscribe"}}}
	require.NoError(t, s.PutConsumer(ctx, contract.Consumer{ID: "con_1", Name: "acme \"&\" co", Grants: grants}))
	for _, name := range []string{"acme \"&\" co", "con_1"} {
		access, err := s.AuthenticateConsumer(ctx, name, "orders")
		require.NoError(t, err)
		require.Equal(t, Access{"con_1", "", true, []string{"subscribe"}}, access)
	}
	access, err := s.AuthenticateConsumer(ctx, "con_1", "none")
	require.NoError(t, err)
	require.Equal(t, Access{Consumer: "con_1"}, access)
	for _, nobody := range []string{"", " ", "acme", "ACME \"&\" CO", "con_2", "acme*"} {
		access, err := s.AuthenticateConsumer(ctx, nobody, "orders")
		require.NoError(t, err)
		require.Equal(t, Access{Known: true}, access, nobody)
	}
}

func TestAConsumerThatWasRenamedIsNotFoundByItsOldName(t *testing.T) {
	s := withResource(t, open(t), "orders")
	put(t, s, "con_1", "old")
	rename(t, s, "con_1", "new")
	require.Equal(t, []string{"", "con_1"}, []string{named(t, s, "old"), named(t, s, "new")})
	put(t, s, "con_1", "newer")
	put(t, s, "con_1", "newer")
	require.Equal(t, []string{"", "con_1"}, []string{named(t, s, "new"), named(t, s, "newer")})
	require.NoError(t, s.DeleteConsumer(ctx, "con_1"))
	require.Equal(t, []string{"", ""}, []string{named(t, s, "newer"), named(t, s, "con_1")})
	require.Empty(t, s.rdb.HKeys(ctx, s.key.consumerNames()).Val())
}

func TestANameThatSeveralHaveIsNobodys(t *testing.T) {
	s := withResource(t, open(t), "orders")
	put(t, s, "con_1", "acme")
	put(t, s, "con_2", "acme")
	put(t, s, "con_3", "con_1")
	require.Equal(t, "several", named(t, s, "acme"))
	require.Equal(t, "several", named(t, s, "con_1"), "one's id and another one's name")
	require.Equal(t, "con_2", named(t, s, "con_2"))
	rename(t, s, "con_3", "con_3")
	require.Equal(t, []string{"con_1", "con_3"}, []string{named(t, s, "con_1"), named(t, s, "con_3")})
	require.NoError(t, s.DeleteConsumer(ctx, "con_1"))
	require.Equal(t, "con_2", named(t, s, "acme"))
}
