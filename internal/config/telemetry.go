package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"shoal/internal/telemetry/logging"
	"shoal/internal/telemetry/otlp"
)

// signals are what a collector can be sent.
var signals = []string{"traces", "metrics", "logs"}

// minOTLPInterval keeps the metrics from costing more than what they measure.
const minOTLPInterval = time.Second

func (c *Config) checkTelemetry(bad func(name, format string, args ...any)) {
	if _, err := logging.Parse(c.LogLevel); err != nil {
		bad("log-level", "%v", err)
	}
	if u, err := url.Parse(c.OTLPEndpoint); c.OTLPEndpoint != "" && (err != nil ||
		(u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "") {
		bad("otlp-endpoint", "must be http:// or https:// and a host, such as http://127.0.0.1:4318")
	}
	if _, err := c.CollectorHeaders(); err != nil {
		bad("otlp-headers", "%v", err)
	}
	for _, s := range c.OTLPSignals {
		if !slices.Contains(signals, s) {
			bad("otlp-signals", "%q is none of %s", s, strings.Join(signals, ", "))
		}
	}
	if c.OTLPInterval < minOTLPInterval {
		bad("otlp-interval", "must be at least %s", minOTLPInterval)
	}
	if !(c.TraceRatio >= 0 && c.TraceRatio <= 1) {
		bad("trace-ratio", "must be from 0 to 1")
	}
}

// CollectorHeaders parses OTLPHeaders. Its errors do not quote values, which may be secret.
func (c *Config) CollectorHeaders() (map[string]string, error) {
	headers := map[string]string{}
	for i, pair := range strings.Split(c.OTLPHeaders, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || strings.ContainsAny(value, "\r\n") {
			return nil, fmt.Errorf("header %d is not NAME=VALUE", i+1)
		}
		headers[strings.TrimSpace(name)] = value
	}
	return headers, nil
}

// Collector says where traces, metrics and the log are sent, and which of them.
func (c *Config) Collector() (otlp.Config, error) {
	headers, err := c.CollectorHeaders()
	if err != nil {
		return otlp.Config{}, err
	}
	signals := make([]otlp.Signal, len(c.OTLPSignals))
	for i, s := range c.OTLPSignals {
		signals[i] = otlp.Signal(s)
	}
	return otlp.Config{Endpoint: c.OTLPEndpoint, GRPC: c.OTLPProtocol == "grpc", Headers: headers,
		Signals: signals, Ratio: c.TraceRatio, Interval: c.OTLPInterval}, nil
}
