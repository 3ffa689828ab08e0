//! What a run of the binary lives on.

use anyhow::Result;
use tokio::runtime::Builder;

/// Runs the one task of a process to its end.
///
/// The connections of an HTTP client are served by a thread of their own, so that a page comes in
/// while another is written. What reads from a database does so itself.
pub(crate) fn block_on<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    builder().enable_all().build()?.block_on(task)
}

#[cfg(feature = "http")]
fn builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1);
    builder
}

#[cfg(not(feature = "http"))]
fn builder() -> Builder {
    Builder::new_current_thread()
}
