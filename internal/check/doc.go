// Package check says whether everything is in place for Freshet to run: each
// precondition one line, each line that is not right with the exact remedy. It
// changes nothing that lasts. It also adapts the catalog to what rules are
// compiled against, for whoever needs both.
//
// It is a package of its own, apart from the command that prints it, so that
// every line and its remedy can be tested against real servers.
package check
