//! What it costs to read the past, beside the same query on the live tables. Every result is checked against the audit log, in another
//! way than it was read.

mod forms;
mod measure;

use threadline_benches::{Data, Report, Result, Size, Target};

pub(crate) use measure::Measurement;

pub(crate) fn measure(size: Size, plans: bool) -> Result<Report<Measurement>> {
    let data = Data::generate(size)?;
    let mut bench = measure::Bench::new(&data, plans);
    forms::row_by_key(&mut bench)?;
    forms::rows_by_key(&mut bench)?;
    forms::join(&mut bench)?;
    forms::whole_table(&mut bench)?;
    Target::keep_worst(&mut bench.targets);
    Ok(Report {
        size,
        server: data.server()?,
        lines: bench.measurements,
        targets: bench.targets,
    })
}
