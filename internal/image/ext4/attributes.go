package ext4

import (
	"encoding/binary"
	"strings"
)

const attributeMagic = 0xea020000

// attributeNames are the beginnings of attributes' names, by which they are kept shorter. "" is none.
var attributeNames = []string{1: "user.", 2: accessList, 3: defaultList, 4: "trusted.", 6: "security.", 7: "system."}

// The names of access control lists, which are kept in a form of their own.
const (
	accessList  = "system.posix_acl_access"
	defaultList = "system.posix_acl_default"
)

// attributes reads the extended attributes of a file, from the inode and from a block.
func (fs *FS) attributes(n *inode) (map[string]string, error) {
	list := map[string]string{}
	if begin := oldInodeSize + n.extra(); begin > oldInodeSize && begin+4 <= len(n.raw) &&
		binary.LittleEndian.Uint32(n.raw[begin:]) == attributeMagic {
		area := n.raw[begin+4:]
		if err := parseAttributes(list, area, area, n); err != nil {
			return nil, err
		}
	}
	at := n.attributeBlock()
	if at == 0 {
		return list, nil
	}
	p := make([]byte, blockSize)
	if err := fs.block(p, at); err != nil { // files may have it in common
		return nil, err
	}
	const head = 32
	if binary.LittleEndian.Uint32(p) != attributeMagic || binary.LittleEndian.Uint32(p[8:]) != 1 {
		return nil, damaged(n.String(), "a damaged block of attributes")
	}
	return list, parseAttributes(list, p[head:], p, n)
}

// parseAttributes reads entries, whose values are at offsets in an area.
func parseAttributes(list map[string]string, entries, area []byte, n *inode) error {
	const head = 16
	le := binary.LittleEndian
	for len(entries) >= 4 && le.Uint32(entries) != 0 {
		if len(entries) < head || head+int(entries[0]) > len(entries) {
			return damaged(n.String(), "a damaged attribute")
		}
		length, index := int(entries[0]), int(entries[1])
		offset, elsewhere, size := int(le.Uint16(entries[2:])), le.Uint32(entries[4:]), le.Uint32(entries[8:])
		name := string(entries[head : head+length])
		if index >= len(attributeNames) || attributeNames[index] == "" || elsewhere != 0 {
			return damaged(n.String(), "attributes of a kind that is not supported")
		}
		if size > blockSize || size > 0 && offset+int(size) > len(area) {
			return damaged(n.String(), "a damaged attribute")
		}
		name = attributeNames[index] + name
		value := ""
		if size > 0 {
			value = string(area[offset : offset+int(size)])
		}
		if name == accessList || name == defaultList {
			var err error
			if value, err = accessControl(value, n); err != nil {
				return err
			}
		}
		list[name] = value
		entries = entries[min((head+length+3)&^3, len(entries)):]
	}
	return nil
}

// accessControl changes an access control list from the disk's form to that which programs see: there all
// entries have an ID.
func accessControl(kept string, n *inode) (string, error) {
	const keptVersion, version = 1, 2
	const user, group = 0x02, 0x08 // with an ID on the disk
	le := binary.LittleEndian
	if len(kept) < 4 || le.Uint32([]byte(kept)) != keptVersion {
		return "", damaged(n.String(), "a damaged access control list")
	}
	var out strings.Builder
	out.Write(le.AppendUint32(nil, version))
	for rest := []byte(kept[4:]); len(rest) > 0; {
		if len(rest) < 4 {
			return "", damaged(n.String(), "a damaged access control list")
		}
		tag := le.Uint16(rest)
		out.Write(rest[:4])
		rest = rest[4:]
		id := ^uint32(0)
		if tag == user || tag == group {
			if len(rest) < 4 {
				return "", damaged(n.String(), "a damaged access control list")
			}
			id, rest = le.Uint32(rest), rest[4:]
		}
		out.Write(le.AppendUint32(nil, id))
	}
	return out.String(), nil
}
