package monitor

import (
	"embed"
	"mime"
	"net/http"
	"path"
)

//go:embed web
var web embed.FS

// policy allows what is embedded, and nothing from anywhere else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset serves one embedded file.
func asset(name string) http.HandlerFunc {
	data, err := web.ReadFile("web/" + name)
	if err != nil {
		panic(err) // embedded, and tested
	}
	kind := mime.TypeByExtension(path.Ext(name))
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "no-cache") // a new version is a new page
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(data) // the client has gone: nobody to tell
	}
}

// assets are the files of the page, besides the page itself.
var assets = []string{"dashboard.js", "format.js", "charts.js", "dashboard.css", "icon.svg", "uPlot.iife.min.js", "uPlot.min.css"}

// dashboard serves the page, which is read-only.
func (s *Server) dashboard(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", asset("index.html"))
	for _, name := range assets {
		mux.HandleFunc("GET /assets/"+name, asset(name))
	}
}
