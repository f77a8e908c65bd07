//! What goes on while nobody calls, and its end.

use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long the end waits for what goes on.
const PATIENCE: Duration = Duration::from_secs(5);

/// The adapter's own tasks. They end with it.
#[derive(Default)]
pub(crate) struct Background {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Background {
    /// Goes on with `work` until it is done or [`Self::end`] is called.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Whether the end was called for.
    pub(crate) fn has_ended(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Ends all tasks and waits until they have.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::warn!("a task of the database does not end");
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
