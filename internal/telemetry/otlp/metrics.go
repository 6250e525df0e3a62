package otlp

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	colmetrics "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/slim/otlp/metrics/v1"
)

// begin is from when on the process counts.
var begin = time.Now()

// watch sends the metrics now and then until ctx ends, and once more then.
func (e *Exporter) watch(ctx context.Context, from prometheus.Gatherer) {
	send := told(e, Metrics, e.sendMetrics)
	look := func(ctx context.Context, limit time.Duration) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		count := e.sent
		if err := send(ctx, from); err != nil {
			count = e.dropped
		}
		count.WithLabelValues(string(Metrics)).Inc()
	}
	tick := time.NewTicker(e.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			look(ctx, lastTime)
			return
		case <-tick.C:
			look(ctx, sendTime)
		}
	}
}

func (e *Exporter) sendMetrics(ctx context.Context, from prometheus.Gatherer) error {
	// What could be gathered is there beside an error.
	families, err := from.Gather()
	if len(families) == 0 {
		return err
	}
	list := encodeFamilies(families, time.Now())
	return e.client.metrics(ctx, &colmetrics.ExportMetricsServiceRequest{ResourceMetrics: []*metrics.ResourceMetrics{
		{Resource: e.resource, ScopeMetrics: []*metrics.ScopeMetrics{{Scope: scope, Metrics: list}}}}})
}

// encodeFamilies says in OpenTelemetry's words what Prometheus is told.
func encodeFamilies(families []*dto.MetricFamily, now time.Time) []*metrics.Metric {
	list := make([]*metrics.Metric, 0, len(families))
	for _, f := range families {
		out := &metrics.Metric{Name: f.GetName(), Description: f.GetHelp(), Unit: f.GetUnit()}
		points := pointsOf{start: uint64(begin.UnixNano()), now: uint64(now.UnixNano()), family: f}
		switch f.GetType() {
		case dto.MetricType_COUNTER:
			out.Data = &metrics.Metric_Sum{Sum: &metrics.Sum{IsMonotonic: true, DataPoints: points.numbers(),
				AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}}
		case dto.MetricType_HISTOGRAM:
			out.Data = &metrics.Metric_Histogram{Histogram: &metrics.Histogram{DataPoints: points.histograms(),
				AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}}
		case dto.MetricType_SUMMARY:
			out.Data = &metrics.Metric_Summary{Summary: &metrics.Summary{DataPoints: points.summaries()}}
		default:
			out.Data = &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: points.numbers()}}
		}
		list = append(list, out)
	}
	return list
}

// pointsOf encodes the values of a family.
type pointsOf struct {
	start, now uint64
	family     *dto.MetricFamily
}

func (p pointsOf) numbers() []*metrics.NumberDataPoint {
	var list []*metrics.NumberDataPoint
	for _, m := range p.family.GetMetric() {
		point := &metrics.NumberDataPoint{Attributes: labels(m), TimeUnixNano: p.now}
		value := m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		if m.GetCounter() != nil {
			value, point.StartTimeUnixNano = m.GetCounter().GetValue(), p.start
		}
		point.Value = &metrics.NumberDataPoint_AsDouble{AsDouble: value}
		list = append(list, point)
	}
	return list
}

// histograms have what is in each bucket, where Prometheus has what is in it and those below.
func (p pointsOf) histograms() []*metrics.HistogramDataPoint {
	var list []*metrics.HistogramDataPoint
	for _, m := range p.family.GetMetric() {
		h := m.GetHistogram()
		sum := h.GetSampleSum()
		point := &metrics.HistogramDataPoint{Attributes: labels(m), StartTimeUnixNano: p.start, TimeUnixNano: p.now,
			Count: h.GetSampleCount(), Sum: &sum}
		below := uint64(0)
		for _, b := range h.GetBucket() {
			point.ExplicitBounds = append(point.ExplicitBounds, b.GetUpperBound())
			point.BucketCounts = append(point.BucketCounts, b.GetCumulativeCount()-below)
			below = b.GetCumulativeCount()
		}
		point.BucketCounts = append(point.BucketCounts, h.GetSampleCount()-below)
		list = append(list, point)
	}
	return list
}

func (p pointsOf) summaries() []*metrics.SummaryDataPoint {
	var list []*metrics.SummaryDataPoint
	for _, m := range p.family.GetMetric() {
		s := m.GetSummary()
		point := &metrics.SummaryDataPoint{Attributes: labels(m), StartTimeUnixNano: p.start, TimeUnixNano: p.now,
			Count: s.GetSampleCount(), Sum: s.GetSampleSum()}
		for _, q := range s.GetQuantile() {
			point.QuantileValues = append(point.QuantileValues,
				&metrics.SummaryDataPoint_ValueAtQuantile{Quantile: q.GetQuantile(), Value: q.GetValue()})
		}
		list = append(list, point)
	}
	return list
}

func labels(m *dto.Metric) []*common.KeyValue {
	var list []*common.KeyValue
	for _, l := range m.GetLabel() {
		list = append(list, &common.KeyValue{Key: l.GetName(), Value: text(l.GetValue())})
	}
	return list
}
