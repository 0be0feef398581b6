//! Work that blocks, on a thread of its own.
//!
//! Copies, checks and scans take from milliseconds to hours and must not sit on the executor, nor take
//! the places of its shared pool of blocking threads. A panic of the work becomes an error of its job and
//! harms nothing else. Dropping the future does not end the thread: whoever may be dropped stops the work by
//! its `Control`.

use crate::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;

/// Runs `work` on a new thread called `name` and waits for it.
///
/// # Errors
/// Those of the work; [`Error::Internal`] where it panics or no thread can be made.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, result) = oneshot::channel();
    let body = move || {
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let said = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            Err(Error::Internal(format!("a worker thread panicked: {said}")))
        });
        // The one who waited may be gone; then nobody wants to know.
        let _ = done.send(outcome);
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| Error::Internal(format!("no thread can be made: {error}")))?;
    result.await.unwrap_or_else(|_| Err(Error::Internal("a worker thread ended without a result".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_work_alone() {
        let outcome: Result<()> = run("test", || panic!("on purpose")).await;
        assert!(outcome.unwrap_err().to_string().contains("on purpose"));
        assert_eq!(run("test", || Ok(5)).await.unwrap(), 5);
    }
}
