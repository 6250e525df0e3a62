package clickhouse

import (
	"fmt"
	"strconv"
	"strings"
)

// Params are the values of a statement's parameters, which it names as {name:Type}: string,
// int, int64 or []string. What others have chosen comes into a statement in no other way.
type Params map[string]any

// field escapes a text as the server reads a parameter: as a field of tab-separated values, in which
// an array has its texts in quotes.
var field = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, `'`, `\'`)

func textOf(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return field.Replace(v), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case []string:
		quoted := make([]string, len(v))
		for i, text := range v {
			quoted[i] = "'" + field.Replace(text) + "'"
		}
		return "[" + strings.Join(quoted, ",") + "]", nil
	}
	return "", fmt.Errorf("%T is no type of a parameter", value)
}
