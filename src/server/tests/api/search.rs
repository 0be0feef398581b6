//! Searches and comparisons: pages, streams, and what is refused.

use crate::support::{Site, vm};
use api::{DiffLine, DiffQuery, SearchLine, SearchQuery, StartBackup};
use model::RequestedType;

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_a_page_or_a_stream() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 256, 1);
    let first = site.point(&site.full("web", &source)).await;
    let second = site.point(&StartBackup::new(vm("web"), RequestedType::Full)).await;
    let answer = site.call("GET", "/search/files?vm_name=web&pattern=index.php", None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["total"], 0);
    assert_eq!(answer.body["truncated"], false);
    assert_eq!(answer.body["statistics"]["points_searched"], 2, "noise is searched too: it has no files");
    let query = SearchQuery { pattern: Some("*".into()), ..SearchQuery::default() };
    let mut lines = site.client.search(&query, Vec::new()).await.unwrap();
    let mut last = None;
    while let Some(line) = lines.next().await.unwrap() {
        last = Some(line);
    }
    assert!(matches!(last, Some(SearchLine::Summary(summary)) if summary.points_searched == 1));
    let (a, b) = (&first.id, &second.id);
    let answer = site.call("GET", &format!("/backups/{a}/diff/{b}"), None).await;
    assert_eq!((answer.status.as_u16(), &answer.body["total"]), (200, &0.into()), "{answer:?}");
    assert_eq!(
        answer.body["summary"]["changed_disk_bytes"], 0,
        "two fulls of one disk: their hashes are the same"
    );
    let mut lines = site.client.diff(a, b, &DiffQuery::default(), vec!["a2V5".into()]).await.unwrap();
    let mut last = None;
    while let Some(line) = lines.next().await.unwrap() {
        last = Some(line);
    }
    assert!(matches!(last, Some(DiffLine::Summary(_))), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_its_field() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 64, 1);
    let point = site.point(&site.full("web", &source)).await.id;
    for (query, field) in [
        ("vm_name=web", "pattern"),
        ("vm_name=web&pattern=", "pattern"),
        ("pattern=x&pattern_b64=eA==", "pattern_b64"),
        ("pattern_b64=!", "pattern_b64"),
        ("pattern=(&regex", "pattern"),
        ("pattern=x&path=/a&path_b64=eA==", "path_b64"),
        ("pattern=x&type=socks", "type"),
        ("pattern=x&min_size=2&max_size=1", "max_size"),
        ("pattern=x&modified_since=soon", "modified_since"),
        ("pattern=x&points=some", "points"),
        ("pattern=x&vm_name=../x", "vm_name"),
        ("pattern=x&limit=1001", "limit"),
        ("pattern=x&timeout_seconds=0", "timeout_seconds"),
        ("pattern=x&backup_id=,", "backup_id"),
        (&format!("pattern=x&backup_id={point}&vm_name=web"), "backup_id"),
        ("pattern=x&nonsense=1", "nonsense"),
    ] {
        let answer = site.call("GET", &format!("/search/files?{query}"), None).await;
        answer.refused(400, "invalid_request");
        assert_eq!(answer.body["details"]["field"], field, "{query}: {answer:?}");
    }
    site.call("GET", "/search/files?pattern=x&vm_name=nosuch", None).await.refused(404, "vm_not_found");
    site.call("GET", "/search/files?pattern=x&backup_id=nosuch", None).await.refused(404, "backup_not_found");
    let diff = |b: &str, query: &str| format!("/backups/{point}/diff/{b}?{query}");
    site.call("GET", &diff("nosuch", ""), None).await.refused(404, "backup_not_found");
    site.call("GET", &diff(point.as_str(), "path=/x"), None).await.refused(404, "file_not_found");
    site.call("GET", &diff(point.as_str(), "disk_id=7"), None).await.refused(404, "disk_not_found");
    site.call("GET", &diff(point.as_str(), "volume=x"), None).await.refused(400, "invalid_request");
    site.call("GET", &diff(point.as_str(), "limit=1001"), None).await.refused(400, "invalid_request");
    site.call("GET", &diff(point.as_str(), "content_only=maybe"), None).await.refused(400, "invalid_request");
}
