package series

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"shoal/internal/shoal"
)

var quiet = slog.New(slog.DiscardHandler)

func openAt(t testing.TB, path string) (*Series, *Disk) {
	t.Helper()
	disk, err := OpenDisk(context.Background(), path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s := New(disk, quiet)
	t.Cleanup(func() { _ = s.Close() }) // some tests have closed it
	return s, disk
}

func source(id string) Source { return Source{SandboxID: id, TeamID: "team"} }

// sample is what a sandbox used at a time.
func sample(at time.Time, percent float64) shoal.Sample {
	return shoal.Sample{
		Metrics: shoal.Metrics{Time: at.UTC().Truncate(time.Millisecond), CPUCount: 2, CPUUsedPct: percent,
			MemUsed: 100 << 20, MemTotal: 1 << 30, MemCache: 1 << 20, DiskUsed: 5, DiskTotal: 10 << 30},
		Host: shoal.HostUse{CPUUsedPct: 2 * percent, MemBytes: 200 << 20, HeldBytes: 150 << 20, DiskBytes: 4096},
	}
}

func query(t *testing.T, s *Series, id string, q shoal.MetricsQuery) []shoal.Sample {
	t.Helper()
	if q.TeamID == "" {
		q.TeamID = "team"
	}
	list, err := s.Query(t.Context(), id, q)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func write(t *testing.T, s *Series) {
	t.Helper()
	if err := s.write(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestSamplesStay: what was added is found before and after it is written, in between, by the
// next process, and by its own team alone.
func TestSamplesStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.db")
	s, _ := openAt(t, path)
	start := time.Now().Add(-time.Minute).Truncate(shoal.SamplePeriod)
	var want []shoal.Sample
	for i := range 10 {
		want = append(want, sample(start.Add(time.Duration(i)*shoal.SamplePeriod), float64(i)+0.0004))
		s.Add(source("a"), want[i])
		if i == 3 || i == 6 {
			write(t, s)
		}
		if got := query(t, s, "a", shoal.MetricsQuery{}); !reflect.DeepEqual(got, want) {
			t.Fatalf("after %d:\n got %v\nwant %v", i+1, got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = openAt(t, path)
	if got := query(t, s, "a", shoal.MetricsQuery{}); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart:\n got %v\nwant %v", got, want)
	}
	some := query(t, s, "a", shoal.MetricsQuery{From: want[2].Time, To: want[4].Time})
	if !reflect.DeepEqual(some, want[2:5]) {
		t.Errorf("of a part: %v", some)
	}
	if got := query(t, s, "a", shoal.MetricsQuery{To: want[4].Time}); !reflect.DeepEqual(got, want[:5]) {
		t.Errorf("up to a time: %v", got)
	}
	if got := query(t, s, "a", shoal.MetricsQuery{From: time.Unix(1, 0), To: time.Unix(2, 0)}); len(got) != 0 {
		t.Errorf("of long ago: %v", got)
	}
	for _, q := range []shoal.MetricsQuery{{TeamID: "another"}, {TeamID: "another", From: time.Unix(1, 0)}} {
		if got := query(t, s, "a", q); len(got) != 0 {
			t.Errorf("another team reads %v", got)
		}
	}
	if got := query(t, s, "a", shoal.MetricsQuery{TeamID: "another", Operator: true}); len(got) != 10 {
		t.Errorf("an operator reads %v", got)
	}
	if got := query(t, s, "unknown", shoal.MetricsQuery{}); len(got) != 0 {
		t.Errorf("of an unknown sandbox: %v", got)
	}
}

// TestLatest: the last sample of each of the team's sandboxes, written or not.
func TestLatest(t *testing.T) {
	s, _ := openAt(t, filepath.Join(t.TempDir(), "metrics.db"))
	now := time.Now()
	s.Add(source("written"), sample(now.Add(-time.Hour), 1))
	s.Add(source("written"), sample(now.Add(-time.Hour+time.Second), 2))
	write(t, s)
	s.Add(source("waits"), sample(now, 3))
	s.Add(Source{SandboxID: "foreign", TeamID: "another"}, sample(now, 4))
	got, err := s.Latest(t.Context(), "team", []string{"written", "waits", "foreign", "unknown"})
	if err != nil || len(got) != 2 || got["written"].CPUUsedPct != 2 || got["waits"].CPUUsedPct != 3 {
		t.Errorf("%v %v", got, err)
	}
	write(t, s)
	if got, err := s.Latest(t.Context(), "team", []string{"foreign"}); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
}

// TestSteps: the value of a step is the maximum in it, whatever the range (api.md §3.13).
func TestSteps(t *testing.T) {
	s, _ := openAt(t, filepath.Join(t.TempDir(), "metrics.db"))
	now := time.Now().UTC().Truncate(time.Hour)
	begin := now.Add(-shoal.MetricRetention + time.Hour)
	for at := begin; at.Before(now); at = at.Add(time.Minute) {
		percent := 1.0
		if at.Minute() == 7 {
			percent = 50
		}
		s.Add(source("long"), sample(at, percent))
		if at.Minute() == 59 {
			write(t, s)
		}
	}
	for span, want := range map[time.Duration]struct {
		step time.Duration
		rows int
	}{
		59 * time.Minute:   {5 * time.Second, 59},
		time.Hour:          {30 * time.Second, 60},
		6 * time.Hour:      {time.Minute, 360},
		12 * time.Hour:     {2 * time.Minute, 360},
		24 * time.Hour:     {5 * time.Minute, 288},
		7 * 24 * time.Hour: {15 * time.Minute, (7*24 - 1) * 4},
	} {
		if got := shoal.MetricStep(span); got != want.step {
			t.Errorf("the step of %s is %s, want %s", span, got, want.step)
		}
		list := query(t, s, "long", shoal.MetricsQuery{From: now.Add(-span), To: now})
		greatest := 0.0
		for i, m := range list {
			greatest = max(greatest, m.CPUUsedPct)
			if i > 0 && !m.Time.After(list[i-1].Time) {
				t.Errorf("%s: not in order at %d", span, i)
			}
		}
		if len(list) != want.rows || greatest != 50 {
			t.Errorf("%s: %d rows with a maximum of %g, want %d", span, len(list), greatest, want.rows)
		}
	}
	if list := query(t, s, "long", shoal.MetricsQuery{}); len(list) == 0 || !list[0].Time.Equal(begin) ||
		!list[len(list)-1].Time.Before(now) {
		t.Errorf("all of it: %d rows", len(list))
	}
}

// TestSilentGuests are the operator's to see.
func TestSilentGuests(t *testing.T) {
	s, _ := openAt(t, filepath.Join(t.TempDir(), "metrics.db"))
	now := time.Now()
	silent := sample(now, 0)
	silent.Metrics = shoal.Metrics{Time: silent.Time}
	s.Add(source("a"), sample(now.Add(-shoal.SamplePeriod), 1))
	s.Add(source("a"), silent)
	for range 2 {
		if got := query(t, s, "a", shoal.MetricsQuery{}); len(got) != 1 || got[0].CPUUsedPct != 1 {
			t.Errorf("the tenant reads %v", got)
		}
		if got := query(t, s, "a", shoal.MetricsQuery{Operator: true}); len(got) != 2 || !got[1].Silent() ||
			got[1].Host != silent.Host {
			t.Errorf("the operator reads %v", got)
		}
		if got, err := s.Latest(t.Context(), "team", []string{"a"}); err != nil || got["a"].CPUUsedPct != 1 {
			t.Errorf("the latest is %v %v", got, err)
		}
		write(t, s)
	}
}

// TestRetention: samples go after a week, and what is counted of them too.
func TestRetention(t *testing.T) {
	s, disk := openAt(t, filepath.Join(t.TempDir(), "metrics.db"))
	now := time.Now()
	s.Add(source("old"), sample(now.Add(-shoal.MetricRetention-time.Minute), 1))
	s.Add(source("both"), sample(now.Add(-shoal.MetricRetention-time.Minute), 1))
	write(t, s)
	s.Add(source("both"), sample(now, 2))
	write(t, s)
	if got := query(t, s, "old", shoal.MetricsQuery{}); len(got) != 0 {
		t.Errorf("before it is tidied: %v", got)
	}
	if err := disk.Tidy(t.Context(), now.Add(-shoal.MetricRetention)); err != nil {
		t.Fatal(err)
	}
	if got := query(t, s, "both", shoal.MetricsQuery{}); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if sandboxes, blocks, bytes := counted(t, disk); sandboxes != 1 || blocks != 1 || bytes == 0 {
		t.Errorf("%d sandboxes, %d blocks, %d bytes are left", sandboxes, blocks, bytes)
	}
	if err := disk.Tidy(t.Context(), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if sandboxes, blocks, bytes := counted(t, disk); sandboxes != 0 || blocks != 0 || bytes != 0 {
		t.Errorf("%d sandboxes, %d blocks, %d bytes are left", sandboxes, blocks, bytes)
	}
}

func counted(t *testing.T, d *Disk) (sandboxes, blocks, bytes int64) {
	t.Helper()
	err := d.db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM kept), (SELECT count(*) FROM blocks),
		bytes FROM total`).Scan(&sandboxes, &blocks, &bytes)
	if err != nil {
		t.Fatal(err)
	}
	return sandboxes, blocks, bytes
}

// TestBound: a team with many sandboxes pushes out its own samples, the older ones first.
func TestBound(t *testing.T) {
	s, disk := openAt(t, filepath.Join(t.TempDir(), "metrics.db"))
	disk.bound = 64 << 10
	begin := time.Now().Add(-24 * time.Hour)
	s.Add(Source{SandboxID: "quiet", TeamID: "another"}, sample(begin, 1))
	var last time.Time
	for round := range 100 {
		for n := range 10 {
			for i := range 12 {
				last = begin.Add(time.Duration(12*round+i) * shoal.SamplePeriod)
				s.Add(source(fmt.Sprint("loud", n)), sample(last, float64(i)))
			}
		}
		write(t, s)
		if _, _, bytes := counted(t, disk); bytes > disk.bound {
			t.Fatalf("%d bytes are kept, want %d at most", bytes, disk.bound)
		}
	}
	if got := query(t, s, "quiet", shoal.MetricsQuery{TeamID: "another"}); len(got) != 1 {
		t.Errorf("another team's samples: %v", got)
	}
	got := query(t, s, "loud0", shoal.MetricsQuery{})
	if len(got) == 0 || len(got) == 1200 || !got[len(got)-1].Time.Equal(last.UTC().Truncate(time.Millisecond)) {
		t.Errorf("%d samples are left, up to %v", len(got), got[len(got)-1].Time)
	}
}

// failing is a keeper that cannot write for a while.
type failing struct {
	*Disk
	err error
}

func (f *failing) Append(ctx context.Context, batches []Batch) error {
	if f.err != nil {
		return f.err
	}
	return f.Disk.Append(ctx, batches)
}

// TestFailedWrites lose nothing of an hour, and no more than that is held in memory.
func TestFailedWrites(t *testing.T) {
	disk, err := OpenDisk(t.Context(), filepath.Join(t.TempDir(), "metrics.db"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	keeper := &failing{Disk: disk, err: errors.New("full")}
	s := New(keeper, quiet)
	t.Cleanup(func() { s.Close() })
	begin := time.Now().Add(-2 * time.Hour)
	for i := range 1000 {
		s.Add(source("a"), sample(begin.Add(time.Duration(i)*shoal.SamplePeriod), 1))
		if i%100 == 50 {
			if err := s.write(t.Context()); !errors.Is(err, keeper.err) {
				t.Fatal(err)
			}
		}
	}
	keeper.err = nil
	write(t, s)
	n := 0
	if err := disk.Visit(t.Context(), "a", time.Unix(0, 0), time.Now(), func(shoal.Sample) { n++ }); err != nil ||
		n != maxPending {
		t.Errorf("%d samples were kept, want %d: %v", n, maxPending, err)
	}
}

// TestDamage: an unusable file is replaced; a damaged block is an error.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.db")
	if err := os.WriteFile(path, []byte("this is no database, and never was one"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, disk := openAt(t, path)
	s.Add(source("a"), sample(time.Now(), 1))
	write(t, s)
	if _, err := disk.db.ExecContext(t.Context(), `UPDATE blocks SET samples = substr(samples, 1, 5)`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Query(t.Context(), "a", shoal.MetricsQuery{TeamID: "team"}); !errors.Is(err, errBlock) {
		t.Errorf("a damaged block: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.ExecContext(t.Context(), `PRAGMA user_version = 77`); err != nil {
		t.Fatal(err)
	}
	other.Close()
	s, _ = openAt(t, path)
	if got := query(t, s, "a", shoal.MetricsQuery{}); len(got) != 0 {
		t.Errorf("of a later version: %v", got)
	}
}

// BenchmarkMinute is what a minute of 200 sandboxes costs: 2,400 samples and their write. It
// reports the bytes that each sample takes.
func BenchmarkMinute(b *testing.B) {
	path := filepath.Join(b.TempDir(), "metrics.db")
	s, disk := openAt(b, path)
	at := time.Now().Add(-24 * time.Hour)
	samples := 0
	for b.Loop() {
		for range 12 {
			at = at.Add(shoal.SamplePeriod)
			for n := range 200 {
				m := sample(at, float64(samples%977)/10)
				m.MemUsed += int64(samples%1_000_003) * 4096
				m.Host.MemBytes += int64(samples%1_000_033) * 4096
				s.Add(source(fmt.Sprint("isandbox0000000000", n)), m)
				samples++
			}
		}
		if err := s.write(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	kept, err := disk.Bytes(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(kept)/float64(samples), "bytes/sample")
}

// BenchmarkWeek is the answer for a week of one sandbox.
func BenchmarkWeek(b *testing.B) {
	s, _ := openAt(b, filepath.Join(b.TempDir(), "metrics.db"))
	now := time.Now()
	n := 0
	for at := now.Add(-shoal.MetricRetention); at.Before(now); at = at.Add(shoal.SamplePeriod) {
		s.Add(source("a"), sample(at, float64(n%100)))
		if n++; n%12 == 0 {
			if err := s.write(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		list, err := s.Query(context.Background(), "a", shoal.MetricsQuery{TeamID: "team"})
		if err != nil || len(list) < 600 {
			b.Fatal(len(list), err)
		}
	}
}
