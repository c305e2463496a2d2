package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"wend/engine"
)

// metrics are the server's counters, in a registry of its own: nothing is
// shared between two servers in one process. No label carries what a client sent.
type metrics struct {
	handler    http.Handler
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	events     *prometheus.CounterVec
	cached     prometheus.Counter
	partial    prometheus.Counter
	eventsRead prometheus.Counter
	panics     prometheus.Counter
}

func newMetrics(s *Server) *metrics {
	reg := prometheus.NewRegistry()
	m := &metrics{
		handler:    promhttp.HandlerFor(reg, promhttp.HandlerOpts{}),
		requests:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wend_http_requests_total", Help: "Requests answered, by route and status."}, []string{"route", "status"}),
		seconds:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wend_http_request_seconds", Help: "Time to answer a request, by route.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 17)}, []string{"route"}),
		events:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wend_ingest_events_total", Help: "Events received, by what became of them."}, []string{"result"}),
		cached:     prometheus.NewCounter(prometheus.CounterOpts{Name: "wend_query_cache_hits_total", Help: "Queries answered from the result cache."}),
		partial:    prometheus.NewCounter(prometheus.CounterOpts{Name: "wend_query_partial_total", Help: "Answers that left damaged data out."}),
		eventsRead: prometheus.NewCounter(prometheus.CounterOpts{Name: "wend_query_events_read_total", Help: "Events that queries looked at."}),
		panics:     prometheus.NewCounter(prometheus.CounterOpts{Name: "wend_panics_total", Help: "Requests that ended in a panic."}),
	}
	reg.MustRegister(m.requests, m.seconds, m.events, m.cached, m.partial, m.eventsRead, m.panics,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wend_queries_running", Help: "Queries running or waiting."}, func() float64 { return float64(s.running.count()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wend_query_memory_bytes", Help: "Memory that queries and answers under way hold of the pool they share."}, func() float64 { return float64(s.db.MemoryReserved()) }),
		storeCollector{s.db},
	)
	for _, result := range []string{"accepted", "duplicate", "rejected"} {
		m.events.WithLabelValues(result)
	}
	return m
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

func (m *metrics) answered(r *engine.Result) {
	if r.Meta.Cached {
		m.cached.Inc()
	} else {
		m.eventsRead.Add(float64(r.Meta.EventsRead))
	}
	if r.Meta.Partial {
		m.partial.Inc()
	}
}

func (m *metrics) ingested(accepted, duplicates, rejected int64) {
	m.events.WithLabelValues("accepted").Add(float64(accepted))
	m.events.WithLabelValues("duplicate").Add(float64(duplicates))
	m.events.WithLabelValues("rejected").Add(float64(rejected))
}

func (s *Server) exposition(w http.ResponseWriter, r *http.Request) error {
	s.metrics.handler.ServeHTTP(w, r)
	return nil
}

// storeCollector tells of the store what is known without reading it.
type storeCollector struct{ db *engine.DB }

var (
	storeEvents   = prometheus.NewDesc("wend_store_events", "Events in the store.", nil, nil)
	storeSegments = prometheus.NewDesc("wend_store_segments", "Segments in the store.", nil, nil)
	storeBytes    = prometheus.NewDesc("wend_store_bytes", "Bytes of the store's segments on disk.", nil, nil)
	storeLogBytes = prometheus.NewDesc("wend_store_log_bytes", "Bytes of the write-ahead log that are still needed.", nil, nil)
	storeMissing  = prometheus.NewDesc("wend_store_missing_segments", "Damaged pieces that answers leave out.", nil, nil)
	storeFull     = prometheus.NewDesc("wend_store_disk_full", "1 if events are refused until the disk has room.", nil, nil)
	storeWaits    = prometheus.NewDesc("wend_store_compaction_waits_bytes", "Bytes that have to become free on the disk before the compaction can go on; 0 if it does not wait.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c storeCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.db.Store().Summary()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(storeEvents, float64(st.Events))
	gauge(storeSegments, float64(len(st.Segments)))
	gauge(storeBytes, float64(st.Bytes))
	gauge(storeLogBytes, float64(st.LogBytes))
	gauge(storeMissing, float64(len(st.Missing)))
	full, waits := 0.0, 0.0
	if st.DiskFull {
		full = 1
	}
	if w := st.CompactionWaits; w != nil {
		waits = float64(w.Needed - w.Free)
	}
	gauge(storeFull, full)
	gauge(storeWaits, waits)
}
