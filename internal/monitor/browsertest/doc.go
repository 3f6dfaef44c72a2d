// Package browsertest looks at the dashboard with headless Chromium. It is a module
// of its own so that nobody who builds Freshet inherits a browser's client.
package browsertest
