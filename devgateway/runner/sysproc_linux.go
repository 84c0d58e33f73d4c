package runner

import "syscall"

// attributes puts the runner into a process group of its own, so that a Ctrl-C reaches the gateway alone and it can
// drain first, and has the kernel kill the runner should the gateway die without a word.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
