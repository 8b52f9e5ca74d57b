//! The pieces of an SQL file that a release takes or leaves as a whole.

/// A function with the comment before it and its `COMMENT ON`, or the statements between two functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit(String);

/// Cuts a file before the comment of each function and after its `COMMENT ON`.
///
/// It relies on the layout of `sql/`, which a test holds: a function begins with `CREATE FUNCTION` or `CREATE OR REPLACE
/// FUNCTION` at the start of a line, and ends with the `;` of the `COMMENT ON FUNCTION` that follows it.
pub(crate) fn units(text: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut unit = String::new();
    let mut comment = String::new();
    let mut function = Part::Outside;
    for line in text.lines() {
        if function == Part::Outside && line.starts_with("--") {
            comment.push_str(line);
            comment.push('\n');
            continue;
        }
        if function == Part::Outside && is_function(line) {
            push(&mut units, &mut unit);
            function = Part::Body;
        } else if function == Part::Body && line.starts_with("COMMENT ON FUNCTION ") {
            function = Part::Comment;
        }
        unit.push_str(&comment);
        comment.clear();
        unit.push_str(line);
        unit.push('\n');
        if function == Part::Comment && line.ends_with(';') {
            push(&mut units, &mut unit);
            function = Part::Outside;
        }
    }
    unit.push_str(&comment);
    push(&mut units, &mut unit);
    units
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Outside,
    Body,
    Comment,
}

fn is_function(line: &str) -> bool {
    line.starts_with("CREATE FUNCTION ") || line.starts_with("CREATE OR REPLACE FUNCTION ")
}

fn push(units: &mut Vec<Unit>, unit: &mut String) {
    let text = unit.trim_matches('\n');
    if !text.is_empty() {
        units.push(Unit(format!("{text}\n")));
    }
    unit.clear();
}

impl Unit {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The name and argument types of a function, as its `COMMENT ON FUNCTION` has them.
    pub(crate) fn signature(&self) -> Option<&str> {
        let (_, comment) = self.0.split_once("\nCOMMENT ON FUNCTION ")?;
        let (signature, _) = comment.split_once(" IS")?;
        Some(signature)
    }

    /// The same with `CREATE OR REPLACE`.
    pub(crate) fn replacing(&self) -> Self {
        Self(
            self.0
                .replacen("CREATE FUNCTION ", "CREATE OR REPLACE FUNCTION ", 1),
        )
    }
}
