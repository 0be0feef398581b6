//! `GET /metrics`: the hub for a monitoring system, in Prometheus' text format 0.0.4.
//!
//! Two kinds of numbers: what this process has counted since it began (requests, ended jobs), and what is looked up
//! when it is asked (unfinished jobs, last good backups, room), which other hubs on the same catalog tell alike.

use crate::caller::Viewer;
use crate::failure::{Failure, Result};
use crate::service::PATIENCE;
use crate::state::State;
use api::{ApiError, ErrorBody, ErrorCode};
use axum::extract::{MatchedPath, Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;
use hub::Hub;
use model::{JobType, Status};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, Opts, TEXT_FORMAT, TextEncoder};
use std::time::Instant;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// From a millisecond to what nobody waits for.
const LATENCIES: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0];

/// The states of jobs that go on.
const UNFINISHED: [Status; 3] = [Status::Pending, Status::Running, Status::Stalled];

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default().routes(routes!(metrics))
}

/// Get the metrics
///
/// In Prometheus' text format. All names begin with `sendense_`, but for those of the process itself.
#[utoipa::path(get, path = "/api/v1/metrics", operation_id = "metrics", tag = "service",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain; version=0.0.4"),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn metrics(_: Viewer, Shared(state): Shared<State>) -> Result<Response> {
    let failed = |error: prometheus::Error| {
        Failure::from(ApiError::new(
            ErrorCode::Internal,
            format!("the metrics can't be put together: {error}"),
        ))
    };
    let mut families = state.requests.collect();
    families.extend(state.hub.job_metrics());
    families.extend(process().map_err(failed)?);
    families.extend(service(&state).map_err(failed)?);
    families.extend(looked_up(&state.hub).await.map_err(failed)?);
    // A family without a line is none; and the order is not that of a hash table.
    families.retain(|family| !family.get_metric().is_empty());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    for family in &mut families {
        let mut lines = family.take_metric();
        lines.sort_by_cached_key(|line| {
            line.get_label().iter().map(|label| label.value().to_owned()).collect::<Vec<_>>()
        });
        family.set_metric(lines);
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).map_err(failed)?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

/// How long answers took, by route.
#[derive(Clone)]
pub(crate) struct Requests(Option<HistogramVec>);

impl Requests {
    pub(crate) fn new() -> Self {
        let options = HistogramOpts::new(
            "sendense_http_request_duration_seconds",
            "Time from a request's head to its answer's head.",
        );
        let made = HistogramVec::new(options.buckets(LATENCIES.to_vec()), &["method", "route", "status"]);
        Requests(made.inspect_err(|error| tracing::error!(%error, "requests are not measured")).ok())
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.as_ref().map(Collector::collect).unwrap_or_default()
    }
}

/// Measures a request. Paths that no route has are one, so that nobody can make series without end.
pub(crate) async fn measure(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let Requests(Some(durations)) = &state.requests else { return next.run(request).await };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let began = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    durations
        .with_label_values(&[method.as_str(), route, response.status().as_str()])
        .observe(began.elapsed().as_secs_f64());
    response
}

type Families = prometheus::Result<Vec<MetricFamily>>;

/// The names that every exporter of a process uses.
fn process() -> Families {
    let mut families = Vec::new();
    let mut tell = |name: &str, help: &str, value: Option<f64>| -> prometheus::Result<()> {
        if let Some(value) = value {
            let gauge = Gauge::new(name, help)?;
            gauge.set(value);
            families.extend(gauge.collect());
        }
        Ok(())
    };
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    let resident = pages.map(|pages| pages * rustix::param::page_size() as f64);
    tell("process_resident_memory_bytes", "Memory that the process occupies.", resident)?;
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    tell("process_open_fds", "Files, sockets and devices that the process has open.", open)?;
    Ok(families)
}

fn service(state: &State) -> Families {
    let version = Opts::new("sendense_build_info", "The program's version; always 1.");
    let version = Gauge::with_opts(version.const_label("version", env!("CARGO_PKG_VERSION")))?;
    version.set(1.0);
    let up = Gauge::new("sendense_uptime_seconds", "Time since the hub was opened.")?;
    up.set(state.since.elapsed().as_secs_f64());
    Ok([version.collect(), up.collect()].concat())
}

/// What the catalog and the repositories say; less of it where they can't be asked.
async fn looked_up(hub: &Hub) -> Families {
    let catalog = Gauge::new("sendense_catalog_up", "Whether the catalog answers.")?;
    let mut families = Vec::new();
    if timeout(PATIENCE, hub.catalog_answers()).await.is_err() {
        return Ok(catalog.collect());
    }
    let unfinished = hub.unfinished().await;
    let latest = hub.latest_backups().await;
    let repositories = hub.repositories().await;
    catalog.set(f64::from(unfinished.is_ok() && latest.is_ok() && repositories.is_ok()));
    families.extend(catalog.collect());
    if let Ok(unfinished) = unfinished {
        let jobs =
            Opts::new("sendense_jobs", "Jobs that have not ended, of all hubs on this catalog, by state.");
        let jobs = GaugeVec::new(jobs, &["job_type", "status"])?;
        for kind in JobType::ALL {
            for status in UNFINISHED {
                let count = unfinished.get(&(*kind, status)).copied().unwrap_or(0);
                jobs.with_label_values(&[kind.as_str(), status.as_str()]).set(count as f64);
            }
        }
        families.extend(jobs.collect());
    }
    if let Ok(latest) = latest {
        let at = Opts::new(
            "sendense_vm_last_backup_timestamp_seconds",
            "When the newest good backup of a registered VM was completed, since 1970; 0: it has none.",
        );
        let at = GaugeVec::new(at, &["vm"])?;
        for (vm, ended) in latest {
            let seconds = ended.map_or(0.0, |ended| ended.as_millisecond() as f64 / 1000.0);
            at.with_label_values(&[vm.as_str()]).set(seconds);
        }
        families.extend(at.collect());
    }
    if let Ok(repositories) = repositories {
        families.extend(of_repositories(&repositories)?);
    }
    Ok(families)
}

fn of_repositories(repositories: &[hub::RepositoryStatus]) -> Families {
    let vec = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["repository"]);
    let up = vec("sendense_repository_up", "Whether the repository can be reached.")?;
    let size = vec("sendense_repository_size_bytes", "Room of the repository's file system.")?;
    let available = vec("sendense_repository_available_bytes", "Room that is left there.")?;
    let reserve = vec("sendense_repository_reserve_bytes", "Room that backups leave free there.")?;
    let points = vec("sendense_repository_backups", "Restore points in the repository.")?;
    let stored = vec("sendense_repository_backups_bytes", "Bytes of the files of its restore points.")?;
    for status in repositories {
        let name = [status.repository.name.as_str()];
        up.with_label_values(&name).set(f64::from(status.space.is_some()));
        if let Some(space) = status.space {
            size.with_label_values(&name).set(space.total as f64);
            available.with_label_values(&name).set(space.available as f64);
            reserve.with_label_values(&name).set(status.reserve_bytes() as f64);
        }
        points.with_label_values(&name).set(status.backup_count as f64);
        stored.with_label_values(&name).set(status.backups_size_bytes as f64);
    }
    Ok([up, size, available, reserve, points, stored].iter().flat_map(Collector::collect).collect())
}
