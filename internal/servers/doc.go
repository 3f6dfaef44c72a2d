// Package servers starts, kills and restarts real Postgres, Redis and NATS
// servers on loopback, each in a temporary folder of its own.
//
// Tests use it through the package servertest, and `freshet demo` uses it
// directly, so nothing here imports testing.
//
// # Guarantees
//
//   - A server listens on 127.0.0.1 only, on a port outside the kernel's
//     ephemeral range that no other process using this package can take until
//     Close, not even while the server is killed or stopped.
//   - Only processes started here are ever signalled, always by id.
//   - Close leaves no process, no file and no shared memory behind. The same
//     holds when this process dies in any way, including SIGKILL: every server
//     has a guard, a small shell outside our process group that waits for the
//     end of a pipe which only we hold open, and then does what Close does.
//     (Linux' parent-death signal would not do: it follows the thread that
//     started the child rather than the process, removes no files, does not
//     reach the server's own children, and exists on Linux only.)
//   - Kill is a crash: SIGKILL to the server and all of its children at once.
//     Start afterwards brings the same server back on the same port and data.
//
// What the operating system has been handed survives a SIGKILL. Losing it too
// takes a machine that loses power, which this package cannot imitate; that is
// why Postgres may run with fsync off here without weakening a test.
package servers
