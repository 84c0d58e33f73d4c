// Package hop carries HTTP/1.1 over one hop between our own processes: a pool of connections to one address for the side that
// asks, and a server for the side that answers.
//
// It exists for what waits. A callback hangs for as long as its endpoint does, on both sides of every hop on its way.
// net/http keeps two goroutines and two buffers for each connection, on either side: about 30 KiB per call and hop, which for
// ten thousand calls that hang is most of their memory. Here a call that waits holds its own goroutine and no buffer: it
// waits for its socket to become readable, and takes a buffer from a pool then.
//
// What is spoken on the wire is net/http's: http.ReadRequest and http.ReadResponse parse, its header type is written. Beyond
// that the server refuses what net/http's server refuses after parsing, and what a front that reads a request in another way
// could take for two (see check).
package hop
