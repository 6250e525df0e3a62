package main

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// handleMetadata answers with what a microVM's metadata service has, asked as E2B's daemon asks it (version 2).
func handleMetadata(w http.ResponseWriter, _ *http.Request) {
	token, err := metadata(http.MethodPut, "latest/api/token", "X-metadata-token-ttl-seconds", "60")
	text := ""
	if err == nil {
		text, err = metadata(http.MethodGet, "", "X-metadata-token", token)
	}
	reply(w, err, text)
}

func metadata(method, path, header, value string) (string, error) {
	req, err := http.NewRequest(method, "http://169.254.169.254/"+path, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set(header, value)
	req.Header.Set("Accept", "application/json")
	// The service does not know of connections that were open in a checkpoint.
	client := http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return string(body), err
}
