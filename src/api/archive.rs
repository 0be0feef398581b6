//! Many files of a restore session at once: archives, counts, and contents one after the other.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::{IntoParams, ToSchema};

/// The header of an answer with an archive that names it, for [`ArchiveProgress`].
pub const ARCHIVE_HEADER: &str = "x-sendense-archive";
/// How many files one request for contents names at most.
pub const MAX_CONTENTS: usize = 1000;

/// A form of archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ArchiveFormat {
    /// ZIP, with ZIP64 where it is needed.
    #[default]
    #[serde(rename = "zip")]
    Zip,
    /// TAR in the PAX form.
    #[serde(rename = "tar")]
    Tar,
    /// The same in gzip.
    #[serde(rename = "tar.gz")]
    TarGz,
    /// The same in Zstandard.
    #[serde(rename = "tar.zst")]
    TarZst,
}

impl ArchiveFormat {
    /// All of them.
    pub const ALL: [ArchiveFormat; 4] =
        [ArchiveFormat::Zip, ArchiveFormat::Tar, ArchiveFormat::TarGz, ArchiveFormat::TarZst];

    /// Its word on the wire, which is the usual extension too.
    pub fn as_str(self) -> &'static str {
        match self {
            ArchiveFormat::Zip => "zip",
            ArchiveFormat::Tar => "tar",
            ArchiveFormat::TarGz => "tar.gz",
            ArchiveFormat::TarZst => "tar.zst",
        }
    }

    /// The form that the name of a file means, if any.
    pub fn of_name(name: &str) -> Option<ArchiveFormat> {
        let name = name.to_ascii_lowercase();
        let known = [
            (".zip", ArchiveFormat::Zip),
            (".tar", ArchiveFormat::Tar),
            (".tar.gz", ArchiveFormat::TarGz),
            (".tgz", ArchiveFormat::TarGz),
            (".tar.zst", ArchiveFormat::TarZst),
            (".tzst", ArchiveFormat::TarZst),
        ];
        let ends = |(ending, _): &&(&str, ArchiveFormat)| name.len() > ending.len() && name.ends_with(ending);
        known.iter().find(ends).map(|&(_, format)| format)
    }
}

impl fmt::Display for ArchiveFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ArchiveFormat {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = ArchiveFormat::ALL.into_iter().find(|format| format.as_str() == word);
        known.ok_or_else(|| format!("{word} is no archive format: there are zip, tar, tar.gz and tar.zst"))
    }
}

/// `GET /restore/{mount_id}/download-directory`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DirectoryQuery {
    /// The folder, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The folder in Base64, where its path is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// `zip` where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub format: Option<ArchiveFormat>,
    /// With device nodes, pipes, and the setuid and setgid bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub special: Option<bool>,
}

/// Files and folders of a session: what they are, and all that is in them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Paths and patterns (`*`, `?`, `[…]`, and `**` over folders), as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// More of them in Base64, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths_b64: Vec<String>,
}

impl Selection {
    /// Exactly these paths and patterns.
    pub fn of(words: &[Vec<u8>]) -> Self {
        let mut selection = Selection::default();
        for word in words {
            match std::str::from_utf8(word) {
                Ok(text) => selection.paths.push(text.to_owned()),
                Err(_) => selection.paths_b64.push(crate::to_base64(word)),
            }
        }
        selection
    }
}

/// `POST /restore/{mount_id}/archive`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeArchive {
    /// Paths and patterns (`*`, `?`, `[…]`, and `**` over folders), as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// More of them in Base64, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths_b64: Vec<String>,
    /// The form; `zip` where left out.
    #[serde(default)]
    pub format: ArchiveFormat,
    /// With device nodes, pipes, and the setuid and setgid bits.
    #[serde(default)]
    pub special: bool,
}

/// How far an archive is. Sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArchiveProgress {
    /// Its id: `archive-` and a UUID.
    pub archive_id: String,
    /// Whether it runs, is complete, or broke off.
    pub status: ArchiveStatus,
    /// Regular files in it, names of the same file included.
    pub files: u64,
    /// Folders in it.
    pub folders: u64,
    /// Symbolic links in it.
    pub links: u64,
    /// Device nodes and pipes in it.
    pub special: u64,
    /// Bytes of files that were read.
    pub bytes: u64,
    /// Device nodes, pipes and sockets that were left out.
    pub left_out: u64,
    /// Files and folders that could not be read, or not be stored in this form.
    pub failed: u64,
    /// The first hundred of them.
    pub errors: Vec<crate::FileError>,
    /// Why it broke off.
    pub error: Option<String>,
    /// The code of that error.
    pub error_code: Option<String>,
}

/// What has become of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveStatus {
    /// It is being sent.
    #[default]
    Running,
    /// All of it was sent.
    Completed,
    /// It broke off: what was sent is no archive.
    Failed,
}

/// What a selection holds: a line of `POST /restore/{mount_id}/count`. Sizes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileCount {
    /// Regular files, names of the same file included.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Device nodes, pipes and sockets.
    pub special: u64,
    /// Bytes of files, holes of 1 MiB and more not counted, and each file once.
    pub bytes: u64,
    /// What could not be read.
    pub failed: u64,
    /// Whether these are the last numbers. Where a stream ends without such a line, it broke off.
    pub done: bool,
}

/// `POST /restore/{mount_id}/contents`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContentsRequest {
    /// Which regular files: the `node` of their entries, at most 1000.
    #[schema(max_items = 1000)]
    pub nodes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_form() {
        let cases = [
            ("www.zip", Some(ArchiveFormat::Zip)),
            ("a.TAR.GZ", Some(ArchiveFormat::TarGz)),
            ("a.tgz", Some(ArchiveFormat::TarGz)),
            ("a.tar.zst", Some(ArchiveFormat::TarZst)),
            ("a.tar", Some(ArchiveFormat::Tar)),
            (".zip", None),
            ("a.gz", None),
            ("zip", None),
        ];
        for (name, format) in cases {
            assert_eq!(ArchiveFormat::of_name(name), format, "{name}");
        }
        for format in ArchiveFormat::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.as_str());
        }
    }
}
