// Package catalog asks Postgres what it says of tables, keys, replica
// identities, partitions, publications, slots and settings, and makes a
// publication match a list of tables. The consumer, the checks and the
// configuration writer share its answers.
//
// Everything but EnsurePublication and CreateSlot only reads. Those two either
// do what is needed or return a RemedyError, which carries the SQL for
// somebody with more rights. DESIGN.md says what is promised.
package catalog
