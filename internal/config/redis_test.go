package config

import (
	"strings"
	"testing"
)

func TestRedis(t *testing.T) {
	for value, fine := range map[string]bool{
		"redis://localhost": true, "redis://:p%40ss@10.0.0.5:6379/0": true, "rediss://me:hush@redis.example:6380/15": true,
		"redis.example:6379": false, "http://redis.example": false, "redis://": false, "redis://:hush@h/name": false,
		"redis://h?db=3": false, "redis://:hu%sh@h": false, "redis://h/1/2": false,
	} {
		c, err := parse(t, "--redis", value)
		if err != nil {
			t.Fatal(err)
		}
		if err = c.Check(); (err == nil) != fine || !fine && (!strings.Contains(err.Error(), "redis") || strings.Contains(err.Error(), "hu")) {
			t.Errorf("%s: %v", value, err)
		}
	}
	for _, args := range [][]string{{"--redis-ca=/ca.pem"}, {"--redis-ca=/ca.pem", "--redis=redis://h"}} {
		c, err := parse(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), "redis-ca") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestSharesDatabase(t *testing.T) {
	for _, c := range []struct {
		args   []string
		shares bool
	}{
		{nil, false}, {[]string{"--database=/a/file"}, false}, {[]string{"--database=postgres://h/d"}, true},
		{[]string{"--database=/a/file", "--redis=redis://h"}, true},
	} {
		a, err := parse(t, c.args...)
		if err != nil || a.SharesDatabase() != c.shares {
			t.Errorf("%q: %v, %v", c.args, a.SharesDatabase(), err)
		}
	}
}
