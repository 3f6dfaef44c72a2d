package consumer

// WithoutGate switches the visibility gate off.
func WithoutGate(cfg Config) Config {
	cfg.hooks.gateOff = true
	return cfg
}
