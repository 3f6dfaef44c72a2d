package config

import (
	"regexp"
	"strings"
)

// Env looks up an environment variable, as os.LookupEnv does.
type Env func(name string) (string, bool)

var variable = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)

// expansion is a scalar with its variables replaced.
type expansion struct {
	text string
	// index is, for every byte of text, the byte of the scalar that it comes
	// from; nil when they are the same.
	index []int
}

// origin returns where in the scalar a byte of the text comes from.
func (x expansion) origin(offset int) int {
	switch {
	case x.index == nil:
		return offset
	case offset < len(x.index):
		return x.index[offset]
	case len(x.index) > 0:
		return x.index[len(x.index)-1]
	}
	return 0
}

// expand replaces ${VAR} and ${VAR:-default}. A variable that is unset, or
// empty where there is a default, gives the default; $${ gives ${. wrong is
// told of variables that are neither set nor have a default.
func expand(text string, env Env, wrong func(offset, length int, message, remedy string)) expansion {
	if !strings.Contains(text, "${") {
		return expansion{text: text}
	}
	var out []byte
	var index []int
	put := func(s string, at, step int) {
		for i := range len(s) {
			out = append(out, s[i])
			index = append(index, at+i*step)
		}
	}
	for i := 0; i < len(text); {
		rest := text[i:]
		if strings.HasPrefix(rest, "$${") {
			put("${", i+1, 1)
			i += 3
			continue
		}
		if !strings.HasPrefix(rest, "${") {
			put(rest[:1], i, 1)
			i++
			continue
		}
		m := variable.FindStringSubmatch(rest)
		if m == nil {
			wrong(i, 2, "${ does not begin a variable", "write ${NAME} or ${NAME:-default}, or $${ for ${ itself")
			put("${", i, 1)
			i += 2
			continue
		}
		whole, name, hasDefault, fallback := m[0], m[1], m[2] != "", m[3]
		value, set := env(name)
		switch {
		case hasDefault && value == "":
			value = fallback
		case !set:
			wrong(i, len(whole), "environment variable "+name+" is not set", "set it, or write ${"+name+":-default}")
		}
		put(value, i, 0)
		i += len(whole)
	}
	return expansion{text: string(out), index: index}
}
