package browsertest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const fresh = `document.getElementById("verdict").dataset.level === "fresh"`

// The figures on the page are those of /status.
func TestFiguresEqualStatus(t *testing.T) {
	t.Parallel()
	b, page := newBench(t), newBrowser(t)
	page.run(chromedp.Navigate(b.url()))
	page.await(fresh)
	stop := b.traffic()
	page.await(`Number(document.querySelector("[data-figure='invalidator.changes']").dataset.value) > 50`)
	page.await(`document.querySelectorAll("#feed li").length > 5 && document.querySelector("#feed .latency").textContent !== ""`)
	page.await(`document.querySelectorAll("#tables tbody tr").length >= 3 && document.querySelectorAll("#events li .kind").length > 0`)
	stop()

	for figure, path := range map[string][2]string{
		"consumer.state":               {"consumer", "state"},
		"consumer.gaps":                {"consumer", "gaps"},
		"invalidator.state":            {"invalidator", "state"},
		"invalidator.changes":          {"invalidator", "changes"},
		"invalidator.removed":          {"invalidator", "removed"},
		"invalidator.redis_errors":     {"invalidator", "redis_errors"},
		"invalidator.dead_letters":     {"invalidator", "dead_letters"},
		"invalidator.latency.p50":      {"invalidator", "latency"},
		"invalidator.pending_patterns": {"invalidator", "pending_patterns"},
	} {
		servertest.Eventually(t, patience, func() (bool, string) {
			value := b.status()[path[0]][path[1]]
			if path[1] == "latency" {
				value = value.(map[string]any)["p50"]
			}
			want := fmt.Sprint(value)
			if number, ok := value.(float64); ok {
				want = fmt.Sprintf("%.0f", number)
			}
			got := eval[string](page, fmt.Sprintf(`document.querySelector("[data-figure='%s']").dataset.value ?? ""`, figure))
			return got == want, fmt.Sprintf("%s: the page has %s, /status %s", figure, got, want)
		})
	}
	rows := eval[string](page, `document.querySelector("#tables tbody").innerText + document.querySelector("#rules tbody").innerText + document.querySelector("#parts tbody").innerText`)
	for _, want := range []string{"orders", "order_items", "clients", "consumer", "invalidator", "warmer", "0.3.0"} {
		if !strings.Contains(rows, want) {
			t.Errorf("the tables have no %s: %s", want, rows)
		}
	}
	if n := eval[int](page, `document.querySelectorAll(".charts canvas").length`); n != 3 {
		t.Errorf("got %d charts, want 3", n)
	}
	if text := eval[string](page, `document.getElementById("rates-text").textContent`); !strings.Contains(text, "highest") {
		t.Errorf("the chart says %q, want it in words", text)
	}
	page.check(b.url(), false)
}

// The page says where it is stuck, and with what remedy.
func TestPageSaysWhereItIsStuck(t *testing.T) {
	t.Parallel()
	b, page := newBench(t), newBrowser(t)
	page.run(chromedp.Navigate(b.url()))
	page.await(fresh)
	if err := b.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	page.await(`document.querySelector("[data-stage=redis]").hasAttribute("data-here") && document.getElementById("sentence").textContent.includes("Redis does not answer")`)
	page.await(`document.getElementById("reasons").textContent.includes("redis_down") && document.title.startsWith("Not fresh")`)
	page.await(`document.querySelector("[data-figure='invalidator.state']").hasAttribute("data-bad")`)
	page.await(`document.getElementById("announce").textContent.includes("Redis does not answer")`)
	if err := b.redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	page.await(fresh + ` && document.querySelectorAll("[data-here]").length === 0`)
	page.check(b.url(), false)
}

// The page says that it has lost its service, and goes on when it is there again.
func TestPageRecoversFromARestart(t *testing.T) {
	t.Parallel()
	b, page := newBench(t), newBrowser(t)
	page.run(chromedp.Navigate(b.url()))
	page.await(fresh)
	page.run(chromedp.Evaluate[chromedp.Void](`window.same = true`))
	b.stop()
	page.await(`document.getElementById("link").dataset.state === "lost"`)
	b.start()
	page.await(`document.getElementById("link").dataset.state === "live" && ` + fresh)
	if !eval[bool](page, `window.same === true`) {
		t.Error("the page was loaded anew, want it to go on")
	}
	page.check(b.url(), true)
}

// The explain box answers what `freshet explain` does.
func TestExplainBox(t *testing.T) {
	t.Parallel()
	b, page := newBench(t), newBrowser(t)
	page.run(
		chromedp.Navigate(b.url()),
		chromedp.SendKeys(`[name=table]`, "orders"),
		chromedp.SendKeys(`[name=row]`, `{"id": 9007199254740993, "client_id": 7, "workspace_id": 2}`),
		chromedp.SendKeys(`[name=old]`, `{"client_id": 9}`),
		chromedp.Click(`#explain button`),
	)
	for _, want := range []string{"order:9007199254740993", "orders:client:7", "orders:client:9", "dashboard:2"} {
		page.await(fmt.Sprintf(`document.getElementById("explained").textContent.includes(%q)`, want))
	}
	page.run(chromedp.SetValue(`[name=row]`, `{"id":`), chromedp.Click(`#explain button`))
	page.await(`document.getElementById("explained").textContent.includes("Row is not JSON")`)
	page.run(chromedp.SetValue(`[name=row]`, `[]`), chromedp.Click(`#explain button`))
	page.await(`document.querySelector("#explained .wrong") !== null && document.getElementById("explained").textContent.includes("row")`)
}

// What carries a meaning has a name for those who do not see it, and can be reached
// with the keyboard.
func TestPageIsAccessible(t *testing.T) {
	t.Parallel()
	b, page := newBench(t), newBrowser(t)
	page.run(chromedp.EmulateViewport(390, 844), chromedp.Navigate(b.url()))
	page.await(fresh)
	for _, check := range []struct{ what, none string }{
		{"fields without a label", `[...document.querySelectorAll("input, select, textarea")].filter((e) => e.labels.length === 0).map((e) => e.name)`},
		{"images and meters without a name", `[...document.querySelectorAll("[role=img], meter, [role=region]")].filter((e) => !e.ariaLabel && !document.getElementById(e.getAttribute("aria-labelledby"))?.textContent).map((e) => e.id)`},
		{"headers without a scope", `[...document.querySelectorAll("th")].filter((e) => !e.scope).map((e) => e.textContent)`},
		{"what scrolls and cannot be reached", `[...document.querySelectorAll(".scroll")].filter((e) => e.tabIndex < 0).map((e) => e.id)`},
		{"ids that are there twice", `[...document.querySelectorAll("[id]")].filter((e) => document.querySelectorAll("#" + e.id).length > 1).map((e) => e.id)`},
		{"what is wider than a phone", `document.documentElement.scrollWidth > 390 ? [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > 391 && !e.closest(".scroll")).map((e) => e.id || e.className || e.tagName) : []`},
		{"styles and scripts in the page", `[...document.querySelectorAll("style, script:not([src])")].map((e) => e.outerHTML)`},
	} {
		if got := eval[[]string](page, check.none); len(got) > 0 {
			t.Errorf("%s: %q", check.what, got)
		}
	}
	if cookies := eval[string](page, `document.cookie`); cookies != "" {
		t.Errorf("got cookies %q, want none", cookies)
	}
	page.check(b.url(), false)
}
