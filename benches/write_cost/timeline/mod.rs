//! What a page of the timeline costs: the first one and one far down, by filters that let through much or little. Every page is
//! checked against the record, in another way than it was read.

mod measure;
mod pages;
mod plans;
mod reads;

use threadline_benches::Report;
use threadline_benches::Result;
use threadline_benches::{Data, Size};

pub(crate) use measure::Measurement;

pub(crate) fn measure(data: &Data, size: Size, plans: bool) -> Result<Report<Measurement>> {
    let mut bench = measure::Bench::new(data, size, plans)?;
    pages::many(&mut bench)?;
    pages::few(&mut bench)?;
    Ok(Report {
        size,
        server: data.server()?,
        lines: bench.measurements,
    })
}
