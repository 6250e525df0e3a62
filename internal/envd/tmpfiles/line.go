package tmpfiles

import (
	"encoding/base64"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
)

// owner is a user or group field.
type owner struct {
	name     string // or a number; "" if the line names none
	creation bool   // for what the line creates only
}

// line is one line of a tmpfiles.d file.
type line struct {
	kind     byte // d, f, L and so on
	plus     bool // f+, L+: put it in the place of what is there
	boot     bool // !: only when the system boots
	ifThere  bool // L?: only if the target exists
	path     string
	mode     os.FileMode // permissions with set-ID and sticky bits
	hasMode  bool
	masked   bool // ~: existing bits limit the mode
	modeOnce bool // as owner.creation
	user     owner
	group    owner
	argument string
}

// parseLine parses a line that is neither empty nor a comment. It returns nil for a line whose
// kind has no meaning here: access lists, attributes, device nodes, ages of temporary files.
func (s *System) parseLine(text string) (*line, error) {
	fields, rest, err := splitFields(text, 6)
	if err != nil {
		return nil, err
	}
	if len(fields) < 2 {
		return nil, fmt.Errorf("%q has no path", text)
	}
	l := &line{kind: fields[0][0]}
	if !strings.ContainsRune("fdDevqQpLCzZrR", rune(l.kind)) {
		return nil, nil
	}
	encoded := false
	for _, modifier := range fields[0][1:] {
		switch modifier {
		case '+':
			l.plus = true
		case '!':
			l.boot = true
		case '?':
			l.ifThere = true
		case '~':
			encoded = true
		case '-', '=', '$': // errors are never fatal here, and nothing is purged
		default: // ^ takes a service's credential, of which guests have none
			return nil, nil
		}
	}
	if l.path, err = s.expand(fields[1]); err != nil {
		return nil, err
	}
	if !path.IsAbs(l.path) {
		return nil, fmt.Errorf("the path %q is not absolute", l.path)
	}
	l.path = path.Clean(l.path)
	fields = append(fields, "-", "-", "-")
	if err := l.setMode(fields[2]); err != nil {
		return nil, err
	}
	l.user, l.group = parseOwner(fields[3]), parseOwner(fields[4])
	return l, l.setArgument(s, rest, encoded)
}

func (l *line) setMode(field string) error {
	digits := strings.TrimLeft(field, "~:")
	if digits == "" || digits == "-" {
		return nil
	}
	bits, err := strconv.ParseUint(digits, 8, 12)
	if err != nil {
		return fmt.Errorf("the mode %q: %w", field, err)
	}
	prefix := field[:len(field)-len(digits)]
	l.mode, l.hasMode = fileMode(uint32(bits)), true
	l.masked, l.modeOnce = strings.Contains(prefix, "~"), strings.Contains(prefix, ":")
	return nil
}

// fileMode converts the bits of chmod(2).
func fileMode(bits uint32) os.FileMode {
	mode := os.FileMode(bits & 0o777)
	for bit, name := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid,
		0o1000: os.ModeSticky} {
		if bits&bit != 0 {
			mode |= name
		}
	}
	return mode
}

func parseOwner(field string) owner {
	name := strings.TrimPrefix(field, ":")
	if name == "-" {
		name = ""
	}
	return owner{name: name, creation: name != field}
}

func (l *line) setArgument(s *System, text string, encoded bool) (err error) {
	if text == "-" {
		text = ""
	}
	if encoded {
		data, err := base64.StdEncoding.DecodeString(text)
		l.argument = string(data)
		return err
	}
	if l.argument, err = s.expand(text); err != nil {
		return err
	}
	l.argument = unescape(l.argument)
	if l.argument == "" && (l.kind == 'L' || l.kind == 'C') {
		l.argument = path.Join("/usr/share/factory", l.path)
	}
	return nil
}

// splitFields takes up to n fields off a text, which may be in quotes; rest is what follows.
func splitFields(text string, n int) (fields []string, rest string, err error) {
	rest = strings.TrimSpace(text)
	for len(fields) < n && rest != "" {
		field := ""
		if quote := rest[0]; quote == '"' || quote == '\'' {
			end := strings.IndexByte(rest[1:], quote)
			if end < 0 {
				return nil, "", fmt.Errorf("%q has a quote that is not closed", text)
			}
			field, rest = rest[1:end+1], rest[end+2:]
		} else if end := strings.IndexAny(rest, " \t"); end < 0 {
			field, rest = rest, ""
		} else {
			field, rest = rest[:end], rest[end:]
		}
		if field == "" {
			field = "-"
		}
		fields = append(fields, unescape(field))
		rest = strings.TrimSpace(rest)
	}
	return fields, rest, nil
}

// unescape resolves the escapes of C strings; a text with a wrong one stays as it is.
func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var out strings.Builder
	for text != "" {
		char, wide, tail, err := strconv.UnquoteChar(text, 0)
		if err != nil {
			return out.String() + text
		}
		if wide {
			out.WriteRune(char)
		} else {
			out.WriteByte(byte(char))
		}
		text = tail
	}
	return out.String()
}

// specifiers are those whose meaning does not depend on the machine.
var specifiers = map[byte]string{'%': "%", 't': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log",
	'T': "/tmp", 'V': "/var/tmp", 'h': "/root", 'u': "root", 'U': "0", 'g': "root", 'G': "0"}

// expand replaces specifiers. One that is not known is an error, so its line is left out.
func (s *System) expand(text string) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "%")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		if after == "" {
			return "", fmt.Errorf("%q ends with %%", text)
		}
		value, known := specifiers[after[0]]
		if after[0] == 'm' {
			value, known = s.machineID()
		}
		if !known {
			return "", fmt.Errorf("%%%c has no value here", after[0])
		}
		out.WriteString(value)
		text = after[1:]
	}
}

func (s *System) machineID() (string, bool) {
	data, err := os.ReadFile(s.at("/etc/machine-id"))
	id := strings.TrimSpace(string(data))
	return id, err == nil && len(id) == 32
}
