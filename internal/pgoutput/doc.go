// Package pgoutput decodes version 1 of Postgres' logical replication
// protocol, which the pgoutput plugin writes.
//
// It is a package of its own so that it can be fuzzed, benchmarked and checked
// against another parser by itself: it turns bytes into messages and knows
// nothing of connections, rules or NATS.
//
// The decoder is zero-copy and reuses its structs: a message and everything it
// points to are valid until the next call of Decode, and column data alias the
// input. Decoding a row allocates nothing. Relations are the caller's to
// remember: rows name theirs by OID.
//
// Input is checked completely: every length, every kind byte, and that nothing
// stands behind the message. No input makes it panic or allocate more than a
// small multiple of the input's size.
package pgoutput
