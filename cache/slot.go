package cache

import (
	"strconv"
	"strings"
	"sync"
)

// slotCount is the number of slots of every Redis Cluster.
const slotCount = 16384

// slotOf returns the Redis Cluster slot of a key.
func slotOf(key string) uint16 {
	if tag, ok := hashTag(key); ok {
		key = tag
	}
	return crc16(key) % slotCount
}

// hashTag returns the part of key that Redis Cluster hashes instead of all of
// it: what is between the first "{" and the next "}", unless that is empty.
func hashTag(key string) (string, bool) {
	open := strings.IndexByte(key, '{')
	if open < 0 {
		return "", false
	}
	length := strings.IndexByte(key[open+1:], '}')
	if length <= 0 {
		return "", false
	}
	return key[open+1 : open+1+length], true
}

// slotTags holds one short hash tag for every slot. It is part of the key
// names: the tag of a slot is the smallest number that hashes to it, written
// in base 36.
var slotTags = sync.OnceValue(func() *[slotCount]string {
	var tags [slotCount]string
	for number, found := int64(0), 0; found < slotCount; number++ {
		tag := strconv.FormatInt(number, 36)
		if slot := crc16(tag) % slotCount; tags[slot] == "" {
			tags[slot] = tag
			found++
		}
	}
	return &tags
})

// slotTag returns the hash tag of a slot.
func slotTag(slot uint16) string { return slotTags()[slot] }

// crc16 is the checksum of Redis Cluster: CRC-16/XMODEM.
func crc16(s string) uint16 {
	table := crc16Table()
	crc := uint16(0)
	for i := range len(s) {
		crc = crc<<8 ^ table[byte(crc>>8)^s[i]]
	}
	return crc
}

var crc16Table = sync.OnceValue(func() *[256]uint16 {
	const polynomial = 0x1021
	var table [256]uint16
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ polynomial
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return &table
})
