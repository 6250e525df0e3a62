package live

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// kindBeat is what an api says to hear itself.
const kindBeat Kind = "beat"

// message is news with the name of who tells it.
type message struct {
	From string `json:"from"`
	News
}

func (r *Redis) encode(n News) string {
	text, _ := json.Marshal(message{From: r.name, News: n}) // strings can always be encoded
	return string(text)
}

// Tell tells the other apis something. Those that cannot hear it learn of changes in the store within
// auth.CacheTTL, and of nothing else.
func (r *Redis) Tell(ctx context.Context, n News) bool {
	return r.ask(ctx, func(ctx context.Context) error {
		return r.client.Publish(ctx, r.prefix+"news", r.encode(n)).Err()
	})
}

// Announce tells all apis something in the name of a program that is none.
func Announce(ctx context.Context, cfg Config, n News) error {
	o, err := options(cfg.URL, cfg.CA)
	if err != nil {
		return err
	}
	quiet()
	client := redis.NewClient(o)
	defer client.Close()
	r := &Redis{client: client, prefix: prefix(cfg.Installation)}
	if err := client.Publish(ctx, r.prefix+"news", r.encode(n)).Err(); err != nil {
		return fmt.Errorf("tell the apis by Redis: %w", err)
	}
	return nil
}

// listen hears what other apis tell until ctx ends. The library connects again by itself.
func (r *Redis) listen(ctx context.Context) error {
	subscription := r.client.Subscribe(ctx, r.prefix+"news")
	defer subscription.Close() // ends the goroutines that fill the channel
	messages := subscription.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(beatTime))
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-messages:
			if !ok {
				return nil
			}
			r.heard(m)
		}
	}
}

func (r *Redis) heard(m any) {
	switch m := m.(type) {
	case *redis.Subscription: // anew, so something may have been missed
		r.hear(News{Kind: Changed})
	case *redis.Message:
		var told message
		if err := json.Unmarshal([]byte(m.Payload), &told); err != nil {
			r.log.Warn("another api tells something that cannot be read", "error", err)
			return
		}
		switch {
		case told.From == r.name:
			r.heardAt.Store(time.Now().UnixNano())
		case told.Kind != kindBeat:
			r.hear(told.News)
		}
	}
}
