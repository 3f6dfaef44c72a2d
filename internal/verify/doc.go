// Package verify compares cached values with what their rule's warm query gives
// now. It is a package of its own because the command line and the running
// service check in the same way.
//
// See DESIGN.md for what a reported mismatch proves, and what it does not.
package verify
