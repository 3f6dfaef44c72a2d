// Package consumer reads one replication slot of Postgres and publishes every committed row change of the configured tables to the
// change stream, in the order of commits and never before a reader of the database can see it.
//
// It knows Postgres and the stream, and of rules no more than the tables and columns it is told to publish. Package invalidator takes
// what it publishes from the stream.
//
// What can pass (a server that is away, a slot in use, a stream that refuses a message) is retried for as long as it takes. What
// cannot be continued (a lost slot, another server's history, a table that changed without row events) is declared as a gap in the
// stream itself. DESIGN.md says what is promised and how.
package consumer
