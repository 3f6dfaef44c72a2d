package presets_test

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/presets"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

type order struct {
	ID     int64  `json:"id"`
	Status string `json:"status"`
}

var created = time.Date(2026, 11, 23, 23, 30, 0, 0, time.FixedZone("", -2*3600)) // the 24th in UTC

// store is one kind of store under test.
type store struct {
	t   *testing.T
	c   *cache.Cache
	rdb redis.UniversalClient // nil in memory
}

// onStores runs a test over memory and over a Redis of its own.
func onStores(t *testing.T, test func(s store)) {
	t.Helper()
	run := func(t *testing.T, url string, rdb redis.UniversalClient) {
		t.Helper()
		c, err := cache.Open(t.Context(), url, cache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		test(store{t, c, rdb})
	}
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		run(t, "memory://", nil)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := servertest.Redis(t)
		rdb := server.Client()
		t.Cleanup(func() { _ = rdb.Close() })
		run(t, server.URL(), rdb)
	})
}

// TestKeysAndLifetimes stores one value by each view, and looks at the name and
// the lifetime that it has in the store.
func TestKeysAndLifetimes(t *testing.T) {
	t.Parallel()
	filters, err := presets.FiltersOf(map[string]string{"status": "open"})
	if err != nil {
		t.Fatal(err)
	}
	onStores(t, func(s store) {
		t, c, ctx := s.t, s.c, s.t.Context()
		for _, tc := range []struct {
			key string
			ttl time.Duration
			set error
		}{
			{"user:7", 30 * time.Minute, presets.Users[string, int](c).Set(ctx, 7, "Ada")},
			{"user:email:ada@example.com", 30 * time.Minute, presets.UsersByEmail[int](c).Set(ctx, "ada@example.com", 7)},
			{"user:7:permissions", 30 * time.Minute, presets.UserPermissions[[]string, int](c).Set(ctx, 7, []string{"read"})},
			{"session:s1", 15 * time.Minute, presets.Sessions[string, string](c).Set(ctx, "s1", "x")},
			{"order:42", 10 * time.Minute, presets.Orders[order, int64](c).Set(ctx, 42, order{42, "PAID"})},
			{"order:42:status", 10 * time.Minute, presets.OrderStatuses[string, int64](c).Set(ctx, 42, "PAID")},
			{"orders:client:7", 10 * time.Minute, presets.ClientOrders[[]order, int64](c).Set(ctx, 7, nil)},
			{"orders:list:" + string(filters), 10 * time.Minute, presets.OrderLists[[]order](c).Set(ctx, filters, nil)},
			{"client:7", time.Hour, presets.Clients[string, int](c).Set(ctx, 7, "Ada")},
			{"inventory:3", 2 * time.Minute, presets.Inventory[int, int](c).Set(ctx, 3, 12)},
			{"dashboard:w1", 5 * time.Minute, presets.Dashboards[string, string](c).Set(ctx, "w1", "x")},
			{"production:metrics:2026-11-24", 5 * time.Minute, presets.ProductionMetrics[int](c).Set(ctx, presets.DateOf(created), 1)},
			{"orders:metrics:2026-11", 5 * time.Minute, presets.OrderMetrics[int](c).Set(ctx, presets.MonthOf(created), 1)},
			{"api:GET /rates:" + string(filters), 5 * time.Minute, presets.APIResponses[int](c).Set(ctx, presets.APICall{Endpoint: "GET /rates", Params: filters}, 1)},
		} {
			if tc.set != nil {
				t.Errorf("%s: %v", tc.key, tc.set)
			}
			if got, err := c.TTL(ctx, tc.key); got > tc.ttl || got < tc.ttl-time.Minute || err != nil {
				t.Errorf("%s: it lasts for %v (%v), want %v", tc.key, got, err, tc.ttl)
			}
		}
	})
}

func TestRateLimitKey(t *testing.T) {
	t.Parallel()
	const want = "ratelimit:user-7:orders"
	if got := presets.RateLimitKey("user-7", "orders"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if a, b := presets.RateLimitKey("a:b", "c"), presets.RateLimitKey("a", "b:c"); a == b {
		t.Errorf("two limits have the key %q", a)
	}
}

// everything is one value of each kind for two of everything.
func everything() []string {
	return []string{
		"user:7", "user:8", "user:email:a@b", "user:email:c@d", "user:email:e@f", "user:7:permissions", "user:8:permissions",
		"session:s1", "session:s2",
		"order:42", "order:43", "order:420", "order:42:status", "order:43:status",
		"orders:client:7", "orders:client:8", "orders:client:9", "orders:list:f1", "orders:list:f2",
		"client:7", "client:8", "inventory:3", "inventory:4", "dashboard:1", "dashboard:2",
		"production:metrics:2026-11-23", "production:metrics:2026-11-24", "orders:metrics:2026-11", "orders:metrics:2026-10",
		"api:GET /rates:p1", "api:GET /rates:p2", "api:GET /rates*:p1", "api:GET /users:p1", "other:1",
	}
}

// TestInvalidations removes what changes with one row, and looks what else is
// gone.
func TestInvalidations(t *testing.T) {
	t.Parallel()
	onStores(t, func(s store) {
		t, c, ctx := s.t, s.c, s.t.Context()
		lists := []string{"orders:list:f1", "orders:list:f2"}
		metrics := []string{
			"production:metrics:2026-11-23", "production:metrics:2026-11-24", "orders:metrics:2026-11", "orders:metrics:2026-10",
		}
		dashboards := []string{"dashboard:1", "dashboard:2"}
		for _, tc := range []struct {
			name       string
			invalidate func() error
			want       []string
		}{
			{
				"user", func() error { return presets.InvalidateUser(ctx, c, 7, "a@b", "c@d") },
				[]string{"user:7", "user:7:permissions", "user:email:a@b", "user:email:c@d"},
			},
			{
				"user of unknown address", func() error { return presets.InvalidateUser(ctx, c, 7) },
				[]string{"user:7", "user:7:permissions", "user:email:a@b", "user:email:c@d", "user:email:e@f"},
			},
			{"session", func() error { return presets.InvalidateSession(ctx, c, "s1") }, []string{"session:s1"}},
			{"client", func() error { return presets.InvalidateClient(ctx, c, 7) }, []string{"client:7"}},
			{"inventory", func() error { return presets.InvalidateInventory(ctx, c, 3, 1) }, []string{"inventory:3", "dashboard:1"}},
			{
				"inventory of unknown workspace", func() error { return presets.InvalidateInventory(ctx, c, 3) },
				append([]string{"inventory:3"}, dashboards...),
			},
			{"dashboard", func() error { return presets.InvalidateDashboard(ctx, c, 2) }, []string{"dashboard:2"}},
			{"metrics", func() error { return presets.InvalidateMetrics(ctx, c) }, metrics},
			{"api", func() error { return presets.InvalidateAPI(ctx, c, "GET /rates*") }, []string{"api:GET /rates*:p1"}},
			{
				"apis", func() error { return presets.InvalidateAPI(ctx, c, "GET /rates", "GET /users") },
				[]string{"api:GET /rates:p1", "api:GET /rates:p2", "api:GET /users:p1"},
			},
			{
				"order", func() error { return presets.InvalidateOrder(ctx, c, 42, 7, 9) },
				slices.Concat([]string{"order:42", "order:42:status", "orders:client:7", "orders:client:9"}, lists, dashboards, metrics),
			},
			{
				"order of unknown client", func() error { return presets.InvalidateOrder(ctx, c, 42) },
				slices.Concat([]string{"order:42", "order:42:status", "orders:client:7", "orders:client:8", "orders:client:9"}, lists, dashboards, metrics),
			},
			{"orders", func() error {
				return presets.InvalidateOrders(ctx, c,
					presets.OrderChange[int]{ID: 42, ClientIDs: []int{7}, WorkspaceIDs: []int{1}, Created: created},
					presets.OrderChange[int]{ID: 43, ClientIDs: []int{7, 8}, WorkspaceIDs: []int{1}, Created: created})
			}, slices.Concat([]string{
				"order:42", "order:42:status", "order:43", "order:43:status", "orders:client:7", "orders:client:8",
				"dashboard:1", "production:metrics:2026-11-24", "orders:metrics:2026-11",
			}, lists)},
			{"no orders", func() error { return presets.InvalidateOrders[int](ctx, c) }, nil},
		} {
			values := map[string]int{}
			for _, key := range everything() {
				values[key] = 1
			}
			if err := cache.SetMany(ctx, c, values, time.Minute); err != nil {
				t.Fatal(err)
			}
			if err := tc.invalidate(); err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			for key, err := range c.Keys(ctx, "*") {
				if err != nil {
					t.Fatal(err)
				}
				delete(values, key)
			}
			got, want := slices.Sorted(maps.Keys(values)), slices.Sorted(slices.Values(tc.want))
			if !slices.Equal(got, want) {
				t.Errorf("%s: removed\n%s\nwant\n%s", tc.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if s.rdb == nil {
			return
		}
		// What other programs read is plain JSON.
		if err := presets.Orders[order, int64](c).Set(ctx, 42, order{42, "PAID"}); err != nil {
			t.Fatal(err)
		}
		if got := s.rdb.Get(ctx, "order:42").Val(); got != `{"id":42,"status":"PAID"}` {
			t.Errorf("in Redis: %s", got)
		}
	})
}

// TestInvalidationReportsFailures: a part that fails does not keep the others from
// being tried, and each failure is reported.
func TestInvalidationReportsFailures(t *testing.T) {
	t.Parallel()
	c, err := cache.Open(t.Context(), "memory://", cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	err = presets.InvalidateOrder(t.Context(), c, 42, 7)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 {
		t.Errorf("got %v, want errors of the keys and of the patterns", err)
	}
}

func TestFiltersOf(t *testing.T) {
	t.Parallel()
	type query struct {
		Status   string   `json:"status"`
		ClientID int64    `json:"client_id"`
		Sort     []string `json:"sort,omitempty"`
	}
	of := func(v any) presets.Filters {
		f, err := presets.FiltersOf(v)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	want := of(query{Status: "a<b", ClientID: 1<<62 + 1})
	for name, same := range map[string]any{
		"map": map[string]any{"client_id": int64(1<<62 + 1), "status": "a<b"},
		"fields": struct {
			ClientID int64  `json:"client_id"`
			Status   string `json:"status"`
		}{1<<62 + 1, "a<b"},
	} {
		if got := of(same); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	seen := map[presets.Filters]any{want: "want"}
	for _, other := range []any{
		query{Status: "a<b", ClientID: 1 << 62}, // the same as a float
		query{Status: "a<b", ClientID: 1<<62 + 1, Sort: []string{"x", "y"}},
		query{Status: "a<b", ClientID: 1<<62 + 1, Sort: []string{"y", "x"}},
		map[string]any{"client_id": int64(1<<62 + 1), "status": "a<b", "assignee": nil},
		map[string]any{},
		nil,
		[]string{},
		url.Values{"a": {"1", "2"}},
		url.Values{"a": {"1"}, "b": {"2"}},
		url.Values{"a": {"12"}},
	} {
		f := of(other)
		if len(f) != 32 {
			t.Errorf("%v: got %q", other, f)
		}
		if first, found := seen[f]; found {
			t.Errorf("%v and %v have one key", first, other)
		}
		seen[f] = other
	}
	if _, err := presets.FiltersOf(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}
