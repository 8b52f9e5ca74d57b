//! Tables whose key is none of the number types: text, several columns, and uuid.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types;
use threadline::change;
use threadline::prelude::*;
use threadline_benches::Result;
use uuid::Uuid;

use super::measure::{Ago, BY_KEY, Bench, HOUR, YEAR};
use super::tables::{Device, Member, Tag, devices, members, tags};

const AGO: [Ago; 3] = [Ago::Now, HOUR, YEAR];

/// Rows that are still there.
const TAGS: [&str; 8] = [
    "tag 1026", "tag 1051", "tag 1076", "tag 1126", "tag 1151", "tag 1176", "tag 1226", "tag 1251",
];
const MEMBER: (i64, &str) = (1006, "editor");
const DEVICES: [i64; 8] = [1011, 1036, 1086, 1111, 1136, 1186, 1211, 1236];

/// The row out of its history. Every change adds one to its edits.
macro_rules! recorded {
    ($bench:ident, $ago:ident, $Model:ident, $key:expr) => {{
        let versions: Vec<Version<$Model>> = $Model::history($key)
            .filter(change::captured_at.le($ago.before($bench.now())))
            .load(&mut $bench.connect()?)?;
        let newest = versions[0].row.clone();
        assert_eq!(usize::try_from(newest.edits), Ok(versions.len()));
        newest
    }};
}

macro_rules! one_row {
    ($bench:ident, $kind:literal, $table:ident, $Model:ident, $key:expr) => {
        let query = || $table::table.find($key).select($Model::as_select());
        $bench.form = concat!("row, ", $kind, " key");
        let live: Vec<$Model> = $bench.live(query)?;
        assert_eq!(live.len(), 1);
        for ago in AGO {
            let then = $bench.past(ago, BY_KEY, |at| $Model::as_of($key, at))?;
            let truth = recorded!($bench, ago, $Model, $key);
            assert_eq!(then, [RowAsOf::Found(truth)]);
        }
        $bench.form = concat!("filter by a key, ", $kind);
        $bench.live::<$Model, _>(query)?;
        for ago in AGO {
            let then: Vec<$Model> =
                $bench.past(ago, BY_KEY, |at| threadline::as_of(at, query()))?;
            assert_eq!(then, [recorded!($bench, ago, $Model, $key)]);
        }
    };
}

macro_rules! eight_rows {
    ($bench:ident, $kind:literal, $table:ident, $column:ident, $Model:ident, $keys:ident) => {
        let query = || {
            $table::table
                .filter($table::$column.eq_any($keys.clone()))
                .select($Model::as_select())
        };
        $bench.form = concat!("filter by 8 keys, ", $kind);
        $bench.live::<$Model, _>(query)?;
        for ago in AGO {
            let then: Vec<$Model> =
                $bench.past(ago, BY_KEY, |at| threadline::as_of(at, query()))?;
            assert_eq!(then.len(), $keys.len());
            for key in $keys.clone() {
                let row = then.iter().find(|row| row.$column == key);
                assert_eq!(row, Some(&recorded!($bench, ago, $Model, key)));
            }
        }
    };
}

pub(crate) fn text(bench: &mut Bench<'_>) -> Result<()> {
    one_row!(bench, "text", tags, Tag, TAGS[0]);
    eight_rows!(bench, "text", tags, name, Tag, TAGS);
    Ok(())
}

pub(crate) fn composite(bench: &mut Bench<'_>) -> Result<()> {
    one_row!(bench, "composite", members, Member, MEMBER);
    Ok(())
}

pub(crate) fn uuid(bench: &mut Bench<'_>) -> Result<()> {
    let mut conn = bench.connect()?;
    let ids: Vec<Uuid> = DEVICES
        .iter()
        .map(|n| sql::<sql_types::Uuid>(&format!("md5('{n}')::uuid")))
        .map(|id| diesel::select(id).get_result(&mut conn))
        .collect::<QueryResult<_>>()?;
    let id = ids[0];
    one_row!(bench, "uuid", devices, Device, id);
    eight_rows!(bench, "uuid", devices, id, Device, ids);
    Ok(())
}
