//! Files of a restore point over HTTP: downloads with ranges, archives, counts, contents.

use crate::support::Site;
use api::{
    ArchiveFormat, ArchiveStatus, Caller, ContentsRequest, ErrorCode, ExportBackup, FilesQuery, Frame,
    MakeArchive, Mount, MountBackup, Role, Selection,
};
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use tower::ServiceExt;

const LARGE: usize = 3_000_000;
const UUID: &str = "6d0e2d5c-3f0a-4b9e-9d0f-2f1f3c5a7b11";

fn noise(length: usize) -> Vec<u8> {
    let mut state = 11u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// A point of a disk that is one ext4 file system, opened.
struct Guest {
    site: Site,
    mount: Mount,
    large: Vec<u8>,
}

impl Guest {
    /// `None` where there is no mke2fs.
    async fn new() -> Option<Guest> {
        if !testkit::require("mke2fs") {
            return None;
        }
        let site = Site::new().await;
        let root = site.path("root");
        let large = noise(LARGE);
        fs::create_dir_all(root.join("www/inner")).unwrap();
        // What makes it a system, whose root stands at /.
        ["etc", "usr"].iter().for_each(|name| fs::create_dir(root.join(name)).unwrap());
        fs::write(root.join("etc/fstab"), format!("UUID={UUID} / ext4 defaults 0 1\n")).unwrap();
        fs::write(root.join("etc/os-release"), "ID=testix\n").unwrap();
        fs::write(root.join("www/index.html"), "<html>").unwrap();
        fs::write(root.join("www/hostname"), "guest\n").unwrap();
        fs::write(root.join("www/large.bin"), &large).unwrap();
        fs::write(root.join("www/inner/büro €.txt"), "ü").unwrap();
        fs::write(root.join("www/inner").join(std::ffi::OsStr::from_bytes(b"odd \xff\"")), "odd").unwrap();
        fs::hard_link(root.join("www/hostname"), root.join("www/inner/hostname2")).unwrap();
        std::os::unix::fs::symlink("www", root.join("web")).unwrap();
        let disk = site.path("disk.raw");
        let mut make = Command::new("mke2fs");
        make.args(["-q", "-t", "ext4", "-U", UUID, "-d"]).arg(&root).arg(&disk).arg("16M");
        assert!(make.status().unwrap().success());
        let point = site.point(&site.full("web", &disk.to_str().unwrap().parse().unwrap())).await;
        let mount = site.client.mount(&MountBackup::of(point.id)).await.unwrap();
        Some(Guest { site, mount, large })
    }

    async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> http::Response<Body> {
        let uri = format!("/api/v1/restore/{}/{path}", self.mount.mount_id);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Caller::embedded());
        self.site.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
        whole(self.raw("GET", path, headers, "").await).await
    }

    async fn node(&self, path: &str) -> String {
        let query = api::PathQuery::of(path.as_bytes());
        self.site.client.file_info(&self.mount.mount_id, &query).await.unwrap().file.node
    }
}

async fn whole(response: http::Response<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
    let (status, headers) = (response.status(), response.headers().clone());
    (status, headers, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// How many threads of this process are called so.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|known| known.trim_end() == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_whole_or_in_the_range_that_was_asked_for() {
    let Some(guest) = Guest::new().await else { return };
    let file = "download?path=/www/large.bin";
    let (status, headers, bytes) = guest.get(file, &[]).await;
    assert_eq!((status, bytes == guest.large), (StatusCode::OK, true));
    assert_eq!(value(&headers, "content-length"), LARGE.to_string());
    assert_eq!(value(&headers, "accept-ranges"), "bytes");
    assert_eq!(value(&headers, "x-content-type-options"), "nosniff");
    assert!(value(&headers, "last-modified").ends_with("GMT"));
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-299999", 100, 300_000),
        ("bytes=2999990-", 2_999_990, LARGE),
        ("bytes=-7", LARGE - 7, LARGE),
        ("bytes=2999999-99999999", LARGE - 1, LARGE),
    ] {
        let (status, headers, bytes) = guest.get(file, &[("range", range)]).await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert!(bytes == guest.large[from..to], "{range}");
        assert_eq!(value(&headers, "content-range"), format!("bytes {from}-{}/{LARGE}", to - 1));
        assert_eq!(value(&headers, "content-length"), (to - from).to_string());
    }
    let (status, headers, body) = guest.get(file, &[("range", "bytes=3000000-")]).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(value(&headers, "content-range"), format!("bytes */{LARGE}"));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["success"], false);
    for odd in ["bytes=1-2,5-6", "bytes=x-y", "lines=1-2", "bytes=9-3"] {
        let (status, _, bytes) = guest.get(file, &[("range", odd)]).await;
        assert_eq!((status, bytes.len()), (StatusCode::OK, LARGE), "{odd} is no range: all of it");
    }
    let (status, headers, body) = whole(guest.raw("HEAD", file, &[], "").await).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
    assert_eq!(value(&headers, "content-length"), LARGE.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_has_is_not_sent_again() {
    let Some(guest) = Guest::new().await else { return };
    let file = "download?path=/www/index.html";
    let (_, headers, _) = guest.get(file, &[]).await;
    let tag = value(&headers, "etag").to_owned();
    assert!(tag.len() > 10 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let (status, headers, body) = guest.get(file, &[("if-none-match", &known)]).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
        assert_eq!(value(&headers, "etag"), tag);
    }
    assert_eq!(guest.get(file, &[("if-none-match", "\"other\"")]).await.0, StatusCode::OK);
    let part = ("range", "bytes=1-4");
    let (status, _, body) = guest.get(file, &[part, ("if-range", &tag)]).await;
    assert_eq!((status, body.as_slice()), (StatusCode::PARTIAL_CONTENT, &b"html"[..]));
    let (status, _, body) = guest.get(file, &[part, ("if-range", "\"other\"")]).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 6), "another file: all of it");
    let (_, headers, _) = guest.get("download?path=/www/hostname", &[]).await;
    assert_ne!(value(&headers, "etag"), tag, "another file has another tag");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_has_its_name_and_type() {
    let Some(guest) = Guest::new().await else { return };
    let (_, headers, _) = guest.get("download?path=/www/index.html", &[]).await;
    assert_eq!(value(&headers, "content-type"), "text/html; charset=utf-8");
    let (_, headers, _) = guest.get("download?path=/www/hostname", &[]).await;
    assert_eq!(value(&headers, "content-type"), "text/plain; charset=utf-8");
    let (_, headers, _) = guest.get("download?path=/www/inner/b%C3%BCro%20%E2%82%AC.txt", &[]).await;
    assert_eq!(
        value(&headers, "content-disposition"),
        "attachment; filename=\"b__ro ___.txt\"; filename*=UTF-8''b%C3%BCro%20%E2%82%AC.txt"
    );
    let odd =
        api::to_base64(b"/www/inner/odd \xff\"").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let (status, headers, body) = guest.get(&format!("download?path_b64={odd}"), &[]).await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, &b"odd"[..]));
    assert_eq!(
        value(&headers, "content-disposition"),
        "attachment; filename=\"odd __\"; filename*=UTF-8''odd%20%EF%BF%BD%22"
    );
    for (path, status) in [("/nothing", 404), ("/www", 400), ("/../../../etc/shadow", 404)] {
        assert_eq!(guest.get(&format!("download?path={path}"), &[]).await.0.as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_work() {
    let Some(guest) = Guest::new().await else { return };
    for (path, thread) in
        [("download?path=/www/large.bin", "download"), ("download-directory?path=/www&format=tar", "archive")]
    {
        let mut body = guest.raw("GET", path, &[], "").await.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(threads(thread), 1, "it waits for who reads it");
        drop(body);
        guest.site.until("the end of the thread", async || (threads(thread) == 0).then_some(())).await;
    }
    // A session that is closed meanwhile lets go of its point, and what is being packed comes to its end.
    let body = guest.raw("GET", "download-directory?path=/www&format=tar", &[], "").await.into_body();
    guest.site.client.unmount(&guest.mount.mount_id).await.unwrap();
    let point = guest.mount.backup_id.as_ref().unwrap();
    let deleted = guest.site.call("DELETE", &format!("/backups/{point}"), None).await;
    assert!(deleted.status.is_success(), "{}", deleted.body);
    let packed = body.collect().await.unwrap().to_bytes();
    assert!(packed.len() > LARGE && packed.ends_with(&[0; 1024]), "{} bytes", packed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_sent_as_an_archive() {
    let Some(guest) = Guest::new().await else { return };
    for (format, kind, list) in [
        ("zip", "application/zip", &["unzip", "-Z1"][..]),
        ("tar", "application/x-tar", &["tar", "-tf"]),
        ("tar.gz", "application/gzip", &["tar", "-tzf"]),
        ("tar.zst", "application/zstd", &["tar", "--zstd", "-tf"]),
    ] {
        // Through a link, which is followed.
        let (status, headers, bytes) =
            guest.get(&format!("download-directory?path=/web&format={format}"), &[]).await;
        assert_eq!((status, value(&headers, "content-type")), (StatusCode::OK, kind));
        let name = format!("attachment; filename=\"www.{format}\"; filename*=UTF-8''www.{format}");
        assert_eq!(value(&headers, "content-disposition"), name);
        let archive = value(&headers, api::ARCHIVE_HEADER);
        let progress = guest.site.client.archive_progress(&guest.mount.mount_id, archive).await.unwrap();
        assert_eq!((progress.status, progress.failed, progress.folders), (ArchiveStatus::Completed, 0, 2));
        assert_eq!(progress.files, 6, "names of one file are two");
        if !testkit::require(list[0]) {
            continue;
        }
        let path = guest.site.path("archive");
        fs::write(&path, &bytes).unwrap();
        let output =
            Command::new(list[0]).args(&list[1..]).arg(&path).env("LC_ALL", "C.UTF-8").output().unwrap();
        assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        for name in ["www/index.html", "www/large.bin", "www/inner/hostname2"] {
            assert!(names.lines().any(|line| line == name), "{name} in {names}");
        }
        assert!(
            names.lines().all(|line| line.starts_with("www/") || line.starts_with("SENDENSE-REPORT")),
            "{names}"
        );
    }
    let missing = format!("/restore/{}/download-directory?path=/nothing", guest.mount.mount_id);
    guest.site.call("GET", &missing, None).await.refused(404, "file_not_found");
    let format = format!("/restore/{}/download-directory?path=/www&format=rar", guest.mount.mount_id);
    guest.site.call("GET", &format, None).await.refused(400, "invalid_request");
    let unnamed = format!("/restore/{}/download-directory", guest.mount.mount_id);
    guest.site.call("GET", &unnamed, None).await.refused(400, "invalid_request");
    let unknown = format!("/restore/{}/archives/archive-none", guest.mount.mount_id);
    guest.site.call("GET", &unknown, None).await.refused(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_paths_and_patterns_become_one_archive() {
    let Some(guest) = Guest::new().await else { return };
    let (client, id) = (&guest.site.client, &guest.mount.mount_id);
    let words = [b"/www/inner".to_vec(), b"/www/*.html".to_vec(), b"/www/host*".to_vec()];
    let chosen = Selection::of(&words);
    let request =
        MakeArchive { paths: chosen.paths.clone(), format: ArchiveFormat::Tar, ..MakeArchive::default() };
    let mut download = client.archive(id, &request).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(part) = download.bytes.next().await.unwrap() {
        bytes.extend_from_slice(&part);
    }
    let path = guest.site.path("some.tar");
    fs::write(&path, &bytes).unwrap();
    let out = guest.site.path("out");
    fs::create_dir(&out).unwrap();
    let done = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&out).status().unwrap();
    assert!(done.success());
    assert_eq!(fs::read_to_string(out.join("index.html")).unwrap(), "<html>");
    assert_eq!(fs::read_to_string(out.join("inner/hostname2")).unwrap(), "guest\n");
    assert_eq!(fs::read_to_string(out.join("hostname")).unwrap(), "guest\n");

    let mut counting = client.count(id, &chosen).await.unwrap();
    let mut last = None;
    while let Some(count) = counting.next().await.unwrap() {
        last = Some(count);
    }
    let count = last.unwrap();
    assert_eq!((count.files, count.folders, count.done, count.failed), (5, 1, true, 0));
    assert_eq!(count.bytes, 6 + 6 + 2 + 3, "a file of two names counts once");

    for (paths, status, code) in [
        (vec![], 400, "invalid_request"),
        (vec!["/www/hostname", "/web/hostname", "/www/inner/../../web/hostname"], 200, ""),
        (vec!["/www/*.rar"], 404, "file_not_found"),
        (vec!["/www/inner", "/nothing"], 404, "file_not_found"),
    ] {
        let request = MakeArchive {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
            ..MakeArchive::default()
        };
        match client.archive(id, &request).await {
            Ok(_) => assert_eq!(status, 200, "{paths:?}"),
            Err(error) => assert_eq!(error.code().as_str(), code, "{paths:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_come_in_the_order_of_the_request() {
    let Some(guest) = Guest::new().await else { return };
    let (client, id) = (&guest.site.client, &guest.mount.mount_id);
    let nodes = vec![
        guest.node("/www/large.bin").await,
        guest.node("/www/inner").await,
        guest.node("/www/hostname").await,
        "0:0:999999".to_owned(),
        guest.node("/www/index.html").await,
    ];
    let mut contents = client.contents(id, &ContentsRequest { nodes }).await.unwrap();
    let mut files: Vec<Result<Vec<u8>, String>> = vec![Ok(Vec::new())];
    while files.len() <= 5 {
        match contents.next().await.unwrap() {
            Frame::Data(bytes) => files.last_mut().unwrap().as_mut().unwrap().extend_from_slice(&bytes),
            Frame::End => files.push(Ok(Vec::new())),
            Frame::Failed(why) => {
                *files.last_mut().unwrap() = Err(why);
                files.push(Ok(Vec::new()));
            }
        }
    }
    assert!(files[0].as_ref().unwrap() == &guest.large);
    assert!(
        files[1].is_err() && files[3].is_err(),
        "a folder, and what is not there: {:?}",
        (&files[1], &files[3])
    );
    assert_eq!(files[2].as_deref(), Ok(&b"guest\n"[..]));
    assert_eq!(files[4].as_deref(), Ok(&b"<html>"[..]));
    assert!(contents.next().await.is_err(), "nothing follows the last");
    for nodes in [vec!["../etc".to_owned()], vec!["0:0:2".to_owned(); 1001]] {
        let refused = client.contents(id, &ContentsRequest { nodes }).await;
        assert_eq!(refused.unwrap_err().code().as_str(), "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_for_restorers() {
    let Some(guest) = Guest::new().await else { return };
    let viewer = Caller { role: Role::Viewer, ..Caller::local(0) };
    let id = &guest.mount.mount_id;
    for (method, path, body) in [
        ("GET", "download?path=/www/hostname", ""),
        ("GET", "download-directory?path=/www", ""),
        ("POST", "archive", r#"{"paths":["/www"]}"#),
        ("GET", "archives/x", ""),
        ("POST", "count", r#"{"paths":["/www"]}"#),
        ("POST", "contents", r#"{"nodes":[]}"#),
    ] {
        let answer =
            guest.site.send(Some(viewer.clone()), method, &format!("/restore/{id}/{path}"), body).await;
        answer.refused(403, "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_restore_to_any_file_of_the_machine() {
    let Some(guest) = Guest::new().await else { return };
    let target = guest.site.path("restored.raw");
    let body = serde_json::json!({ "backup_id": guest.mount.backup_id, "target": target }).to_string();
    let ask = async |role| {
        let caller = Caller { role, ..Caller::local(0) };
        guest.site.send(Some(caller), "POST", "/restore/disk", body.clone()).await
    };
    for role in [Role::Restorer, Role::Operator] {
        ask(role).await.refused(403, "forbidden");
    }
    assert_eq!(ask(Role::Admin).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_folder_are_one_listing() {
    let Some(guest) = Guest::new().await else { return };
    let (client, id) = (&guest.site.client, &guest.mount.mount_id);
    let mut names = Vec::new();
    for offset in 0.. {
        let query = FilesQuery {
            path: Some("/www".to_owned()),
            limit: Some(1),
            offset: Some(offset),
            ..FilesQuery::default()
        };
        let list = client.files(id, &query).await.unwrap();
        assert_eq!(list.total_count, 4);
        if list.files.is_empty() {
            break;
        }
        names.extend(list.files.into_iter().map(|file| file.name));
    }
    assert_eq!(names, ["hostname", "index.html", "inner", "large.bin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_had_open_is_closed_when_nothing_is_heard_of_it() {
    let Some(guest) = Guest::new().await else { return };
    let (client, point) = (&guest.site.client, guest.mount.backup_id.clone().unwrap());
    let opened =
        |seconds| MountBackup { client_timeout_seconds: Some(seconds), ..MountBackup::of(point.clone()) };
    let served =
        |seconds| ExportBackup { client_timeout_seconds: Some(seconds), ..ExportBackup::of(point.clone()) };
    for seconds in [0, 86_401, u64::MAX] {
        let refused =
            [client.mount(&opened(seconds)).await.err(), client.export_backup(&served(seconds)).await.err()];
        for error in refused {
            assert_eq!(error.map(|error| error.code()), Some(ErrorCode::InvalidRequest), "{seconds}");
        }
    }
    let heard = [
        client.mount(&opened(3)).await.unwrap().mount_id,
        client.export_backup(&served(3)).await.unwrap().export_id,
    ];
    let silent = [
        client.mount(&opened(1)).await.unwrap().mount_id,
        client.export_backup(&served(1)).await.unwrap().export_id,
    ];
    // The list asks for none of them.
    let open = async |ids: &[String; 2]| {
        let list = client.all_mounts().await.unwrap().mounts;
        ids.iter().filter(|id| list.iter().any(|mount| mount.mount_id == **id)).count()
    };
    assert_eq!(open(&silent).await, 2);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while open(&silent).await > 0 {
        client.mounted(&heard[0]).await.unwrap();
        client.exported(&heard[1]).await.unwrap();
        assert!(std::time::Instant::now() < deadline, "they stay open");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(open(&heard).await, 2);
    while open(&heard).await > 0 {
        assert!(std::time::Instant::now() < deadline, "they stay open");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // The one that nobody said a time for is there.
    client.mounted(&guest.mount.mount_id).await.unwrap();
}
