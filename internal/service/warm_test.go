package service_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/warmer"
)

var warmOrders = options{
	schema: `create table orders (id bigint primary key, status text); insert into orders select i, 'NEW' from generate_series(1, 1000) i`,
	rules: []rule.Config{{
		Table: "orders", Invalidate: []string{"order:{id}"},
		Warm: []rule.Warm{{Key: "order:{id}", SQL: "select to_jsonb(o) from orders o where o.id = {id}", TTL: time.Hour}},
	}},
	nats: true,
}

// holds waits until a key has a status.
func (b *bundle) holds(key, status string) {
	b.t.Helper()
	servertest.Eventually(b.t, patience, func() (bool, string) {
		text, err := b.rdb.Get(b.t.Context(), key).Bytes()
		var row struct{ Status string }
		if err == nil {
			err = json.Unmarshal(text, &row)
		}
		return err == nil && row.Status == status, fmt.Sprintf("want %s with status %s, got %s %v", key, status, text, err)
	})
}

// A hot key has its new value again without a reader, each role in a process of its
// own, and a key that nobody had cached has not.
func TestCommittedRowIsWarmed(t *testing.T) {
	t.Parallel()
	b := newBundle(t, warmOrders)
	r := b.start(service.RoleConsumer, service.RoleInvalidator)
	b.settle(r)
	w := b.start(service.RoleWarmer)
	w.awaitReady(http.StatusOK, "")
	b.plant("order:1")
	b.exec(`update orders set status = 'PAID' where id in (1, 2)`)
	b.holds("order:1", "PAID")
	b.settle(r)
	if found := b.present("order:2"); len(found) > 0 {
		t.Errorf("%s was warmed, and nobody had cached it", found)
	}

	// Many changes of one key in one transaction are one task.
	before := w.Warmer.Status().Results
	b.exec(`do $$ begin for i in 1..1000 loop update orders set status = 'N' || i where id = 1; end loop; end $$`)
	b.holds("order:1", "N1000")
	b.settle(r)
	after := w.Warmer.Status().Results
	if n := after.Filled + after.Refused - before.Filled - before.Refused; n > 20 {
		t.Errorf("%d queries for one key of one transaction", n)
	}

	b.exec(`delete from orders where id = 1`)
	servertest.Eventually(t, patience, func() (bool, string) {
		return len(b.present("order:1")) == 0, "the row is gone and the key is not"
	})
}

// A warmer that cannot reach Postgres, or is not there, holds nothing up.
func TestInvalidationWithoutWarmer(t *testing.T) {
	t.Parallel()
	b := newBundle(t, warmOrders)
	r := b.start(service.RoleConsumer, service.RoleInvalidator)
	b.settle(r)
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("order:%d", i+1)
	}
	b.plant(keys...)
	b.exec(`update orders set status = 'PAID'`)
	b.expect(r, keys, nil)
	if s := r.Invalidator.Status(); s.WarmTasks != 1000 {
		t.Errorf("got %d warm tasks, want 1000", s.WarmTasks)
	}
	// One that comes later finds them.
	w := b.start(service.RoleWarmer)
	b.holds("order:1000", "PAID")
	servertest.Eventually(t, patience, func() (bool, string) {
		s := w.Warmer.Status()
		return s.State == warmer.StateActive && s.Results.Filled > 0, fmt.Sprintf("%+v", s)
	})
}
