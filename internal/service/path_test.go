package service_test

import (
	"testing"

	"github.com/freshet-dev/freshet/internal/rule"
)

// The thinnest whole path: one table, one rule, one key, all four servers.
func TestCommittedRowRemovesItsKey(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{
		schema: `create table orders (id bigint primary key, status text); insert into orders values (1, 'NEW'), (2, 'NEW')`,
		rules:  []rule.Config{{Table: "orders", Invalidate: []string{"order:{id}"}}},
		nats:   true,
	})
	r := b.start()
	b.settle(r)
	b.plant("order:1", "order:2", "other:1")
	b.exec(`update orders set status = 'PAID' where id = 1`)
	b.expect(r, []string{"order:1"}, []string{"order:2", "other:1"})
}
