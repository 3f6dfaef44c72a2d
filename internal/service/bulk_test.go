package service_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// Up to the limit a transaction's rows are exact; beyond it everything that
// depends on the table goes, the rows before and after the limit's among it, and
// it is announced.
func TestBulk(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{
		schema: `create table orders (id bigint primary key, n int); insert into orders select i, 0 from generate_series(1, 100) i;
			create table items (id bigint primary key, n int); insert into items select i, 0 from generate_series(1, 100) i`,
		rules: []rule.Config{
			{Table: "orders", Invalidate: []string{"order:{id}"}, Bulk: 3},
			{Table: "items", Invalidate: []string{"item:{id}", "items:{id}:list"}, Tags: []string{"items:{id}"}},
		},
		bulk: 10,
	})
	r := b.start()
	b.settle(r)
	all := []string{"order:1", "order:3", "order:4", "order:90", "item:1", "item:10", "item:11", "item:90", "items:90:list", "itemized"}
	b.plant(all...)

	b.exec(`begin; update orders set n = 1 where id <= 3; update items set n = 1 where id <= 10; commit`)
	b.expect(r, []string{"order:1", "order:3", "item:1", "item:10"}, []string{"order:4", "order:90", "item:11", "item:90", "items:90:list"})
	if n := b.events(r, "bulk", nil); n != 0 {
		t.Errorf("%d events of a transaction at the limit, want none", n)
	}

	b.plant(all...)
	b.exec(`update orders set n = 2 where id <= 4`)
	b.expect(r, []string{"order:1", "order:3", "order:4", "order:90"}, []string{"item:1", "item:90"})
	var fields struct {
		Table string `json:"table"`
		Rows  int    `json:"rows"`
		LSN   string `json:"lsn"`
	}
	servertest.Eventually(t, patience, func() (bool, string) { return b.events(r, "bulk", &fields) == 1, "no event" })
	if fields.Table != "public.orders" || fields.Rows != 3 || fields.LSN == "" {
		t.Errorf("the event says %+v", fields)
	}

	// The limit counts for each table of a transaction by itself.
	b.plant(all...)
	b.exec(`begin; update orders set n = 3 where id = 90; update items set n = 3 where id <= 50; commit`)
	b.expect(r, []string{"order:90", "item:1", "item:90", "items:90:list"}, []string{"order:1", "itemized"})
	servertest.Eventually(t, patience, func() (bool, string) { return b.events(r, "bulk", &fields) == 2, "no event" })
	if fields.Table != "public.items" || fields.Rows != 10 {
		t.Errorf("the event says %+v", fields)
	}
}

// events counts the events of a kind, and reads the fields of the last one.
func (b *bundle) events(r *running, kind string, fields any) uint64 {
	b.t.Helper()
	ctx := b.t.Context()
	events, err := r.Stream.JetStream().Stream(ctx, "freshet-"+instance+"-events")
	if err != nil {
		b.t.Fatal(err)
	}
	subject := "freshet." + instance + ".events." + kind
	info, err := events.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		b.t.Fatal(err)
	}
	last, err := events.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0
	}
	if err != nil {
		b.t.Fatal(err)
	}
	event := struct {
		Fields any `json:"fields"`
	}{fields}
	if err := json.Unmarshal(last.Data, &event); err != nil {
		b.t.Fatal(err)
	}
	return info.State.Subjects[subject]
}
