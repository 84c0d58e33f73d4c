package hop

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// socketOf returns the file below a connection, which can be waited for without a buffer to read into.
func socketOf(c net.Conn) (syscall.RawConn, error) {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	file, ok := c.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no socket", c)
	}
	return file.SyscallConn()
}

// awaited returns once there is something to read, and io.EOF once there never will be. It heeds the read deadline.
func awaited(socket syscall.RawConn) error {
	var n int
	var why error
	err := socket.Read(func(fd uintptr) bool {
		n, why = peek(fd)
		return !errors.Is(why, syscall.EAGAIN)
	})
	switch {
	case err != nil:
		return err //nolint:wrapcheck // callers look for a timeout
	case why != nil:
		return fmt.Errorf("waiting for the other side: %w", why)
	case n == 0:
		return io.EOF
	}
	return nil
}

// quiet reports whether there is nothing to read: neither bytes nor the other side's goodbye.
func quiet(socket syscall.RawConn) bool {
	_, why, err := look(socket)
	return err == nil && errors.Is(why, syscall.EAGAIN)
}

// gone reports whether the other side has hung up.
func gone(socket syscall.RawConn) bool {
	n, why, err := look(socket)
	return err != nil || n == 0 && !errors.Is(why, syscall.EAGAIN)
}

func look(socket syscall.RawConn) (n int, why, err error) {
	err = socket.Control(func(fd uintptr) { n, why = peek(fd) })
	return max(n, 0), why, err
}

func peek(fd uintptr) (int, error) {
	var one [1]byte
	n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n, err
}
