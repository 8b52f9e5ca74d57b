use std::fmt;
use std::time::Duration;

use super::progress::Progress;

/// The duration and speed of work in batches, and its progress callback.
pub(super) struct Pace<'a> {
    batch_size: u32,
    pause: Duration,
    max_batches: u64,
    batches: u64,
    progress: Option<Box<dyn FnMut(Progress) + Send + 'a>>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(batch_size: u32, pause: Duration) -> Self {
        Self {
            batch_size,
            pause,
            max_batches: u64::MAX,
            batches: 0,
            progress: None,
        }
    }

    pub(super) fn batch_size(&mut self, size: u32) {
        self.batch_size = size;
    }

    pub(super) fn pause(&mut self, pause: Duration) {
        self.pause = pause;
    }

    pub(super) fn max_batches(&mut self, batches: u64) {
        self.max_batches = batches;
    }

    pub(super) fn progress<'b>(self, report: impl FnMut(Progress) + Send + 'b) -> Pace<'b>
    where
        'a: 'b,
    {
        Pace {
            progress: Some(Box::new(report)),
            ..self
        }
    }

    /// Returns the batch size, in the type that the database functions take.
    pub(super) fn rows(&self) -> i32 {
        i32::try_from(self.batch_size).unwrap_or(i32::MAX)
    }

    /// Counts a batch and reports it. Returns the pause before the next batch, or `None` if it was
    /// the last.
    pub(super) fn after_batch(&mut self, progress: Progress, finished: bool) -> Option<Duration> {
        self.batches += 1;
        if let Some(report) = &mut self.progress {
            report(progress);
        }
        (!finished && self.batches < self.max_batches).then_some(self.pause)
    }
}

/// Defines the setter of the progress callback, for a builder with a `pace`.
macro_rules! progress {
    ($Work:ident) => {
        /// Calls a function after each transaction.
        #[allow(clippy::needless_update, reason = "some have nothing but a pace")]
        pub fn progress<'b>(self, report: impl FnMut(Progress) + Send + 'b) -> $Work<'b>
        where
            'a: 'b,
        {
            $Work {
                pace: self.pace.progress(report),
                ..self
            }
        }
    };
}

pub(super) use progress;

/// A clone reports no progress.
impl Clone for Pace<'_> {
    fn clone(&self) -> Self {
        Self {
            progress: None,
            ..*self
        }
    }
}

impl fmt::Debug for Pace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace")
            .field("batch_size", &self.batch_size)
            .field("pause", &self.pause)
            .field("max_batches", &self.max_batches)
            .finish_non_exhaustive()
    }
}
