use serde::Serialize;

/// What the rows of `item` are like, and the SQL that writes them. Only `id` and the order of the columns have a meaning.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shape {
    pub(crate) name: String,
    #[serde(skip)]
    columns: Vec<Column>,
    /// Columns that an UPDATE of the usual kind changes.
    #[serde(skip)]
    changed: usize,
    #[serde(skip)]
    wide: bool,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    sql_type: &'static str,
    /// Of the row with the key i.
    value: String,
    changed_value: String,
}

fn column(name: &str, sql_type: &'static str, value: &str, changed_value: &str) -> Column {
    Column {
        name: name.to_owned(),
        sql_type,
        value: value.to_owned(),
        changed_value: changed_value.to_owned(),
    }
}

impl Shape {
    /// The row that targets are about: 7 columns, some 300 bytes, of which an UPDATE changes two.
    pub(crate) fn usual() -> Self {
        let changed = [
            column("visits", "integer", "7", "visits + 1"),
            column(
                "updated_at",
                "timestamptz",
                "timestamptz '2026-01-01 00:00+00'",
                "clock_timestamp()",
            ),
        ];
        let others = [
            column("name", "text", "'Name ' || i", "reverse(name)"),
            column(
                "email",
                "text",
                "'user' || i || '@example.com'",
                "reverse(email)",
            ),
            column("balance", "numeric(12,2)", "i % 1000 + 0.25", "balance + 1"),
            column(
                "note",
                "text",
                "repeat('lorem ipsum ', 15)",
                "reverse(note)",
            ),
        ];
        Self {
            name: "7 columns".to_owned(),
            columns: changed.into_iter().chain(others).collect(),
            changed: 2,
            wide: false,
        }
    }

    /// So many columns with `id`, of four types in turn; with a text of 8 kB at the end if it is wide.
    pub(crate) fn of(columns: usize, wide: bool) -> Self {
        let mut shape = Self {
            name: format!("{columns} columns, {}", if wide { "8 kB" } else { "small" }),
            columns: Vec::new(),
            changed: 1,
            wide,
        };
        for n in 2..=columns {
            let name = format!("c{n}");
            shape.columns.push(match n % 4 {
                2 => column(&name, "integer", "7", &format!("{name} + 1")),
                3 => column(
                    &name,
                    "text",
                    &format!("'value {n} of ' || i"),
                    &format!("{name} || '.'"),
                ),
                0 => column(
                    &name,
                    "timestamptz",
                    "timestamptz '2026-01-01 00:00+00'",
                    "clock_timestamp()",
                ),
                _ => column(
                    &name,
                    "numeric(12,2)",
                    "i % 1000 + 0.25",
                    &format!("{name} + 1"),
                ),
            });
        }
        if wide {
            shape.columns.pop();
            shape
                .columns
                .push(column("body", "text", "b.body", "reverse(body)"));
        }
        shape
    }

    /// The table, and texts of 8 kB that hardly compress.
    pub(crate) fn table(&self) -> String {
        let columns = self.listed(|c| format!("{} {} NOT NULL", c.name, c.sql_type));
        let bodies = if self.wide {
            "CREATE TABLE bodies AS SELECT n, (SELECT string_agg(encode(sha256(convert_to(n || '.' || k, 'UTF8')), 'base64'), '')
                                                 FROM generate_series(1, 180) AS k) AS body
                                      FROM generate_series(0, 99) AS n; ALTER TABLE bodies ADD PRIMARY KEY (n); ANALYZE bodies;"
        } else {
            ""
        };
        format!("CREATE TABLE item (id bigint PRIMARY KEY, {columns}); {bodies}")
    }

    fn listed(&self, of: impl Fn(&Column) -> String) -> String {
        let items: Vec<_> = self.columns.iter().map(of).collect();
        items.join(", ")
    }

    fn insert(&self, keys: &str) -> String {
        let values = self.listed(|c| c.value.clone());
        let from = match (keys, self.wide) {
            ("", true) => "FROM bodies AS b WHERE b.n = i % 100".to_owned(),
            ("", false) => String::new(),
            (keys, true) => format!("FROM {keys} JOIN bodies AS b ON b.n = i % 100"),
            (keys, false) => format!("FROM {keys}"),
        };
        format!("INSERT INTO item SELECT i, {values} {from}")
    }

    fn update(&self, columns: usize, condition: &str) -> String {
        let changes: Vec<_> = self.columns[..columns]
            .iter()
            .map(|c| format!("{} = {}", c.name, c.changed_value))
            .collect();
        format!("UPDATE item SET {} WHERE {condition}", changes.join(", "))
    }

    /// A statement that writes the rows `from..=to`, or a loop of statements that write one each. A transaction of its own says first
    /// in what context it is.
    pub(crate) fn work(&self, write: Write, how: How, from: i64, to: i64, context: &str) -> String {
        let many = how == How::Bulk;
        let condition = if many {
            format!("id BETWEEN {from} AND {to}")
        } else {
            "id = i".to_owned()
        };
        let statement = match write {
            Write::Insert if many => self.insert(&format!("generate_series({from}, {to}) AS i")),
            Write::Insert => self.insert(""),
            Write::Update => self.update(self.changed, &condition),
            Write::UpdateAll => self.update(self.columns.len(), &condition),
            Write::Delete => format!("DELETE FROM item WHERE {condition}"),
        };
        match how {
            How::Bulk => statement,
            How::Single => {
                format!("DO $$ BEGIN FOR i IN {from}..{to} LOOP {statement}; END LOOP; END $$")
            }
            How::Transactions => {
                format!(
                    "DO $$ BEGIN FOR i IN {from}..{to} LOOP {context} {statement}; COMMIT; END LOOP; END $$"
                )
            }
        }
    }
}

/// What is done to rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Write {
    Insert,
    /// Of one column, or of those that the usual row has for it.
    Update,
    UpdateAll,
    Delete,
}

/// By how many statements and transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// A statement for each row, in one transaction.
    Single,
    /// A transaction for each row.
    Transactions,
    /// One statement.
    Bulk,
}
