package verify

// SetHooks has a test called between the reads of a second look: after the row was
// read, and after the value was.
func (c *Config) SetHooks(row, value func()) { c.hooks = hooks{row: row, value: value} }
