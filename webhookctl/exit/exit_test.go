package exit

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCodesOfErrors(t *testing.T) {
	plain := errors.New("broken")
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, OK}, {plain, Failed}, {With(NotFound, plain), NotFound}, {fmt.Errorf("asking: %w", With(Refused, plain)), Refused},
		{With(Partial, With(Unavailable, plain)), Partial}, {context.Canceled, Interrupted}, {fmt.Errorf("x: %w", context.DeadlineExceeded), Unavailable},
		{With(Usage, nil), OK},
	} {
		require.Equal(t, c.want, Of(c.err), "%v", c.err)
	}
}

func TestCodesOfStatuses(t *testing.T) {
	for status, want := range map[int]Code{
		200: OK, 201: OK, 204: OK, 302: Failed, 400: Invalid, 401: Refused, 403: Refused, 404: NotFound, 409: Invalid, 410: NotFound, 413: Invalid,
		415: Invalid, 422: Invalid, 429: Unavailable, 500: Unavailable, 502: Unavailable, 503: Unavailable,
	} {
		require.Equal(t, want, OfStatus(status), "%d", status)
	}
}
