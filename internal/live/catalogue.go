package live

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// saidTime is how long it is remembered where a sandbox is. Beyond it, all machines are asked.
	saidTime = time.Hour
	// maxSaid is how much waits to be written. What comes beyond is not, and costs a question later.
	maxSaid = 4096
	// saidAtOnce is how much is written at once.
	saidAtOnce = 256
	// maxID is the longest ID of a sandbox that is asked for: clients send them.
	maxID = 64
)

// said is where a sandbox is; on no machine if nodeID is "".
type said struct{ sandboxID, nodeID string }

// Put says which machine a sandbox is on.
func (r *Redis) Put(sandboxID, nodeID string) {
	if nodeID != "" {
		r.say(said{sandboxID, nodeID})
	}
}

// Drop says that a sandbox is on none.
func (r *Redis) Drop(sandboxID string) { r.say(said{sandboxID: sandboxID}) }

func (r *Redis) say(s said) {
	select {
	case r.said <- s:
	default:
	}
}

// write writes what was said until ctx ends.
func (r *Redis) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-r.said:
			batch := []said{s}
			for more := true; more && len(batch) < saidAtOnce; {
				select {
				case s := <-r.said:
					batch = append(batch, s)
				default:
					more = false
				}
			}
			r.ask(ctx, func(ctx context.Context) error { return r.writeBatch(ctx, batch) })
		}
	}
}

func (r *Redis) writeBatch(ctx context.Context, batch []said) error {
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range batch {
			if s.nodeID == "" {
				p.Del(ctx, r.whereKey(s.sandboxID))
			} else {
				p.Set(ctx, r.whereKey(s.sandboxID), s.nodeID, saidTime)
			}
		}
		return nil
	})
	return err
}

// Find returns on which machine a sandbox was when an api last said so.
func (r *Redis) Find(ctx context.Context, sandboxID string) (nodeID string, ok bool) {
	if len(sandboxID) > maxID {
		return "", false
	}
	r.ask(ctx, func(ctx context.Context) (err error) {
		nodeID, err = r.client.Get(ctx, r.whereKey(sandboxID)).Result()
		return err
	})
	return nodeID, nodeID != ""
}

func (r *Redis) whereKey(sandboxID string) string { return r.prefix + "sandbox:" + sandboxID }

// tryKeys are made of hashes: counts have names of people and whatever else strangers send.
func (r *Redis) tryKeys(counts []Count) []string {
	keys := make([]string, len(counts))
	for i, c := range counts {
		sum := sha256.Sum256([]byte(c.Key))
		keys[i] = r.prefix + "tries:" + hex.EncodeToString(sum[:16])
	}
	return keys
}
