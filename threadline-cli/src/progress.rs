use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Result;
use crate::output::{self, note};

/// How far long work has come: a bar with rate and time left on a terminal, a line now and then elsewhere, on standard error.
pub(crate) struct Progress {
    unit: &'static str,
    shown: Shown,
}

enum Shown {
    Bar { bar: ProgressBar, begun: bool },
    Lines { last: Instant },
    Nothing,
}

/// From one line to the next; and what takes less is not worth one.
const PATIENCE: Duration = Duration::from_secs(5);

impl Progress {
    /// What is counted, and how much there is, which is only asked for a bar. 0 for what is not known yet.
    pub(crate) fn new(unit: &'static str, total: impl FnOnce() -> Result<u64>) -> Result<Self> {
        if !output::is_terminal_for_notes() {
            let last = Instant::now();
            let shown = Shown::Lines { last };
            return Ok(Self { unit, shown });
        }
        let style =
            format!("{{bar:40}} {{human_pos}} of {{human_len}} {unit}, {{per_sec}}, {{eta}} left");
        let bar = ProgressBar::new(total()?).with_style(ProgressStyle::with_template(&style)?);
        let shown = Shown::Bar { bar, begun: false };
        Ok(Self { unit, shown })
    }

    /// Not in the way of what is written to the terminal itself.
    pub(crate) fn none() -> Self {
        Self {
            unit: "",
            shown: Shown::Nothing,
        }
    }

    /// What the library says about its work.
    pub(crate) fn show(&mut self, progress: threadline::Progress) {
        if let (Shown::Bar { bar, .. }, Some(total)) = (&self.shown, progress.total) {
            bar.set_length(total);
        }
        self.tell(progress.done);
    }

    /// All that is done, also what was before this began: the rate is that of now.
    pub(crate) fn tell(&mut self, done: u64) {
        match &mut self.shown {
            Shown::Bar { bar, begun } => {
                bar.set_position(done);
                if !std::mem::replace(begun, true) {
                    bar.reset_eta();
                }
            }
            Shown::Lines { last } if last.elapsed() > PATIENCE => {
                *last = Instant::now();
                note!("{} {}", done, self.unit);
            }
            Shown::Lines { .. } | Shown::Nothing => {}
        }
    }

    pub(crate) fn end(&self) {
        if let Shown::Bar { bar, .. } = &self.shown {
            bar.finish_and_clear();
        }
    }
}
