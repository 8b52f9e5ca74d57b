use std::path::Path;

use plotters::prelude::*;

use crate::rows::Cost;
use crate::shape::{How, Shape, Write};
use crate::subject::Subject;
use crate::support::Result;

const WAYS: [(&str, Write, How); 5] = [
    ("INSERT", Write::Insert, How::Single),
    ("UPDATE", Write::Update, How::Single),
    ("bulk INSERT", Write::Insert, How::Bulk),
    ("bulk UPDATE", Write::Update, How::Bulk),
    ("bulk DELETE", Write::Delete, How::Bulk),
];

/// From the plainest to ours. They can be told apart in grey as well.
const BARS: [(Subject, RGBColor); 5] = [
    (Subject::Plain, RGBColor(184, 184, 184)),
    (Subject::TypedRow, RGBColor(146, 170, 199)),
    (Subject::TypedStatement, RGBColor(92, 128, 171)),
    (Subject::Row, RGBColor(233, 150, 72)),
    (Subject::Statement, RGBColor(201, 84, 30)),
];

const WIDTH: f64 = 0.15;

/// Bars of what a row takes more than unaudited, in microseconds of CPU time.
pub(crate) fn draw(costs: &[Cost], path: &Path) -> Result<()> {
    let shape = Shape::usual().name;
    let of = |subject, write, how| {
        Cost::of(costs, &shape, write, how, subject).map_or(0.0, |cost| cost.overhead_us)
    };
    let highest = costs
        .iter()
        .filter(|cost| {
            WAYS.iter()
                .any(|(_, write, how)| cost.write == *write && cost.how == *how)
        })
        .map(|cost| cost.overhead_us)
        .fold(0.0, f64::max);
    let area = SVGBackend::new(path, (860, 380)).into_drawing_area();
    area.fill(&WHITE)?;
    let groups = 5.0;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .caption(
            "CPU time to audit a row, µs (less is better)",
            ("sans-serif", 18),
        )
        .x_label_area_size(30)
        .y_label_area_size(40)
        .build_cartesian_2d(-0.5..groups - 0.5, 0.0..highest * 1.08)?;
    let name = |x: &f64| {
        let mut ways = (0..).zip(WAYS);
        let way = ways.find(|(n, _)| (f64::from(*n) - x).abs() < 0.01);
        way.map_or(String::new(), |(_, (name, ..))| name.to_owned())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_labels(11)
        .x_label_formatter(&name)
        .draw()?;
    for (place, (subject, color)) in (-2..).zip(BARS) {
        let bars = (0..).zip(WAYS).map(|(group, (_, write, how))| {
            let left = f64::from(group) + (f64::from(place) - 0.5) * WIDTH;
            let bar = [(left, 0.0), (left + WIDTH * 0.92, of(subject, write, how))];
            Rectangle::new(bar, color.filled())
        });
        chart
            .draw_series(bars)?
            .label(subject.name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    area.present()?;
    Ok(())
}
