package cache

import (
	"strconv"
	"strings"
)

// The scripts as the model of Redis runs them: what their .lua files say, in Go.

func modelMiss(k *keyspace, keys, argv []string) any {
	if value, ok := k.get(keys[0]); ok {
		if argv[2] == "" || !strings.HasPrefix(value, argv[2]) {
			return []any{int64(0), value}
		}
		if argv[3] != "1" {
			k.del(keys[0])
		}
	}
	lease, ok := k.get(keys[1])
	switch {
	case !ok, lease == argv[4]:
		k.set(keys[1], argv[0], int64(number(argv[1])))
		return []any{int64(2)}
	case lease == "absent":
		return []any{int64(1)}
	default:
		return []any{int64(3)}
	}
}

func modelFill(k *keyspace, keys, argv []string) any {
	if lease, ok := k.get(keys[1]); !ok || lease != argv[0] {
		return int64(0)
	}
	k.set(keys[0], argv[1], int64(number(argv[2])))
	k.del(keys[1])
	return int64(1)
}

func modelAbsent(k *keyspace, keys, argv []string) any {
	if lease, ok := k.get(keys[1]); !ok || lease != argv[0] {
		return int64(0)
	}
	k.del(keys[0])
	if argv[1] == "0" {
		k.del(keys[1])
	} else {
		k.set(keys[1], "absent", int64(number(argv[1])))
	}
	return int64(1)
}

func modelRelease(k *keyspace, keys, argv []string) any {
	lease, ok := k.get(keys[0])
	switch {
	case !ok || lease != argv[0]:
		return int64(0)
	case argv[1] == "0":
		return k.del(keys[0])
	default:
		k.set(keys[0], lease, int64(number(argv[1])))
		return int64(1)
	}
}

func modelSet(k *keyspace, keys, argv []string) any {
	k.del(keys[1])
	k.set(keys[0], argv[0], int64(number(argv[1])))
	return int64(1)
}

func modelCapture(k *keyspace, keys, argv []string) any {
	i, ok := k.find(keys[0])
	least := int64(number(argv[1]))
	longer := least * 5 / 4
	if !ok {
		k.set(keys[0], argv[0], longer)
		return argv[0]
	}
	if left := (*k)[i].px; left > 0 && left < least {
		(*k)[i].px = longer
	}
	return (*k)[i].value
}

func modelIncrement(k *keyspace, keys, argv []string) any {
	k.del(keys[1])
	sum, px := int64(number(argv[0])), int64(number(argv[1]))
	if i, ok := k.find(keys[0]); ok {
		sum, px = sum+int64(number((*k)[i].value)), (*k)[i].px
	}
	k.set(keys[0], strconv.FormatInt(sum, 10), px)
	return sum
}

func modelRaise(k *keyspace, keys, argv []string) any {
	text, _ := k.get(keys[0])
	if epoch, lsn, _ := strings.Cut(text, " "); epoch != argv[0] || lsn < argv[1] {
		k.set(keys[0], argv[0]+" "+argv[1], 0)
	}
	return int64(1)
}

func modelAdvance(k *keyspace, keys, argv []string) any {
	counter, ok := k.get(keys[0])
	switch {
	case ok && counter == argv[1]:
		return []any{int64(1)}
	case ok && counter == argv[0]:
		k.set(keys[0], argv[1], 0)
		return []any{int64(1)}
	}
	position, _ := k.get(keys[1])
	return []any{-bit(ok), counter, position}
}

func modelMove(k *keyspace, keys, argv []string) any {
	position, has := k.get(keys[0])
	counter, counted := k.get(keys[1])
	switch {
	case counted && counter != argv[0] && counter != argv[1]:
		return []any{int64(-1), counter, position}
	case !has || !counted:
		return []any{int64(0), counter, position}
	}
	for _, old := range argv[2:] { // the first of these is the new one
		if position == old {
			k.set(keys[0], argv[2], 0)
			return []any{int64(1)}
		}
	}
	return []any{int64(-1), counter, position}
}

func modelRestore(k *keyspace, keys, argv []string) any {
	for i, key := range keys {
		if !k.has(key) {
			k.set(key, argv[i], 0)
		}
	}
	return int64(1)
}
