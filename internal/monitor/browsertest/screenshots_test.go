package browsertest

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var (
	images  = flag.String("images", "", "write the screenshots into this `FOLDER`; default: a temporary one")
	trading = flag.Duration("trading", 5*time.Second, "how long the shop trades before the first screenshot")
)

// The screenshots show a shop that trades, and one whose Redis is away. A picture is of
// the whole page, or, named -screen, of its beginning.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	folder := *images
	if folder == "" {
		folder = t.TempDir()
	}
	b, page := newBench(t), newBrowser(t)
	theme := func(name string) chromedp.Action[chromedp.Void] {
		return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
			_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, params)
			return err
		})
	}
	stop := b.traffic()
	defer stop()
	page.run(chromedp.EmulateViewport(1280, 900), theme("light"), chromedp.Navigate(b.url()))
	page.await(fresh)
	ctx, cancel := context.WithTimeout(t.Context(), *trading)
	defer cancel()
	<-ctx.Done()
	write := func(name string, picture []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shoot := func(name string) { write(name, result(page, chromedp.FullScreenshot(100))) }
	screen := func(name string) { // the beginning, half as high as wide
		page.run(chromedp.EmulateViewport(1280, 640))
		write(name+"-screen", result(page, chromedp.CaptureScreenshot()))
		page.run(chromedp.EmulateViewport(1280, 900))
	}
	frame := func() { // one more status, drawn with the present theme and width
		t.Helper()
		before := eval[string](page, `document.getElementById("age").dataset.value ?? ""`)
		page.await(`(document.getElementById("age").dataset.value ?? "") !== "` + before + `"`)
	}
	page.run(
		chromedp.SendKeys(`[name=table]`, "orders"),
		chromedp.SendKeys(`[name=row]`, `{"id": 42, "client_id": 7, "workspace_id": 2}`),
		chromedp.SendKeys(`[name=old]`, `{"client_id": 9}`),
		chromedp.Click(`#explain button`),
	)
	page.await(fresh + ` && document.querySelector("#explained table") !== null`)
	page.run(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur(); scrollTo(0, 0)`))
	frame()
	shoot("dashboard-light")
	screen("dashboard-light")
	page.run(theme("dark"))
	frame()
	shoot("dashboard-dark")
	page.run(theme("light"), chromedp.EmulateViewport(390, 844))
	frame()
	shoot("dashboard-phone")

	if err := b.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	page.run(chromedp.EmulateViewport(1280, 900))
	page.await(`document.querySelector("[data-stage=redis]").hasAttribute("data-here") && Number(document.getElementById("age").dataset.value) > 5`)
	shoot("dashboard-stuck")
	screen("dashboard-stuck")
}
