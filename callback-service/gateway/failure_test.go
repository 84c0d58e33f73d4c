package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func TestEveryFailureHasASentenceOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	tell := func(a Answer) {
		text := a.Failure()
		require.NotEmpty(t, text, "%+v", a)
		require.False(t, seen[text], text)
		seen[text] = true
	}
	for outcome := range outcomes {
		tell(Answer{Outcome: outcome})
	}
	for detail := range details {
		tell(Answer{Outcome: contract.OutcomeTLS, Detail: detail})
	}
}

func TestWhatATokenEndpointAnsweredIsTold(t *testing.T) {
	require.Equal(t, "no access token: the token endpoint does not accept the client's credentials: it answered 401",
		Answer{Outcome: contract.OutcomeToken, Detail: contract.DetailTokenRefused, Status: 401}.Failure())
}

func TestWhereThereIsAnAnswerThereIsNoFailure(t *testing.T) {
	require.Empty(t, Answer{Outcome: contract.OutcomeResponse, Status: 500, Detail: contract.DetailAnswerCut}.Failure())
	require.Empty(t, Answer{Status: 503}.Failure(), "the gateway failed, and no endpoint")
}
