package image

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestTranscriptGrows(t *testing.T) {
	var shown []int
	tr := newTranscript(func(p Progress) {
		if p.Total != 100 || p.Stage != "packages" {
			t.Errorf("%+v", p)
		}
		shown = append(shown, p.Done)
	})
	for _, line := range []string{
		"I: chroot architecture amd64 is equal to the host's architecture",
		"I: running apt-get update...",
		"I: downloading packages with apt...",
		"0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
		"I: extracting archives...",
		"I: running --extract-hook in shell",
		"I: installing essential packages...",
		"Unpacking a ...", "Unpacking b ...", "Setting up a ...", "Setting up b ...",
		"I: installing remaining packages inside the chroot...",
		"0 upgraded, 4 newly installed, 0 to remove and 0 not upgraded.",
		"Unpacking c ...", "", "(Reading database ...", "Setting up c ...",
		"I: running --customize-hook in shell",
		"I: cleaning package lists and apt cache...",
		"I: success in 42.0 seconds",
	} {
		tr.line(line)
	}
	for i := 1; i < len(shown); i++ {
		if shown[i] < shown[i-1] {
			t.Errorf("progress falls: %v", shown)
		}
	}
	if len(shown) != 16 || shown[0] != 0 || shown[7] <= shown[6] || shown[len(shown)-1] != 100 {
		t.Errorf("progress is %v", shown)
	}
}

func TestFailedBootstrapSaysWhy(t *testing.T) {
	cmd := exec.Command("sh", "-c", `seq 1 100; echo "E: the mirror is gone" >&2; exit 7`)
	err := runBootstrap(t.Context(), cmd, func(Progress) {})
	if err == nil || !strings.Contains(err.Error(), "E: the mirror is gone") ||
		!strings.Contains(err.Error(), "exit status 7") || strings.Contains(err.Error(), "\n50\n") {
		t.Errorf("got %v", err)
	}
}

func TestCancelledBootstrap(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", `echo "I: running"; exec sleep 600`)
	err := runBootstrap(ctx, cmd, func(Progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
