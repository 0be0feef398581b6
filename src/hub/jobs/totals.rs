//! What the jobs of this process have come to since it began: for a monitoring system, which sums up over restarts by
//! itself.

use api::{JobResult, JobView};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};
use std::sync::Arc;

/// From a second to a day.
const SECONDS: [f64; 10] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];

/// Counters and histograms. Clones count together.
#[derive(Clone)]
pub(crate) struct Totals {
    inner: Arc<Option<Inner>>,
}

struct Inner {
    duration: HistogramVec,
    bytes: IntCounterVec,
    damaged: IntCounter,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            inner: Arc::new(
                Inner::new().inspect_err(|error| tracing::error!(%error, "ended jobs are not counted")).ok(),
            ),
        }
    }
}

impl Inner {
    fn new() -> prometheus::Result<Inner> {
        let duration = HistogramOpts::new(
            "sendense_job_duration_seconds",
            "How long the jobs took that this hub has run to their end, by how they ended.",
        );
        let bytes = Opts::new(
            "sendense_job_bytes_total",
            "Bytes that the jobs of this hub have written or read back, counted at their end.",
        );
        Ok(Inner {
            duration: HistogramVec::new(duration.buckets(SECONDS.to_vec()), &["job_type", "status"])?,
            bytes: IntCounterVec::new(bytes, &["job_type"])?,
            damaged: IntCounter::new(
                "sendense_verify_damaged_total",
                "Verifications of this hub that have found damage.",
            )?,
        })
    }
}

impl Totals {
    /// Counts a job that has ended.
    pub(crate) fn add(&self, view: &JobView) {
        let Some(inner) = &*self.inner else { return };
        if !view.status.is_final() {
            return;
        }
        let kind = view.job_type.to_string();
        let (began, ended) = (view.started_at.unwrap_or(view.created_at), view.completed_at);
        let seconds = ended.map_or(0.0, |ended| ended.duration_since(began).as_secs_f64().max(0.0));
        inner.duration.with_label_values(&[kind.as_str(), &view.status.to_string()]).observe(seconds);
        inner.bytes.with_label_values(&[kind.as_str()]).inc_by(view.bytes_transferred);
        if let Some(JobResult::Verify(report)) = &view.result
            && !report.ok
        {
            inner.damaged.inc();
        }
    }

    /// As a monitoring system takes them.
    pub(crate) fn collect(&self) -> Vec<MetricFamily> {
        let Some(inner) = &*self.inner else { return Vec::new() };
        let mut families = inner.duration.collect();
        families.extend(inner.bytes.collect());
        families.extend(inner.damaged.collect());
        families
    }
}
