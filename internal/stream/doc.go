// Package stream is Freshet's use of NATS: the change stream with its chained
// publisher and its ordered reader, the event and dead-letter streams, the KV
// bucket with leases and watermarks, and the embedded server.
//
// The change stream is a chain: every message names the one before it. The
// server refuses most of what does not belong (an expected last sequence is on
// every message), but a writer that wakes up late can match by accident, and a
// stream can be purged, deleted or restored from a backup. The reader is
// therefore the fence: it follows the names, and moves the position past a
// hole only when a session's start message proves that nothing is missing, or
// a gap message declares what is.
//
// See DESIGN.md for the guarantees and how each failure is met.
package stream
