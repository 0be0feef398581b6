//! The crates' arrows point one way (ARCHITECTURE.md, "The tree").

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Each of our crates with those it may use; what is not named here is not allowed.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("block", &[]),
    ("qcow2", &["block"]),
    ("guestfs", &[]),
    ("mount", &["guestfs"]),
    ("archive", &[]),
    ("nbd", &["block"]),
    ("sources", &["model", "block", "qcow2", "nbd"]),
    ("api", &["model"]),
    ("agent", &["model", "api", "block", "nbd", "sources"]),
    ("repository", &["model", "block"]),
    ("catalog", &["model"]),
    (
        "hub",
        &[
            "model",
            "api",
            "archive",
            "block",
            "guestfs",
            "mount",
            "qcow2",
            "nbd",
            "sources",
            "repository",
            "catalog",
        ],
    ),
    ("server", &["model", "api", "hub"]),
    ("service", &["model", "api", "hub", "server"]),
    ("cli", &["model", "agent", "api", "hub", "server", "service"]),
    ("testkit", &["block", "qcow2"]),
    ("ctl", &["model", "api", "cli"]),
    ("xtask", &["api", "ctl", "cli", "server"]),
];

fn short(name: &str) -> Option<&str> {
    if name == "xtask" { Some(name) } else { name.strip_prefix("sendense-") }
}

#[test]
fn crates_depend_in_one_direction_only() {
    let metadata = MetadataCommand::new().no_deps().other_options(vec!["--offline".into()]).exec().unwrap();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for package in metadata.workspace_packages() {
        let name =
            short(&package.name).unwrap_or_else(|| panic!("{} has no place in the tree", package.name));
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("{name} is not in the table"));
        seen += 1;
        for dependency in &package.dependencies {
            let Some(target) = short(&dependency.name) else { continue };
            match dependency.kind {
                DependencyKind::Development => {}
                _ if target == "testkit" => wrong.push(format!("{name} → testkit, outside of tests")),
                _ if !allowed.contains(&target) => wrong.push(format!("{name} → {target}")),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "arrows against the order: {wrong:?}");
    assert_eq!(seen, ALLOWED.len(), "the table names a crate that is not there");
}
