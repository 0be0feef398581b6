//! Health, doctor, telemetry, endpoints.
//!
//! # Errors
//! Every method fails as the hub says ([`ClientError::Api`]), or where there is no answer that can be
//! understood.

use super::{Client, ClientError, Path};
use crate::{DebugEndpoints, DoctorFix, DoctorReport, Health, Success, Telemetry};
use http::Method;
use model::{JobId, JobType};

impl Client {
    /// `GET /health`.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.ask(Method::GET, Path::new("/health")).await
    }

    /// `GET /doctor`: looks, changes nothing.
    pub async fn doctor(&self) -> Result<DoctorReport, ClientError> {
        self.ask(Method::GET, Path::new("/doctor")).await
    }

    /// `POST /doctor/fix`: puts right what can be.
    pub async fn doctor_fix(&self, request: &DoctorFix) -> Result<DoctorReport, ClientError> {
        self.tell(Method::POST, Path::new("/doctor/fix"), request).await
    }

    /// `POST /telemetry/{job_type}/{job_id}`.
    pub async fn send_telemetry(
        &self,
        job_type: JobType,
        job: &JobId,
        telemetry: &Telemetry,
    ) -> Result<Success, ClientError> {
        let path = Path::new("/telemetry").segment(job_type.as_str()).segment(job);
        self.tell(Method::POST, path, telemetry).await
    }

    /// `GET /metrics`, as a monitoring system takes it.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        self.text(Path::new("/metrics")).await
    }

    /// `GET /debug/endpoints`.
    pub async fn endpoints(&self) -> Result<DebugEndpoints, ClientError> {
        self.ask(Method::GET, Path::new("/debug/endpoints")).await
    }
}
