// Package archtest holds the test that keeps the import rules: which package
// may import which, and what may be in the dependencies of the public ones.
//
// It is a package of its own because the rules are about all packages and
// belong to none, and because the linter, which checks direct imports while
// one types, does not see what comes in through another package.
package archtest
