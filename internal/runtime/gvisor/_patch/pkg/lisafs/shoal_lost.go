package lisafs

// LostClient returns a client of a server that is gone: every request fails with EIO.
func LostClient() *Client {
	c := &Client{lost: true, supported: make([]bool, 256)}
	for i := range c.supported {
		c.supported[i] = true
	}
	return c
}
