//! The one table over all routes: the least role of each, how it touches VMs, and what the audit log calls it.
//!
//! [`guard`](crate::guard) looks every request up here before its handler runs; a route that is missing is refused to
//! everybody. A test walks the OpenAPI document and this table side by side.

use model::Role;

/// What holds for one method of one route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// The method.
    pub method: &'static str,
    /// The route, without `/api/v1`.
    pub path: &'static str,
    /// The least role; `None`: no credentials are needed, and none are looked at.
    pub least: Option<Role>,
    /// How it touches VMs.
    pub reach: Reach,
    /// Whether it is in the audit log.
    pub deed: Deed,
}

impl Rule {
    /// True where the answer is for a monitor, which gives up long before the catalog's own patience with its server ends.
    pub(crate) fn looks_after_the_hub(&self) -> bool {
        matches!((self.method, self.path), ("GET", "/metrics" | "/doctor"))
    }
}

/// How a route touches VMs: what is left of it for a caller who may see some of them only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It shows and changes nothing of any VM.
    None,
    /// It concerns the whole hub: not for such callers.
    Hub,
    /// Its handler leaves out what the caller does not see, or refuses what the request's body or query names.
    Handler,
    /// These parts of its path are ids of backups.
    Backups(&'static [&'static str]),
    /// This part of its path is a VM's name.
    Vm(&'static str),
    /// This part of its path is the id of a job.
    Job(&'static str),
    /// This part of its path is the id of something that keeps a point open.
    Mount(&'static str),
}

/// Whether a route is in the audit log, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It only looks.
    None,
    /// It changes something.
    Change(&'static str),
    /// It reads what a guest holds, or opens or closes something for that.
    Read(&'static str),
}

use Deed::{Change, Read};
use Reach::{Backups, Handler, Hub, Job, Mount, Vm};
use Role::{Admin, Operator, Restorer, Viewer};

const fn open(method: &'static str, path: &'static str, deed: Deed) -> Rule {
    Rule { method, path, least: None, reach: Reach::None, deed }
}

const fn rule(method: &'static str, path: &'static str, least: Role, reach: Reach, deed: Deed) -> Rule {
    Rule { method, path, least: Some(least), reach, deed }
}

/// Every route.
#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    open("GET", "/health", Deed::None),
    open("GET", "/openapi.json", Deed::None),
    open("GET", "/docs", Deed::None),
    open("POST", "/auth/login", Change("login")),

    rule("POST", "/auth/logout", Viewer, Reach::None, Change("logout")),
    rule("GET", "/auth/whoami", Viewer, Reach::None, Deed::None),
    rule("POST", "/auth/password", Viewer, Reach::None, Change("password_change")),
    rule("GET", "/auth/users", Admin, Hub, Deed::None),
    rule("POST", "/auth/users", Admin, Hub, Change("user_create")),
    rule("PATCH", "/auth/users/{name}", Admin, Hub, Change("user_change")),
    rule("DELETE", "/auth/users/{name}", Admin, Hub, Change("user_delete")),
    rule("GET", "/auth/tokens", Admin, Hub, Deed::None),
    rule("POST", "/auth/tokens", Admin, Hub, Change("token_create")),
    rule("DELETE", "/auth/tokens/{id}", Admin, Hub, Change("token_revoke")),
    rule("GET", "/audit", Admin, Hub, Deed::None),

    rule("POST", "/backups", Operator, Handler, Change("backup_start")),
    rule("GET", "/backups", Viewer, Handler, Deed::None),
    rule("GET", "/backups/resolve", Viewer, Handler, Deed::None),
    rule("GET", "/backups/{id}", Viewer, Backups(&["id"]), Deed::None),
    rule("PATCH", "/backups/{id}", Operator, Backups(&["id"]), Change("backup_change")),
    rule("DELETE", "/backups/{id}", Operator, Backups(&["id"]), Change("backup_delete")),
    rule("POST", "/backups/{id}/cancel", Operator, Backups(&["id"]), Change("backup_cancel")),
    rule("POST", "/backups/{id}/complete", Operator, Backups(&["id"]), Change("backup_complete")),
    rule("POST", "/backups/{id}/retry", Operator, Backups(&["id"]), Change("backup_retry")),
    rule("POST", "/backups/{id}/verify", Restorer, Backups(&["id"]), Change("backup_verify")),
    rule("POST", "/backups/{id}/merge", Operator, Backups(&["id"]), Change("backup_merge")),
    rule("GET", "/backups/{id}/events", Viewer, Backups(&["id"]), Deed::None),
    rule("GET", "/backups/{vm_name}/chain", Viewer, Vm("vm_name"), Deed::None),
    rule("POST", "/backups/{vm_name}/chain/consolidate", Operator, Vm("vm_name"), Change("chain_consolidate")),
    rule("GET", "/backups/{a}/diff/{b}", Restorer, Backups(&["a", "b"]), Deed::None),
    rule("POST", "/backups/{a}/diff/{b}", Restorer, Backups(&["a", "b"]), Deed::None),
    rule("GET", "/search/files", Restorer, Handler, Deed::None),
    rule("POST", "/search/files", Restorer, Handler, Deed::None),

    rule("POST", "/backup/start", Operator, Handler, Change("backup_start")),
    rule("GET", "/backup/list", Viewer, Handler, Deed::None),
    rule("GET", "/backup/chain", Viewer, Handler, Deed::None),
    rule("GET", "/backup/{id}", Viewer, Backups(&["id"]), Deed::None),
    rule("DELETE", "/backup/{id}", Operator, Backups(&["id"]), Change("backup_delete")),

    rule("GET", "/jobs", Viewer, Handler, Deed::None),
    rule("GET", "/jobs/{id}", Viewer, Job("id"), Deed::None),
    rule("POST", "/jobs/{id}/cancel", Operator, Job("id"), Change("job_cancel")),
    rule("GET", "/jobs/{id}/events", Viewer, Job("id"), Deed::None),
    rule("POST", "/telemetry/{job_type}/{job_id}", Operator, Job("job_id"), Deed::None),

    rule("POST", "/restore/disk", Restorer, Handler, Change("restore_disk")),
    rule("POST", "/restore/mount", Restorer, Handler, Read("restore_mount")),
    rule("GET", "/restore/mounts", Viewer, Handler, Deed::None),
    rule("GET", "/restore/resources", Viewer, Reach::None, Deed::None),
    rule("GET", "/restore/cleanup-status", Viewer, Reach::None, Deed::None),
    rule("GET", "/restore/{mount_id}", Viewer, Mount("mount_id"), Deed::None),
    rule("DELETE", "/restore/{mount_id}", Restorer, Mount("mount_id"), Read("restore_unmount")),
    rule("GET", "/restore/{mount_id}/files", Restorer, Mount("mount_id"), Deed::None),
    rule("GET", "/restore/{mount_id}/glob", Restorer, Mount("mount_id"), Deed::None),
    rule("GET", "/restore/{mount_id}/file-info", Restorer, Mount("mount_id"), Deed::None),
    rule("GET", "/restore/{mount_id}/download", Restorer, Mount("mount_id"), Read("file_download")),
    rule("GET", "/restore/{mount_id}/download-directory", Restorer, Mount("mount_id"), Read("archive_download")),
    rule("POST", "/restore/{mount_id}/archive", Restorer, Mount("mount_id"), Read("archive_download")),
    rule("GET", "/restore/{mount_id}/archives/{archive_id}", Restorer, Mount("mount_id"), Deed::None),
    rule("POST", "/restore/{mount_id}/count", Restorer, Mount("mount_id"), Deed::None),
    rule("POST", "/restore/{mount_id}/contents", Restorer, Mount("mount_id"), Read("file_download")),
    rule("POST", "/restore/export", Restorer, Handler, Read("restore_export")),
    rule("GET", "/restore/export/{export_id}", Viewer, Mount("export_id"), Deed::None),

    rule("POST", "/repositories", Admin, Hub, Change("repository_create")),
    rule("GET", "/repositories", Viewer, Reach::None, Deed::None),
    rule("POST", "/repositories/test", Operator, Hub, Deed::None),
    rule("GET", "/repositories/{id}", Viewer, Reach::None, Deed::None),
    rule("PATCH", "/repositories/{id}", Admin, Hub, Change("repository_change")),
    rule("DELETE", "/repositories/{id}", Admin, Hub, Change("repository_delete")),
    rule("GET", "/repositories/{id}/storage", Viewer, Reach::None, Deed::None),
    rule("POST", "/repositories/{id}/scan", Operator, Hub, Change("repository_scan")),

    rule("POST", "/vms", Operator, Handler, Change("vm_add")),
    rule("GET", "/vms", Viewer, Handler, Deed::None),
    rule("DELETE", "/vms", Operator, Handler, Change("vm_remove")),
    rule("GET", "/vms/{name}", Viewer, Vm("name"), Deed::None),
    rule("DELETE", "/vms/{name}", Operator, Vm("name"), Change("vm_remove")),

    rule("GET", "/doctor", Viewer, Hub, Deed::None),
    rule("POST", "/doctor/fix", Admin, Hub, Change("doctor_fix")),
    rule("GET", "/metrics", Viewer, Hub, Deed::None),
    rule("GET", "/debug/endpoints", Viewer, Reach::None, Deed::None),
];

/// The rule for a request's method and the route that it has come to.
pub(crate) fn find(method: &str, route: &str) -> Option<&'static Rule> {
    let path = route.strip_prefix(api::BASE_PATH)?;
    // Whoever may get something may ask for its head.
    let method = if method == "HEAD" { "GET" } else { method };
    RULES.iter().find(|rule| rule.path == path && rule.method == method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_has_every_operation_of_the_document_once_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(&crate::document().unwrap()).unwrap();
        let mut operations = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                operations.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let ruled: Vec<String> =
            RULES.iter().map(|rule| format!("{} {}{}", rule.method, api::BASE_PATH, rule.path)).collect();
        let set: BTreeSet<String> = ruled.iter().cloned().collect();
        assert_eq!(set.len(), ruled.len(), "one is there twice");
        let missing: Vec<_> = operations.difference(&set).collect();
        assert!(missing.is_empty(), "nobody may call these, add them to the table: {missing:?}");
        let gone: Vec<_> = set.difference(&operations).collect();
        assert!(gone.is_empty(), "these are no routes: {gone:?}");
    }

    #[test]
    fn what_changes_something_is_audited_and_what_names_a_part_of_its_path_has_it() {
        // Progress comes every few seconds; the others only look.
        let exempt = [
            "/telemetry/{job_type}/{job_id}",
            "/search/files",
            "/backups/{a}/diff/{b}",
            "/restore/{mount_id}/count",
            "/repositories/test",
        ];
        for rule in RULES {
            let audited = rule.deed != Deed::None;
            if rule.method != "GET" && !exempt.contains(&rule.path) {
                assert!(audited, "{rule:?}");
            }
            let parts: &[&str] = match &rule.reach {
                Backups(parts) => parts,
                Vm(part) | Job(part) | Mount(part) => &[part],
                Reach::None | Hub | Handler => &[],
            };
            assert!(parts.iter().all(|part| rule.path.contains(&format!("{{{part}}}"))), "{rule:?}");
            if rule.least.is_none() {
                assert_eq!(rule.reach, Reach::None, "{rule:?}");
            }
        }
    }
}
