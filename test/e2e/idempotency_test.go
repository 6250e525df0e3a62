package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestIdempotencyKeySurvives kills `shoal up` by SIGKILL at some moment of a create, and then
// repeats the create: whatever was there, it has one sandbox, which every further repeat
// leads to.
func TestIdempotencyKeySurvives(t *testing.T) {
	const rounds, moments = 6, 150 * time.Millisecond
	for round := range rounds {
		key := fmt.Sprintf("survives-%d-%d", round, time.Now().UnixNano())
		create := func(ctx context.Context) (status int, answer created, err error) {
			body := fmt.Sprintf(`{"templateID":"base","timeout":120,"metadata":{"key":%q}}`, key)
			status, data, err := server.CallWith(ctx, map[string]string{"Idempotency-Key": key}, "POST", "/v2/sandboxes", body)
			if err == nil {
				err = json.Unmarshal(data, &answer)
			}
			return status, answer, err
		}
		cut := make(chan created)
		go func() {
			_, answer, err := create(t.Context())
			t.Logf("round %d: before the end: %q %v", round, answer.SandboxID, err)
			cut <- answer
		}()
		time.Sleep(rand.N(moments)) // the moment is what differs between the rounds
		_ = up.Stop(syscall.SIGKILL, 30*time.Second)
		before := <-cut
		if err := startServer(); err != nil {
			t.Fatal(err)
		}
		var first created
		for n := range 2 {
			status, answer, err := create(t.Context())
			if err != nil || status != 201 {
				t.Fatalf("round %d: %d %v", round, status, err)
			}
			if n == 0 {
				first = answer
			} else if answer != first {
				t.Errorf("round %d: a repeat has %+v, the first answer was %+v", round, answer, first)
			}
		}
		if before.SandboxID != "" && before != first {
			t.Errorf("round %d: %+v was made, and then %+v", round, before, first)
		}
		if err := first.healthy(10 * time.Second); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		_, list := server.call(t, "GET", "/v2/sandboxes?metadata=key%3D"+key, "")
		if n := strings.Count(list, `"sandboxID"`); n != 1 || !strings.Contains(list, first.SandboxID) {
			t.Errorf("round %d: %d sandboxes, want %s alone: %s", round, n, first.SandboxID, list)
		}
		server.demand(t, 204, "DELETE", "/sandboxes/"+first.SandboxID, "")
	}
}
