use threadline::ActorRef;
use threadline_benches::Result;

use super::measure::{Bench, Filter};

const POSTS: &str =
    "c.table_id = (SELECT id FROM threadline.audited_tables WHERE relation = 'posts'::regclass)";

/// Filters that let through much: the first page, and one far down.
pub(crate) fn many(bench: &mut Bench<'_>) -> Result<()> {
    let pages = [1, deep_page(bench)];
    let generator = ActorRef::job("generator");
    for filter in [
        Filter {
            name: "everything",
            timeline: threadline::timeline(),
            condition: "true".to_owned(),
        },
        Filter {
            name: "a table",
            timeline: threadline::timeline().table_named("posts"),
            condition: POSTS.to_owned(),
        },
        Filter {
            name: "an actor",
            timeline: threadline::timeline().actor(&generator),
            condition: by(&generator),
        },
        Filter {
            name: "a process",
            timeline: threadline::timeline().correlation_id("import"),
            condition: "t.correlation_id = 'import'".to_owned(),
        },
        row("a row", 2),
    ] {
        bench.pages(&filter, &pages)?;
    }
    Ok(())
}

/// Filters that let through little of all the year: the only page, or the first of a few.
pub(crate) fn few(bench: &mut Bench<'_>) -> Result<()> {
    let user = ActorRef::user("17");
    // One from the middle of the year has all of its three transactions.
    let order = format!("order {}", bench.size.changes / 200);
    for filter in [
        Filter {
            name: "a rare actor",
            timeline: threadline::timeline().actor(&user),
            condition: by(&user),
        },
        Filter {
            name: "a rare process",
            condition: format!("t.correlation_id = '{order}'"),
            timeline: threadline::timeline().correlation_id(order),
        },
        row("a rare row", 1002),
        Filter {
            name: "a rare action",
            timeline: threadline::timeline().action("account.closed"),
            condition: "t.id IN (SELECT transaction_id FROM threadline.audit_actions WHERE name = 'account.closed')"
                .to_owned(),
        },
    ] {
        bench.pages(&filter, &[1])?;
    }
    Ok(())
}

/// A tenth of the changes precedes it, which is less than the filters for many let through.
fn deep_page(bench: &Bench<'_>) -> u32 {
    (bench.size.changes / 500).min(10_000)
}

fn by(actor: &ActorRef) -> String {
    let actor = serde_json::to_string(actor).expect("an actor is strings");
    format!("t.actor_ref = '{actor}'")
}

fn row(name: &'static str, post: i64) -> Filter {
    Filter {
        name,
        timeline: threadline::timeline()
            .table_named("posts")
            .row_key(post.to_string()),
        condition: format!("{POSTS} AND c.key_bigint = {post}"),
    }
}
