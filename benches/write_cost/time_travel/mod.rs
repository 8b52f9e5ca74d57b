//! What it costs to read the past, beside the same query on the live tables. Every result is checked against the audit log, in another
//! way than it was read.

mod joins;
mod keys;
mod measure;
mod posts;
mod tables;
mod whole_table;

use threadline_benches::{Data, Report, Result, Size, Target};

pub(crate) use measure::Measurement;

pub(crate) fn measure(size: Size, plans: bool) -> Result<Report<Measurement>> {
    let data = Data::generate(size)?;
    let mut bench = measure::Bench::new(&data, plans);
    posts::row_by_key(&mut bench)?;
    posts::rows_by_key(&mut bench)?;
    keys::text(&mut bench)?;
    keys::composite(&mut bench)?;
    keys::uuid(&mut bench)?;
    joins::by_a_column(&mut bench)?;
    joins::by_the_key(&mut bench)?;
    whole_table::whole_table(&mut bench)?;
    Target::keep_worst(&mut bench.targets);
    Ok(Report {
        size,
        server: data.server()?,
        lines: bench.measurements,
        targets: bench.targets,
    })
}
