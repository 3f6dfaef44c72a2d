package presets_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/presets"
)

type Order struct {
	ID       int64  `json:"id"`
	ClientID int64  `json:"client_id"`
	Status   string `json:"status"`
}

func open() *cache.Cache {
	c, err := cache.Open(context.Background(), "memory://", cache.Config{}) // in production redis://…
	if err != nil {
		panic(err)
	}
	return c
}

func ExampleOrders() {
	ctx, c := context.Background(), open()
	defer c.Close()

	orders := presets.Orders[Order, int64](c)
	for range 2 {
		order, err := orders.GetOrSet(ctx, 42, func(context.Context) (Order, error) {
			fmt.Println("asking the database for", orders.Key(42))
			return Order{ID: 42, ClientID: 7, Status: "PAID"}, nil
		})
		fmt.Println(order.Status, err)
	}
	// Output:
	// asking the database for order:42
	// PAID <nil>
	// PAID <nil>
}

// The application stores something else under its users' keys from version 2 on.
// Programs of either version run beside each other, and neither reads what the
// other stores. The rule for both is user:{id} and user:{id}:v*.
func ExampleUsers_version() {
	ctx, c := context.Background(), open()
	defer c.Close()

	type User struct{ GivenName, FamilyName string }
	users := presets.Users[User, int](c, func(s *cache.Spec[int]) { s.Version = 2 })
	_ = presets.Users[string, int](c).Set(ctx, 7, "Ada Lovelace")
	_ = users.Set(ctx, 7, User{"Ada", "Lovelace"})
	fmt.Println(users.Key(7))
	fmt.Println(users.Get(ctx, 7))

	_ = users.Delete(ctx, 7) // this version's alone
	fmt.Println(c.Exists(ctx, presets.UserKey(7)))
	// Output:
	// user:7:v2
	// {Ada Lovelace} <nil>
	// true <nil>
}

func ExampleInvalidateOrder() {
	ctx, c := context.Background(), open()
	defer c.Close()

	_ = cache.SetMany(ctx, c, map[string]int{
		"order:42": 1, "order:43": 1, "orders:client:7": 1, "orders:client:8": 1, "dashboard:1": 1, "client:7": 1,
	}, presets.OrderStatusTTL)
	fmt.Println(presets.InvalidateOrder(ctx, c, 42, 7))
	fmt.Println(keys(c))
	// Output:
	// <nil>
	// [client:7 order:43 orders:client:8]
}

// With all that is known of the orders, less is removed.
func ExampleInvalidateOrders() {
	ctx, c := context.Background(), open()
	defer c.Close()

	_ = cache.SetMany(ctx, c, map[string]int{
		"order:42": 1, "order:43": 1, "orders:client:7": 1, "dashboard:1": 1, "dashboard:2": 1,
		"orders:metrics:2026-11": 1, "orders:metrics:2026-10": 1,
	}, presets.OrderStatusTTL)
	fmt.Println(presets.InvalidateOrders(ctx, c,
		presets.OrderChange[int]{ID: 42, ClientIDs: []int{7}, WorkspaceIDs: []int{1}, Created: created},
		presets.OrderChange[int]{ID: 43, ClientIDs: []int{7}, WorkspaceIDs: []int{1}, Created: created},
	))
	fmt.Println(keys(c))
	// Output:
	// <nil>
	// [dashboard:2 orders:metrics:2026-10]
}

func ExampleInvalidateUser() {
	ctx, c := context.Background(), open()
	defer c.Close()

	_ = presets.Users[string, int](c).Set(ctx, 7, "Ada")
	_ = presets.UsersByEmail[int](c).Set(ctx, "ada@example.com", 7)
	_ = presets.UserPermissions[[]string, int](c).Set(ctx, 7, []string{"orders:write"})
	fmt.Println(keys(c))
	fmt.Println(presets.InvalidateUser(ctx, c, 7, "ada@example.com"))
	fmt.Println(keys(c))
	// Output:
	// [user:7 user:7:permissions user:email:ada@example.com]
	// <nil>
	// []
}

func ExampleInvalidateInventory() {
	ctx, c := context.Background(), open()
	defer c.Close()

	_ = presets.Inventory[int, string](c).SetMany(ctx, map[string]int{"bolt": 100, "nut": 90})
	_ = presets.Dashboards[string, string](c).SetMany(ctx, map[string]string{"north": "…", "south": "…"})
	fmt.Println(presets.InvalidateInventory(ctx, c, "bolt", "north"))
	fmt.Println(keys(c))
	// Output:
	// <nil>
	// [dashboard:south inventory:nut]
}

// A session lasts for a quarter of an hour from its last use.
func ExampleSessions() {
	ctx, c := context.Background(), open()
	defer c.Close()

	sessions := presets.Sessions[string, string](c)
	_ = sessions.Set(ctx, "s1", "user 7")
	who, err := sessions.Get(ctx, "s1")
	fmt.Println(who, err)
	fmt.Println(c.Touch(ctx, presets.SessionKey("s1"), presets.SessionTTL))
	_ = presets.InvalidateSession(ctx, c, "s1") // logged out
	fmt.Println(sessions.Exists(ctx, "s1"))
	// Output:
	// user 7 <nil>
	// true <nil>
	// false <nil>
}

func ExampleFiltersOf() {
	type query struct {
		Status   string `json:"status"`
		ClientID int    `json:"client_id"`
	}
	filters, err := presets.FiltersOf(query{Status: "open", ClientID: 7})
	fmt.Println(presets.OrderListKey(filters), err)
	same, _ := presets.FiltersOf(map[string]any{"client_id": 7, "status": "open"})
	fmt.Println(same == filters)

	// Another program gets the same with, for example:
	// printf '{"client_id":7,"status":"open"}' | sha256sum | cut -c 1-32

	// Output:
	// orders:list:99667072d2088b8d2d69fc820e46dd80 <nil>
	// true
}

func ExampleAPIResponses() {
	ctx, c := context.Background(), open()
	defer c.Close()

	params, _ := presets.FiltersOf(map[string]string{"base": "EUR"})
	rates := presets.APIResponses[map[string]float64](c)
	got, err := rates.GetOrSet(ctx, presets.APICall{Endpoint: "GET /rates", Params: params},
		func(context.Context) (map[string]float64, error) { return map[string]float64{"USD": 1.25}, nil })
	fmt.Println(got, err)

	fmt.Println(presets.InvalidateAPI(ctx, c, "GET /rates"))
	fmt.Println(keys(c))
	// Output:
	// map[USD:1.25] <nil>
	// <nil>
	// []
}

func ExampleOrderMetrics() {
	ctx, c := context.Background(), open()
	defer c.Close()

	metrics := presets.OrderMetrics[int](c)
	_, _ = metrics.GetOrSet(ctx, presets.MonthOf(created), func(context.Context) (int, error) { return 120, nil })
	fmt.Println(keys(c))
	fmt.Println(presets.InvalidateMetrics(ctx, c))
	fmt.Println(keys(c))
	// Output:
	// [orders:metrics:2026-11]
	// <nil>
	// []
}

// keys lists what is in the cache.
func keys(c *cache.Cache) []string {
	var all []string
	for key, err := range c.Keys(context.Background(), "*") {
		if err != nil {
			panic(err)
		}
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}
