// Package catalog asks Postgres what it says of tables, keys, replica
// identities, partitions, publications, slots and settings. The consumer, the
// checks and the configuration writer share its answers.
package catalog
