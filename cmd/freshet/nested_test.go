package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const (
	catalogueRows  = 4000
	cataloguePages = 20
)

// catalogue reads a table by way of a cache: items, and what is made of items that
// the cache has.
type catalogue struct {
	*shop
	c     *cache.Cache
	reads atomic.Int64
	warm  atomic.Int64 // pages made of cached items alone
}

func (c *catalogue) query(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = c.db.QueryRow(ctx, sql, args...).Scan(&n)
	return n, err
}

func (c *catalogue) products(ctx context.Context, page int64, loaded *bool) (sum int64, err error) {
	var ids []int64
	for i := range int64(catalogueRows / cataloguePages) {
		ids = append(ids, page*catalogueRows/cataloguePages+i)
	}
	all, err := cache.GetOrSetMany(ctx, c.c, ids, func(id int64) string { return fmt.Sprint("product:", id) }, time.Hour,
		func(ctx context.Context, ids []int64) (map[int64]int64, error) {
			*loaded = true
			versions := make(map[int64]int64, len(ids))
			rows, err := c.db.Query(ctx, `select id, version from products where id = any ($1)`, ids)
			if err != nil {
				return nil, err
			}
			defer rows.Close()
			for rows.Next() {
				var id, version int64
				if err := rows.Scan(&id, &version); err != nil {
					return nil, err
				}
				versions[id] = version
			}
			return versions, rows.Err()
		})
	for _, version := range all {
		sum += version
	}
	return sum, err
}

// detail is removed by a pattern: later than the page that is made of it.
func (c *catalogue) detail(ctx context.Context, page int64, loaded *bool) (int64, error) {
	return cache.GetOrSet(ctx, c.c, fmt.Sprintf("detail:%d:en", page), time.Hour, func(ctx context.Context) (int64, error) {
		*loaded = true
		return c.query(ctx, pageSQL, page)
	})
}

const pageSQL = `select sum(version)::bigint from products where page = $1`

func (c *catalogue) page(ctx context.Context, page int64) (int64, error) {
	return cache.GetOrSet(ctx, c.c, fmt.Sprint("page:", page), time.Hour, func(ctx context.Context) (int64, error) {
		loaded := false
		products, err := c.products(ctx, page, &loaded)
		if err != nil {
			return 0, err
		}
		detail, err := c.detail(ctx, page, &loaded)
		if err == nil && !loaded {
			c.warm.Add(1)
		}
		return products + detail, err
	})
}

// Pages are made of items that the cache has, while statements change thousands of
// rows: the page goes first, its products behind it, and its detail with a pass.
// When a statement is applied, nothing that is cached is older than the database (I3).
func TestPagesOfCachedItems(t *testing.T) {
	t.Parallel()
	c := &catalogue{shop: newShop(t, "")}
	if _, err := c.db.Exec(t.Context(), fmt.Sprintf(`
		create table products (id bigint primary key, page bigint not null, version bigint not null);
		alter table products replica identity full;
		insert into products select n, n / %d, 0 from generate_series(0, %d) n`, catalogueRows/cataloguePages, catalogueRows-1)); err != nil {
		t.Fatal(err)
	}
	c.config = writeConfig(t, fmt.Sprintf(`
name: shop
postgres: {url: %q}
nats: {url: %q}
cache: {url: %q}
http: {listen: "127.0.0.1:0"}
rules:
  - table: products
    invalidate: ["page:{page}", "product:{id}", "detail:{page}:*"]
`, c.postgres.URL(), c.nats.URL(), c.redis.URL()))
	var err error
	if c.c, err = cache.Open(t.Context(), c.redis.URL(), cache.Config{Source: "shop"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.c.Close() })
	p := runService(t, c.config, "")
	awaitActive(t, patience, p)

	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	for range 4 {
		readers.Go(func() {
			for pause(ctx, time.Millisecond) {
				if _, err := c.page(ctx, rand.Int64N(cataloguePages)); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				c.reads.Add(1)
			}
		})
	}
	compared := map[string]int{}
	statements := 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && !t.Failed(); statements++ {
		if _, err := c.db.Exec(t.Context(), `update products set version = version + 1`); err != nil {
			t.Fatal(err)
		}
		c.settle(p)
		c.compare(compared)
	}
	for kind, n := range compared {
		if n == 0 {
			t.Errorf("no %s was cached, so none was compared", kind)
		}
	}
	// All that is no way around the cache: where nothing is under way, a page is
	// made of what is there.
	servertest.Eventually(t, patience, func() (bool, string) {
		if err := c.c.Delete(t.Context(), "page:0"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.page(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		return c.warm.Load() > 0, "no page was made of cached items alone"
	})
	t.Logf("%d statements of %d rows, %d reads of pages; compared %v", statements, catalogueRows, c.reads.Load(), compared)
}

// compare compares every value that is cached with the database.
func (c *catalogue) compare(compared map[string]int) {
	t := c.t
	rdb := c.redis.Client()
	defer rdb.Close()
	version, err := c.query(t.Context(), `select max(version) from products`) // which every row has
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"page", "product", "detail"} {
		names, err := rdb.Keys(t.Context(), kind+":*").Result()
		if err != nil {
			t.Fatal(err)
		}
		values, err := cache.GetMany[int64](t.Context(), c.c, names)
		if err != nil {
			t.Fatal(err)
		}
		for key, got := range values {
			want := version
			switch kind {
			case "page":
				want *= 2 * catalogueRows / cataloguePages
			case "detail":
				want *= catalogueRows / cataloguePages
			}
			if got != want {
				t.Errorf("%s is %d in the cache, %d in the database, and nothing will remove it", key, got, want)
			}
		}
		compared[kind] += len(values)
	}
}
