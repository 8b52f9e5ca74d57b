//! The pieces of an SQL file that a release takes or leaves as a whole.

/// A function with the comment before it and its `COMMENT ON`, a view with its own, or the statements between two of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit(String);

/// Cuts a file before the comment of each function and after its `COMMENT ON`, and around each view.
///
/// It relies on the layout of `sql/`, which a test holds: a function begins with `CREATE FUNCTION` or `CREATE OR REPLACE
/// FUNCTION` at the start of a line, and ends with the `;` of the `COMMENT ON FUNCTION` that follows it. A view begins
/// likewise, and ends with its file or at an empty line.
pub(crate) fn units(text: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut unit = String::new();
    let mut comment = String::new();
    let mut part = Part::Outside;
    for line in text.lines() {
        if part == Part::View && line.is_empty() {
            push(&mut units, &mut unit);
            part = Part::Outside;
        }
        if part == Part::Outside && line.starts_with("--") {
            comment.push_str(line);
            comment.push('\n');
            continue;
        }
        if part == Part::Outside && begins(line, FUNCTION) {
            push(&mut units, &mut unit);
            part = Part::Body;
        } else if part == Part::Outside && begins(line, VIEW) {
            push(&mut units, &mut unit);
            part = Part::View;
        } else if part == Part::Body && line.starts_with("COMMENT ON FUNCTION") {
            part = Part::Comment;
        }
        unit.push_str(&comment);
        comment.clear();
        unit.push_str(line);
        unit.push('\n');
        if part == Part::Comment && line.ends_with(';') {
            push(&mut units, &mut unit);
            part = Part::Outside;
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
    View,
}

const FUNCTION: &str = "FUNCTION ";
const VIEW: &str = "VIEW ";

fn begins(line: &str, kind: &str) -> bool {
    after_create(line).is_some_and(|rest| rest.starts_with(kind))
}

fn after_create(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("CREATE ")?;
    Some(rest.strip_prefix("OR REPLACE ").unwrap_or(rest))
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

    /// What it creates, from the name on.
    fn created(&self, kind: &str) -> Option<&str> {
        let mut statement = self.0.as_str();
        while statement.starts_with("--") {
            (_, statement) = statement.split_once('\n')?;
        }
        after_create(statement)?.strip_prefix(kind)
    }

    /// The name and argument types of a function, as its `COMMENT ON FUNCTION` has them.
    pub(crate) fn signature(&self) -> Option<&str> {
        let (_, comment) = self
            .created(FUNCTION)?
            .split_once("\nCOMMENT ON FUNCTION")?;
        let (signature, _) = comment.split_once(" IS")?;
        Some(signature.trim())
    }

    /// The name of a view.
    pub(crate) fn view(&self) -> Option<&str> {
        self.created(VIEW)?.split_whitespace().next()
    }

    /// The arguments and the result of a function with their names, in one line: `CREATE OR REPLACE` cannot change them.
    pub(crate) fn header(&self) -> Option<String> {
        let (header, _) = self.created(FUNCTION)?.split_once("\nLANGUAGE ")?;
        Some(header.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The same with `CREATE OR REPLACE`.
    pub(crate) fn replacing(&self) -> Self {
        let mut text = self.0.clone();
        for kind in [FUNCTION, VIEW] {
            if self.created(kind).is_some() {
                text = text.replacen(
                    &format!("CREATE {kind}"),
                    &format!("CREATE OR REPLACE {kind}"),
                    1,
                );
            }
        }
        Self(text)
    }
}
