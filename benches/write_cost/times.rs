use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde::Serialize;

use threadline_benches::Result;

/// How many runs precede the ones that count, and how many of those there are at most.
pub(crate) const WARM_UP: usize = 8;
const RUNS: usize = 30;
/// For either.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long something took, in milliseconds.
#[derive(Serialize)]
pub(crate) struct Times {
    /// Those that count.
    pub(crate) runs: usize,
    pub(crate) all_runs: usize,
    /// The first run of the session, which reads the catalogue.
    pub(crate) first: f64,
    pub(crate) minimum: f64,
    pub(crate) median: f64,
}

/// Runs it some times, and also returns what it gave, the same at every run.
pub(crate) fn measure<T: PartialEq + Debug>(
    what: &str,
    mut run: impl FnMut() -> Result<T>,
) -> Result<(Times, T)> {
    let mut clocked = || -> Result<(f64, T)> {
        let start = Instant::now();
        let result = run()?;
        Ok((start.elapsed().as_secs_f64() * 1000.0, result))
    };
    let start = Instant::now();
    let (first, result) = clocked()?;
    let mut warm_up = 1;
    while warm_up < WARM_UP && start.elapsed() < PATIENCE {
        clocked()?;
        warm_up += 1;
    }
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (times.len() < RUNS && start.elapsed() < PATIENCE) {
        let (time, again) = clocked()?;
        times.push(time);
        assert_eq!(again, result, "{what}: the same at every run");
    }
    times.sort_by(f64::total_cmp);
    let times = Times {
        runs: times.len(),
        all_runs: warm_up + times.len(),
        first,
        minimum: times[0],
        median: times[times.len() / 2],
    };
    Ok((times, result))
}
