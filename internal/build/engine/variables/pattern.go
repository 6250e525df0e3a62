package variables

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxPattern bounds a pattern, in bytes.
	maxPattern = 1 << 10
	// maxMatching bounds what the patterns of one text may be compared with, in bytes times
	// elements of the pattern: about a second of a processor.
	maxMatching = 64 << 20
)

// addMatched adds a value without what a pattern matches at its beginning (#, ##) or its end
// (%, %%), or with something else in its place (/, //). A doubled operator means the longest
// match, or all of them.
func (e *expansion) addMatched(value string, v variable) {
	word, replacement := v.word, ""
	if v.operator[0] == '/' {
		word, replacement = cutPattern(v.word)
		replacement = e.sub(replacement)
	}
	text := e.sub(word)
	if e.failure == nil {
		e.failure = e.matchable(text, value)
	}
	if e.failure != nil || text == "" {
		e.write(value)
		return
	}
	elements := readPattern(text)
	switch v.operator {
	case "#", "##":
		e.write(value[prefix(elements, value, v.operator == "##"):])
	case "%", "%%":
		slices.Reverse(elements)
		n := prefix(elements, reversed(value), v.operator == "%%")
		e.write(value[:len(value)-n])
	default:
		e.replace(value, elements, replacement, v.operator == "//")
	}
}

func (e *expansion) matchable(pattern, value string) error {
	if len(pattern) > maxPattern {
		return fmt.Errorf("a pattern in a variable's use is longer than %d bytes", maxPattern)
	}
	if e.matched += len(pattern) * len(value); e.matched > maxMatching {
		return errTooMuch
	}
	return nil
}

// replace adds a value with a replacement in place of the first or of all matches.
func (e *expansion) replace(value string, elements []string, replacement string, all bool) {
	matcher := compile("", elements)
	matcher.Longest()
	n := 1
	if all {
		n = -1
	}
	at := 0
	for _, m := range matcher.FindAllStringIndex(value, n) {
		e.write(value[at:m[0]])
		e.write(replacement)
		at = m[1]
	}
	e.write(value[at:])
}

// prefix returns the length of the shortest or the longest match at a text's beginning, 0 for
// none.
func prefix(elements []string, text string, longest bool) int {
	if !longest {
		// The first place where each piece fits leads to the shortest match.
		elements = slices.Clone(elements)
		for i, element := range elements {
			if element == anything {
				elements[i] += "?"
			}
		}
	}
	matcher := compile("^", elements)
	if longest {
		matcher.Longest()
	}
	m := matcher.FindStringIndex(text)
	if m == nil {
		return 0
	}
	return m[1]
}

// anything is the element of a * as a regular expression.
const anything = ".*"

// readPattern returns the elements of a shell's pattern as regular expressions. Of those, Go's
// need time in proportion to the text.
func readPattern(pattern string) []string {
	var elements []string
	for pattern != "" {
		c, n := utf8.DecodeRuneInString(pattern)
		element := literal(pattern[:n])
		switch {
		case c == '*':
			element = anything
		case c == '?':
			element = "."
		case c == '\\' && len(pattern) > n:
			_, escaped := utf8.DecodeRuneInString(pattern[n:])
			element = literal(pattern[n : n+escaped])
			n += escaped
		case c == '[':
			if set, length := readSet(pattern); length > 0 {
				element, n = set, length
			}
		}
		elements = append(elements, element)
		pattern = pattern[n:]
	}
	return elements
}

// literal matches a character. One that is not UTF-8 matches any that are not.
func literal(char string) string {
	if !utf8.ValidString(char) {
		return string(utf8.RuneError)
	}
	return regexp.QuoteMeta(char)
}

// readSet reads a set such as [a-z] or [!0-9] at a pattern's beginning. A length of 0 means
// that there is none.
func readSet(pattern string) (set string, length int) {
	inside, not := pattern[1:], ""
	if strings.HasPrefix(inside, "!") || strings.HasPrefix(inside, "^") {
		inside, not = inside[1:], "^"
	}
	if inside == "" {
		return "", 0
	}
	end := strings.IndexByte(inside[1:], ']') + 1 // a ] that comes first is a member
	if end == 0 {
		return "", 0
	}
	members := strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, "^", `\^`).Replace(inside[:end])
	set = "[" + not + members + "]"
	if _, err := regexp.Compile(set); err != nil { // as [z-a]
		return "", 0
	}
	return set, len(pattern) - len(inside) + end + 1
}

// compile makes one expression of elements, each of which is valid by itself.
func compile(anchor string, elements []string) *regexp.Regexp {
	return regexp.MustCompile("(?s)" + anchor + strings.Join(elements, ""))
}

// cutPattern splits what follows ${NAME/ at the slash that ends the pattern.
func cutPattern(word string) (pattern, replacement string) {
	for i := 0; i < len(word); i++ {
		switch {
		case word[i] == '\\':
			i++
		case strings.HasPrefix(word[i:], "${"):
			if end := closing(word[i+2:]); end >= 0 {
				i += end + 2
			}
		case word[i] == '/':
			return word[:i], word[i+1:]
		}
	}
	return word, ""
}

// reversed returns a text from its end to its beginning.
func reversed(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for text != "" {
		_, n := utf8.DecodeLastRuneInString(text)
		b.WriteString(text[len(text)-n:])
		text = text[:len(text)-n]
	}
	return b.String()
}
