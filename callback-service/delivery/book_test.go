package delivery

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// A parked command can come back before the broker's confirm of its publishing is seen: it is not a copy to be dropped, since
// the one that left is about to be acknowledged.
func TestAParkedCommandThatIsBackBeforeItLeftIsTakenIn(t *testing.T) {
	b := newBook()
	left := &task{cmd: contract.Command{Delivery: "dlv_a", Attempt: 1}, msg: &rabbit.Delivery{}}
	back := &task{cmd: left.cmd, msg: &rabbit.Delivery{}}
	require.True(t, b.admit(left))
	b.leave(left)
	require.True(t, b.admit(back))
	require.Same(t, left.msg, b.close(left))
	require.Same(t, back, b.held["dlv_a"])
	require.Same(t, back.msg, b.close(back))
	require.Empty(t, b.held)
}

func TestTheNextAttemptIsTakenInWhileTheLastOneIsSettled(t *testing.T) {
	b := newBook()
	first := &task{cmd: contract.Command{Delivery: "dlv_a", Attempt: 1}, msg: &rabbit.Delivery{}}
	second := &task{cmd: contract.Command{Delivery: "dlv_a", Attempt: 2}, msg: &rabbit.Delivery{}}
	require.True(t, b.admit(first))
	require.True(t, b.admit(second))
	b.close(first)
	require.Same(t, second, b.held["dlv_a"])
}
