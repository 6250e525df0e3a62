package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"shoal/internal/artifact"
	"shoal/internal/shoal"
)

// What a store knows of builds decides what becomes garbage here. The store may be the wrong
// one: an empty database, another installation's, an old backup. So the snapshots are marked
// with the installation whose store first knew most of them, and an inventory is believed
// only if it comes from there and knows most of them still.

// strays is how many builds here the store may never have heard of, whatever else there is:
// an api that ends while a snapshot is made does not register it.
const strays = 3

// believe returns an error from the catalogue if the inventory must not decide what is
// garbage. It marks the snapshots once they prove to be the installation's. The caller
// holds o.collecting.
func (g *garbage) believe(known shoal.Inventory, adopt bool) error {
	artifacts := g.snapshots.Artifacts()
	owners, err := artifacts.Owners()
	if err != nil && !adopt {
		return err
	}
	list, err := artifacts.ListAll()
	if err != nil {
		return err
	}
	count := census(list, known)
	if !adopt || known.Installation == "" {
		if err := count.judge(owners, known.Installation); err != nil {
			return errors.Join(err, artifacts.NoteRefusal(err.Error()))
		}
	}
	if adopt || count.all > count.unknown {
		err = artifacts.SetOwner(known.Installation)
	}
	return errors.Join(err, artifacts.NoteRefusal(""))
}

// counts are the builds here that could become garbage, and how many of them the store has
// never heard of.
type counts struct{ all, unknown int }

func census(list []artifact.Manifest, known shoal.Inventory) (count counts) {
	heardOf := map[string]bool{}
	for _, id := range slices.Concat(known.Builds, known.Ended) {
		heardOf[id] = true
	}
	for _, m := range list {
		build, isBuild, _ := ownerOf(m)
		switch {
		case !isBuild:
		case heardOf[build]:
			count.all++
		case time.Since(m.CreatedAt) >= collectAge:
			count.all++
			count.unknown++
		}
	}
	return count
}

// judge says whether an inventory with these counts is believed, here where the snapshots
// have these owners.
func (c counts) judge(owners []string, installation string) error {
	if installation == "" {
		return shoal.ErrForeignStore.New("the api does not say of which installation its database is, " +
			"as those of earlier versions do not")
	}
	if len(owners) > 1 {
		return shoal.ErrForeignStore.New("data-dir has snapshots of installation %s, artifact-dir those of %s",
			owners[0], owners[1])
	}
	if len(owners) == 1 && owners[0] != installation {
		return shoal.ErrForeignStore.New("the snapshots here belong to installation %s, the database is that of %s",
			owners[0], installation)
	}
	allowed := strays
	if len(owners) == 0 {
		allowed = 0 // nothing else says whose they are
	}
	if c.unknown > allowed && 2*c.unknown > c.all {
		return shoal.ErrSuspiciousStore.New("the database does not know %d of the %d builds and snapshots here",
			c.unknown, c.all)
	}
	return nil
}

// roomPeriod is how often keepDiskFree looks at the disk.
const roomPeriod = 10 * time.Second

// keepDiskFree has the trash give way where the disk is short, until ctx ends. What only the
// trash needed of images goes with the next collection.
func keepDiskFree(ctx context.Context, artifacts *artifact.Store, log *slog.Logger) error {
	tick := time.NewTicker(roomPeriod)
	defer tick.Stop()
	trouble := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		gone, err := artifacts.MakeRoom()
		if gone.Artifacts > 0 {
			log.Info("the disk is short, so snapshots left the trash early",
				"snapshots", gone.Artifacts, "bytes", gone.Bytes)
		}
		if err == nil {
			trouble = ""
		} else if err.Error() != trouble {
			trouble = err.Error()
			log.Warn("the trash of snapshots could not make room", "error", err)
		}
	}
}
