package contract

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryKindHasAStatusAndSaysWhatToDo(t *testing.T) {
	seen := map[Kind]bool{}
	for _, info := range Kinds {
		require.Regexp(t, `^[a-z]+(-[a-z]+)*$`, string(info.Kind))
		require.False(t, seen[info.Kind], "%s is there twice", info.Kind)
		seen[info.Kind] = true
		require.NotEmpty(t, http.StatusText(info.Status), info.Kind)
		require.NotEmpty(t, info.Meaning, info.Kind)
		require.NotEmpty(t, info.Remedy, info.Kind)
		kind, known := info.Kind.Problem("d").Kind()
		require.True(t, known)
		require.Equal(t, info.Kind, kind)
	}
}

func TestAProblemOfAStatusIsOfItsFirstKind(t *testing.T) {
	for status, kind := range map[int]Kind{
		400: KindBadRequest, 401: KindUnauthorized, 403: KindForbidden, 404: KindNotFound, 409: KindConflict, 422: KindInvalid,
		429: KindRateLimited, 500: KindInternal, 503: KindUnavailable, 504: KindTimeout, 418: KindBadRequest, 507: KindInternal,
	} {
		require.Equal(t, kind, KindOf(status), status)
	}
	require.Equal(t, Problem{Type: ProblemTypes + "not-found", Title: "Not Found", Status: 404, Detail: "d"}, NewProblem(http.StatusNotFound, "d"))
}

func TestEveryOutcomeOfTheEgressIsAKind(t *testing.T) {
	for _, outcome := range []Outcome{OutcomeAddressRefused, OutcomeDNS, OutcomeConnect, OutcomeTLS, OutcomeTimeout, OutcomeReset, OutcomeUnvouched, OutcomeOverloaded} {
		require.NotZero(t, KindOfOutcome(outcome).Status(), outcome)
	}
}

func TestAForeignTypeIsNoKind(t *testing.T) {
	for _, url := range []string{"", "about:blank", ProblemTypes, ProblemTypes + "nonsense", "not-found", "https://elsewhere.example/#not-found"} {
		_, known := KindFromURL(url)
		require.False(t, known, url)
	}
}
