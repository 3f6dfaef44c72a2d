package presets

import "time"

// How long kinds of data may be kept at most. Changes remove values long before;
// the lifetime bounds what nobody has heard of.
const (
	RealTimeTTL         = time.Minute      // data shown live
	StockLevelTTL       = 2 * time.Minute  // inventory
	ProductionStatusTTL = 5 * time.Minute  // production and order metrics
	DashboardTTL        = 5 * time.Minute  // dashboards
	APIResponseTTL      = 5 * time.Minute  // responses of API routes
	OrderStatusTTL      = 10 * time.Minute // orders, their status, and lists of them
	SessionTTL          = 15 * time.Minute // sessions
	UserProfileTTL      = 30 * time.Minute // users and their permissions
	ClientTTL           = time.Hour        // clients
	ProductTTL          = time.Hour        // products
	SystemConfigTTL     = 2 * time.Hour    // the application's settings
	ReportTTL           = 12 * time.Hour   // finished reports
	StaticTTL           = 24 * time.Hour   // what changes with a release
)
