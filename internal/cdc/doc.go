// Package cdc holds the row-change event that Freshet's parts exchange over
// NATS: its types, its JSON codec and its subject names. It uses the standard
// library only, so that whatever reads or writes changes can import it.
//
// The JSON form is a public contract: any program may subscribe to it.
package cdc
