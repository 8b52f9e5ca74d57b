//! Whatever was written and renamed: the value is nowhere in the images of the rows that are named, and what is recorded of all
//! others is the same to the byte.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use threadline::redact;

use super::{done, images, stored};
use crate::common::{database, run, text};

#[derive(Debug, Clone)]
enum Step {
    Delete(i32),
    /// Two of the three columns exchange their names.
    Exchange(usize),
    Move(i32, i32),
    Refresh,
    Rename(usize, u8),
    Write(i32, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (1..5).prop_map(Step::Delete),
        1 => (0..3_usize).prop_map(Step::Exchange),
        1 => (1..5, 1..5).prop_map(|(from, to)| Step::Move(from, to)),
        2 => Just(Step::Refresh),
        2 => (0..3_usize, 0..4_u8).prop_map(|(column, name)| Step::Rename(column, name)),
        6 => (1..5, 0..3_usize).prop_map(|(id, column)| Step::Write(id, column)),
    ]
}

const REFRESH: &str = "SELECT threadline.refresh_audited_tables()";

/// The SQL of a step, with the columns as they are called by then. A name that a column had only between two refreshes is not
/// known to the audit log.
fn sql(step: &Step, names: &mut [String; 3]) -> String {
    match *step {
        Step::Delete(id) => format!("DELETE FROM t WHERE id = {id}"),
        Step::Exchange(column) => {
            let (a, b) = (column, (column + 1) % 3);
            let sql = format!(
                "{REFRESH}; ALTER TABLE t RENAME {0} TO x; ALTER TABLE t RENAME {1} TO {0}; ALTER TABLE t RENAME x TO {1}",
                names[a], names[b]
            );
            names.swap(a, b);
            sql
        }
        Step::Move(from, to) => format!(
            "UPDATE t SET id = {to} WHERE id = {from} AND NOT EXISTS (SELECT FROM t WHERE id = {to})"
        ),
        Step::Refresh => REFRESH.into(),
        Step::Rename(column, name) => {
            let name = format!("c{name}");
            if names.contains(&name) {
                return REFRESH.into();
            }
            let sql = format!("{REFRESH}; ALTER TABLE t RENAME {} TO {name}", names[column]);
            names[column] = name;
            sql
        }
        Step::Write(id, column) => format!(
            "INSERT INTO t (id, {0}, {1}, {2}) VALUES ({id}, 'secret {id} ' || nextval('n'), 'kept', 'kept')
               ON CONFLICT (id) DO UPDATE SET {3} = concat(split_part(t.{3}, ' ', 1), ' {id} ', nextval('n'))",
            names[0], names[1], names[2], names[column]
        ),
    }
}

#[test]
fn whatever_was_renamed() {
    let config = Config {
        cases: 12,
        failure_persistence: None,
        ..Config::default()
    };
    let steps = proptest::collection::vec(step(), 4..25);
    let done_to = TestRunner::new(config).run(&(steps, 1..4_u32), |(steps, batch)| {
        let (_database, mut conn) = database(
            "CREATE SEQUENCE n; CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text); SELECT threadline.audit_table('t');
             INSERT INTO t SELECT n, 'secret', 'kept', 'kept' FROM generate_series(1, 4) AS n",
        );
        let mut names = ["a", "b", "c"].map(ToOwned::to_owned);
        for step in &steps {
            run(&mut conn, &sql(step, &mut names));
        }
        let others = stored(&mut conn, "key NOT IN ('1', '2')");
        let kept = |conn: &mut _| {
            ["1", "2"].map(|key| images(conn, key).matches("kept").count())
        };
        let before = kept(&mut conn);
        done(&mut conn, redact("t").keys([1, 2]).mask([&names[0]]).batch_size(batch));
        for key in ["1", "2"] {
            let images = images(&mut conn, key);
            prop_assert!(!images.contains("secret"), "{images}");
        }
        prop_assert_eq!(kept(&mut conn), before);
        prop_assert_eq!(stored(&mut conn, "key NOT IN ('1', '2')"), others);
        let again = redact("t").keys([1, 2]).mask([&names[0]]).plan(&mut conn);
        prop_assert_eq!(again.unwrap().changes, 0);
        run(&mut conn, REFRESH);
        let past = "SELECT count(*) FROM threadline.as_of(NULL::t, (SELECT min(captured_at) FROM threadline.audit_changes))";
        prop_assert_eq!(text(&mut conn, past).unwrap(), "4");
        Ok(())
    });
    done_to.unwrap();
}
