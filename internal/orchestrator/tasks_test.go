package orchestrator

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestOutlast: work goes on after its caller has left, and stop waits for it.
func TestOutlast(t *testing.T) {
	tasks := newTasks()
	ctx, leave := context.WithCancel(t.Context())
	begun, goOn, ended := make(chan bool), make(chan bool), false
	go func() {
		<-begun
		leave()
	}()
	_, err := outlast(ctx, tasks, func(ctx context.Context) (int, error) {
		close(begun)
		<-goOn
		ended = ctx.Err() == nil
		return 1, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that left is told %v", err)
	}
	close(goOn)
	if tasks.stop(); !ended {
		t.Error("it was cut off, or nobody waited for it")
	}
}

func TestOutlastAnswers(t *testing.T) {
	tasks, failure := newTasks(), errors.New("failure")
	got, err := outlast(t.Context(), tasks, func(context.Context) (int, error) { return 1, failure })
	if got != 1 || !errors.Is(err, failure) {
		t.Errorf("%d %v", got, err)
	}
	_, err = outlast(t.Context(), tasks, func(context.Context) (int, error) { panic("nothing") })
	if err == nil || !strings.Contains(err.Error(), "panic: nothing") || !strings.Contains(err.Error(), "tasks_test.go") {
		t.Errorf("a panic is %v", err)
	}
}
