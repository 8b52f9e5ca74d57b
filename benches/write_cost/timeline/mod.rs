//! What a page of the timeline costs: the first one and one far down, by filters that let through much or little. Every page is
//! checked against the audit log, in another way than it was read.

mod measure;
mod pages;
mod plans;
mod reads;

use threadline_benches::{Data, Report, Result, Size, Target};

pub(crate) use measure::Measurement;

pub(crate) fn measure(data: &Data, size: Size, plans: bool) -> Result<Report<Measurement>> {
    let mut bench = measure::Bench::new(data, size, plans)?;
    pages::many(&mut bench)?;
    pages::few(&mut bench)?;
    let lines = bench.measurements;
    let mut targets: Vec<_> = lines.iter().flat_map(Measurement::targets).collect();
    targets.sort_by_key(Target::unit);
    Target::keep_worst(&mut targets);
    Ok(Report {
        size,
        server: data.server()?,
        lines,
        targets,
    })
}
