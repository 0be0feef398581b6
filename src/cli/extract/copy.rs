//! The bytes of one large file; what breaks off is taken up again where it may.

use super::{Extraction, Trouble, cannot_write, stopped};
use crate::browse::Rest;
use crate::failure::Failure;
use crate::interrupt::Wish;
use api::{ClientError, PathQuery};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

impl Extraction<'_> {
    /// Copies a part of a file of the backup to the same place of `file`.
    pub(super) fn copy(&mut self, path: &[u8], part: Range<u64>, file: &File) -> Result<(), Trouble> {
        let query = PathQuery::of(path);
        let mut at = part.start;
        let mut broken_at = None;
        loop {
            let Err(error) = self.stream(&query, &mut at, part.end, file)? else { return Ok(()) };
            let failure = Failure::from(error);
            match self.session.rest(&failure, at, part.end, &mut broken_at) {
                Rest::MayCome => {}
                Rest::Unreadable => return Err(Trouble::Entry(failure.message())),
                Rest::HubGone => return Err(Trouble::End(failure)),
            }
        }
    }

    /// Copies from `at` on, which moves with what has come; the inner error is the stream's.
    fn stream(
        &mut self,
        query: &PathQuery,
        at: &mut u64,
        end: u64,
        file: &File,
    ) -> Result<Result<(), ClientError>, Trouble> {
        let (client, id) = (self.hub.client(), &self.session.mount.mount_id);
        let (interrupts, report, meter, ui) =
            (&mut self.interrupts, &mut self.report, &mut self.meter, self.ui);
        self.hub.wait(async {
            let mut download = match client.download(id, query, Some(*at..end)).await {
                Ok(download) => download,
                Err(error) => return Ok(Err(error)),
            };
            loop {
                let next = tokio::select! {
                    biased;
                    wish = interrupts.next() => match wish {
                        Wish::Stop(exit) => return Err(stopped(exit)),
                        Wish::Status => {
                            ui.note(&meter.line(report.files, report.bytes));
                            continue;
                        }
                    },
                    next = download.next() => next,
                };
                let bytes = match next {
                    Ok(Some(bytes)) => bytes,
                    Ok(None) => return Ok(Ok(())),
                    Err(error) => return Ok(Err(error)),
                };
                file.write_all_at(&bytes, *at).map_err(|error| cannot_write(&error))?;
                *at += bytes.len() as u64;
                report.bytes += bytes.len() as u64;
                meter.show(report.files, report.bytes);
            }
        })
    }
}
