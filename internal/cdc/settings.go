package cdc

// TextForm returns the session settings that make the text form of a value
// independent of server, database and role, but for the time zone that a
// timestamptz is written in. Encodings read this form, and names of keys are
// made of it: a date in another one would be another key.
func TextForm() map[string]string {
	return map[string]string{
		"DateStyle":          "ISO", // whatever order ambiguous dates are read in
		"IntervalStyle":      "postgres",
		"bytea_output":       "hex",
		"extra_float_digits": "1", // shortest text that reads back as the same number
		"client_encoding":    "UTF8",
		"lc_monetary":        "C",
	}
}
