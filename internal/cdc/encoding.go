package cdc

// Encoding says how a value in Postgres' text form is written as JSON.
type Encoding uint8

// The encodings. A value that does not fit its encoding's form, such as a
// float's NaN or a timestamp's infinity, is written as a string of its text.
const (
	AsText        Encoding = iota // a string
	AsInteger                     // a number, of any size
	AsFloat                       // a number if finite
	AsBool                        // t and f as true and false
	AsJSON                        // embedded; a document that is a bare null or string as a string of its text
	AsTimestamp                   // without time zone: RFC 3339, taken for UTC
	AsTimestampTZ                 // RFC 3339 in UTC; the session's time zone must be UTC
)

// AppendValue appends the text form of a value as JSON. It reports false if
// the text has no JSON form: it is not valid UTF-8, holds a NUL, or is not the
// JSON that it should be. What stands behind dst's length is then undefined.
func (e Encoding) AppendValue(dst, text []byte) ([]byte, bool) {
	switch e {
	case AsInteger:
		if isInteger(text) {
			return append(dst, text...), true
		}
	case AsFloat:
		if isNumber(text) {
			return append(dst, text...), true
		}
	case AsBool:
		if len(text) == 1 {
			switch text[0] {
			case 't':
				return append(dst, "true"...), true
			case 'f':
				return append(dst, "false"...), true
			}
		}
	case AsJSON:
		if !validJSON(text) {
			return dst, false
		}
		if !plainDocument(text) {
			return append(dst, text...), true
		}
	case AsTimestamp:
		if n := instant(text); n > 0 && n == len(text) {
			return appendInstant(dst, text), true
		}
	case AsTimestampTZ:
		if n := instant(text); n > 0 && string(text[n:]) == "+00" {
			return appendInstant(dst, text[:n]), true
		}
	case AsText:
	}
	return appendText(dst, text)
}

// plainDocument reports whether a valid JSON document is a bare null or
// string. Embedded, it could not be told from SQL's NULL, which names no key, or
// from the string without its quotes, which names another one.
func plainDocument(text []byte) bool {
	for _, c := range text {
		switch c {
		case ' ', '\t', '\n', '\r':
		case '"', 'n':
			return true
		default:
			return false
		}
	}
	return false
}

// instant returns the length of a leading ISO date and time with a year of
// four digits, such as 2026-11-23 10:00:00.123456, and 0 if there is none.
func instant(text []byte) int {
	const form = "0000-00-00 00:00:00"
	if len(text) < len(form) {
		return 0
	}
	for i := range len(form) {
		if form[i] == '0' {
			if !isDigit(text[i]) {
				return 0
			}
		} else if text[i] != form[i] {
			return 0
		}
	}
	n := len(form)
	if n == len(text) || text[n] != '.' {
		return n
	}
	for n++; n < len(text) && isDigit(text[n]); n++ {
	}
	if text[n-1] == '.' {
		return 0
	}
	return n
}

func appendInstant(dst, text []byte) []byte {
	dst = append(dst, '"')
	dst = append(dst, text[:10]...)
	dst = append(dst, 'T')
	dst = append(dst, text[11:]...)
	return append(dst, 'Z', '"')
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// isInteger reports whether text is a JSON number without fraction and
// exponent.
func isInteger(text []byte) bool {
	if len(text) > 0 && text[0] == '-' {
		text = text[1:]
	}
	if len(text) == 0 || text[0] == '0' && len(text) > 1 {
		return false
	}
	for _, c := range text {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

// isNumber reports whether text is a JSON number.
func isNumber(text []byte) bool {
	return len(text) > 0 && numberEnd(text, 0) == len(text)
}
