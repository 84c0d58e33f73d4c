// Package testkit gives tests the real Redis and RabbitMQ: the ones from the environment, or private ones.
package testkit

import "syscall"

// ownGroup puts a child into a process group of its own, so that all it starts can be ended, and ends
// it with the test, even one that panics or times out.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
