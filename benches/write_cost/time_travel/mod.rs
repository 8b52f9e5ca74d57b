//! What it costs to read the past, beside the same query on the live tables. Every result is checked against the record, in another
//! way than it was read.

mod forms;
mod measure;
mod report;

use threadline_benches::Report;
use threadline_benches::Result;
use threadline_benches::{Data, Size};

pub(crate) use measure::Measurement;
pub(crate) use report::sizes;

/// `small` is there to show that what does not read a whole table does not depend on the size.
pub(crate) fn measure(size: Size, small: bool, plans: bool) -> Result<Report<Measurement>> {
    let data = Data::generate(size)?;
    let mut bench = measure::Bench::new(&data, plans);
    forms::row_by_key(&mut bench)?;
    forms::rows_by_key(&mut bench)?;
    forms::join(&mut bench)?;
    if !small {
        forms::whole_table(&mut bench)?;
    }
    Ok(Report {
        size,
        server: data.server()?,
        lines: bench.measurements,
    })
}
