package starts

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// load is what goes on beside the starts, until its context ends.
const (
	builders  = 2         // template builds at any time
	loadFile  = 128 << 20 // bytes that are written, again and again, beside the data directory
	loadWrite = 1 << 20   // bytes that are written before each fsync
	loadPause = 10 * time.Millisecond
)

// build builds one template after the other until ctx ends, and returns how many.
func build(ctx context.Context, builder int) (built int, err error) {
	for ctx.Err() == nil {
		name := fmt.Sprintf("load-%d-%d", builder, built)
		if err := buildOne(ctx, name); ctx.Err() != nil {
			return built, nil
		} else if err != nil {
			return built, fmt.Errorf("build %s: %w", name, err)
		}
		built++
	}
	return built, nil
}

// buildOne builds a template in which nothing comes from a cache, and deletes it.
func buildOne(ctx context.Context, name string) error {
	var made struct{ TemplateID, BuildID string }
	answer, err := demand(ctx, http.StatusAccepted, "POST", "/v3/templates",
		fmt.Sprintf(`{"name":%q,"cpuCount":1,"memoryMB":512}`, name))
	if err == nil {
		err = json.Unmarshal(answer, &made)
	}
	if err != nil {
		return err
	}
	path := "/templates/" + made.TemplateID + "/builds/" + made.BuildID
	const steps = `[{"type":"RUN","args":["head -c 32M /dev/urandom > /home/user/large && sync"],"force":true},
		{"type":"RUN","args":["gzip -k /home/user/large && sha256sum /home/user/large*"],"force":true}]`
	if _, err := demand(ctx, http.StatusAccepted, "POST", "/v2"+path,
		`{"fromTemplate":"base","steps":`+steps+`}`); err != nil {
		return err
	}
	for {
		answer, err := demand(ctx, http.StatusOK, "GET", path+"/status", "")
		switch {
		case err != nil:
			return err
		case strings.Contains(string(answer), `"status":"error"`):
			return fmt.Errorf("it failed: %s", answer)
		case strings.Contains(string(answer), `"status":"ready"`):
			_, err := demand(ctx, http.StatusNoContent, "DELETE", "/templates/"+made.TemplateID, "")
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// writeDisk keeps the disk of the data directory busy until ctx ends, and returns how many
// bytes it wrote.
func writeDisk(ctx context.Context) (written int64, err error) {
	file, err := os.Create(filepath.Join(server.Dir, "load"))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	data := make([]byte, loadWrite)
	if _, err := rand.Read(data); err != nil {
		return 0, err
	}
	pause := time.NewTicker(loadPause)
	defer pause.Stop()
	for ; ctx.Err() == nil; written += loadWrite {
		if _, err := file.WriteAt(data, written%loadFile); err != nil {
			return written, err
		}
		if err := file.Sync(); err != nil {
			return written, err
		}
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
	return written, nil
}
