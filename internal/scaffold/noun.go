package scaffold

import (
	"strings"
	"unicode"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// noun is what a table is called in keys.
type noun struct{ one, many string }

// nouns names tables so that no two have the same name for a row. Schema public
// goes first; a name that is taken is put behind the schema's, and where that is
// taken too, the table's stands for itself.
func nouns(tables []cdc.TableName) map[cdc.TableName]noun {
	out := make(map[cdc.TableName]noun, len(tables))
	taken := map[string]bool{"freshet": true} // names under freshet: are not for values
	name := func(which func(cdc.TableName) bool, call func(cdc.TableName) string) {
		wanted := make(map[string]int)
		var left []cdc.TableName
		for _, t := range tables {
			if _, done := out[t]; !done && which(t) {
				wanted[nounOf(call(t)).one]++
				left = append(left, t)
			}
		}
		for _, t := range left {
			if n := nounOf(call(t)); wanted[n.one] == 1 && !taken[n.one] {
				out[t], taken[n.one] = n, true
			}
		}
	}
	all := func(cdc.TableName) bool { return true }
	name(func(t cdc.TableName) bool { return t.Schema == "public" }, func(t cdc.TableName) string { return t.Table })
	name(func(t cdc.TableName) bool { return t.Schema != "public" }, func(t cdc.TableName) string { return t.Table })
	name(all, func(t cdc.TableName) string { return t.Schema + "_" + t.Table })
	for _, t := range tables {
		if _, done := out[t]; !done { // "Order" and "order" side by side
			exact := plain(t.Schema + "_" + t.Table)
			out[t] = noun{exact, exact + "_list"}
		}
	}
	return out
}

func nounOf(name string) noun {
	words := snake(name)
	head, last := "", words
	if i := strings.LastIndexByte(words, '_'); i >= 0 {
		head, last = words[:i+1], words[i+1:]
	}
	one := singular(last)
	many := last
	if one == last {
		many = plural(last)
	}
	return noun{head + one, head + many}
}

// plain keeps letters, digits and _ and replaces the rest, so that a name has
// no meaning in a template or pattern.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return '_'
	}, name)
}

// snake writes a name in lower case with _ between its words.
func snake(name string) string {
	runes := []rune(plain(name))
	var b strings.Builder
	for i, r := range runes {
		upper := unicode.IsUpper(r)
		if upper && i > 0 && runes[i-1] != '_' &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	trimmed := strings.Trim(b.String(), "_")
	if trimmed == "" {
		return "table"
	}
	return trimmed
}

// irregular are plurals that no rule below turns into their singular.
var irregular = map[string]string{
	"people": "person", "children": "child", "men": "man", "women": "woman", "indices": "index", "analyses": "analysis",
	"movies": "movie", "cookies": "cookie", "shoes": "shoe", "news": "news", "series": "series", "species": "species",
}

// singular guesses an English noun's singular.
func singular(word string) string {
	if one, found := irregular[word]; found {
		return one
	}
	ends := func(suffixes ...string) bool {
		for _, s := range suffixes {
			if len(word) > len(s) && strings.HasSuffix(word, s) {
				return true
			}
		}
		return false
	}
	switch {
	case ends("ss", "us", "is") || !ends("s"):
		return word
	case len(word) > 4 && ends("ies"):
		return strings.TrimSuffix(word, "ies") + "y"
	case ends("ouses", "auses"): // houses, clauses
		return strings.TrimSuffix(word, "s")
	case ends("sses", "shes", "ches", "xes", "zzes", "uses", "oes"):
		return strings.TrimSuffix(word, "es")
	}
	return strings.TrimSuffix(word, "s")
}

// plural guesses an English noun's plural.
func plural(word string) string {
	for many, one := range irregular {
		if one == word {
			return many
		}
	}
	last := word[len(word)-1:]
	switch {
	case last == "y" && len(word) > 1 && !strings.ContainsAny(word[len(word)-2:len(word)-1], "aeiou"):
		return strings.TrimSuffix(word, "y") + "ies"
	case last == "s" || last == "x" || last == "z" || strings.HasSuffix(word, "ch") || strings.HasSuffix(word, "sh"):
		return word + "es"
	}
	return word + "s"
}

// relation is what a foreign key's column calls the row that it refers to:
// author for author_id and authorId.
func relation(columns []string) string {
	if len(columns) > 1 {
		return snake(strings.Join(columns, "_"))
	}
	name := snake(columns[0])
	for _, suffix := range []string{"_id", "_uuid", "_key", "_ref", "_fk"} {
		if short := strings.TrimSuffix(name, suffix); short != name && short != "" {
			return short
		}
	}
	return name
}
