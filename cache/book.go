package cache

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
)

// book is what an applier left on one master, to compare with what it finds.
type book struct {
	run  run    // the server process that was taken over; fixed
	term string // random, new with every TakeOver; fixed
	name string // the owner; fixed

	mu        sync.Mutex
	number    uint64   // the counter's last number that was confirmed
	attempted bool     // a pipeline with number+1 may have arrived
	positions []string // what the position may be: the confirmed one, then attempts without a reply
	unproven  bool     // deletes were made that the counter, for want of memory, does not stand behind
}

// run tells one life of a server's data set from another.
type run struct{ id, replid string }

// maxAttempts is how many moves may go without a reply before the position on
// the master has to be loaded again.
const maxAttempts = 64

func newBook(r run, owner string, position string) *book {
	return &book{run: r, term: newTerm(), name: owner, positions: []string{position}}
}

func newTerm() string { return rand.Text()[:16] }

// counter writes the counter's value for a number.
func (b *book) counter(number uint64) string {
	return b.term + ":" + strconv.FormatUint(number, 10) + ":" + b.name
}

// termOf returns the term of a counter's value, and its owner.
func termOf(counter string) (term, owner string) {
	term, rest, _ := strings.Cut(counter, ":")
	_, owner, _ = strings.Cut(rest, ":")
	return term, owner
}
