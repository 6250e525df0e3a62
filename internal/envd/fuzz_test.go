package envd

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// FuzzInit holds a body that was accepted to mean the same when it is sent again, as the
// node does after a resume, and its access token to be a text as it was sent.
func FuzzInit(f *testing.F) {
	for _, seed := range []string{"", "{}", "null", `{"accessToken":"t"}`, `{"accessToken":""}`, `{"accessToken":null}`, `{"accessToken":"\u0041"}`,
		`{"accessToken":7}`, `{"timestamp":"2026-01-02T03:04:05Z","envVars":{"A":"b"},"hyperloopIP":"192.0.2.1"}`,
		`{"volumeMounts":[{"nfs_target":"1.2.3.4:/a","path":"/a"}],"identity":{"secret":"s"}}`, `{"ACCESSTOKEN":"t"}`, "[]", "{} {", "{"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		first, err := readInit(bytes.NewReader(body))
		if err != nil {
			return
		}
		token := string(first.AccessToken)
		if token != "" && !bytes.Contains(body, []byte(`"`+token+`"`)) && !strings.ContainsRune(token, '\uFFFD') {
			t.Errorf("%q has the access token %q", body, token)
		}
		if strings.ContainsAny(token, "<>&\u2028\u2029") {
			return // Go writes these as escapes, which are refused
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := readInit(bytes.NewReader(again))
		if err != nil || !same(t, first, second) {
			t.Errorf("%q means %+v, and sent again %+v (%v)", body, first, second, err)
		}
	})
}

// same compares values as JSON says them: an empty list is none.
func same(t *testing.T, a, b any) bool {
	t.Helper()
	var texts [2]any
	for i, v := range []any{a, b} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &texts[i]); err != nil {
			t.Fatal(err)
		}
	}
	return reflect.DeepEqual(texts[0], texts[1])
}
