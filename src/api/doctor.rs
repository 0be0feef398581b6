//! What the hub finds wrong with itself, and what of it it can put right.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, but should be looked at.
    Warning,
    /// Does not work.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What was looked at: a stable word such as `catalog`, `repository`, `leases`, `partial_files`.
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, for a person.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// True where `POST /doctor/fix` puts it right.
    #[serde(default)]
    pub fixable: bool,
    /// True where it has just been put right.
    #[serde(default)]
    pub fixed: bool,
}

/// `GET /doctor` and `POST /doctor/fix`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// Always true: the looking itself worked.
    pub success: bool,
    /// True where nothing is worse than a warning, or all of it has been put right.
    pub healthy: bool,
    /// One by one.
    pub findings: Vec<Finding>,
}

impl DoctorReport {
    /// The report of these findings.
    pub fn new(findings: Vec<Finding>) -> Self {
        let healthy = findings.iter().all(|found| found.severity < Severity::Error || found.fixed);
        DoctorReport { success: true, healthy, findings }
    }
}

/// `POST /doctor/fix`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DoctorFix {
    /// Only these checks; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
}
