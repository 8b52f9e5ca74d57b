use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{ContentArrangement, Table};
use terminal_size::{Width, terminal_size};

/// A table as wide as the terminal; without one, as wide as it gets, for programs to read.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    match terminal_size() {
        Some((Width(width), _)) => {
            table.load_style(NOTHING);
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        None => {
            table.load_style(ASCII_MARKDOWN);
        }
    }
    table.set_header(header);
    table
}
