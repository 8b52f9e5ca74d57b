//! How long changes are kept, what is kept whatever happens, and what goes, values included.

use serde_json::json;

use crate::project::Project;

/// With changes of three months ago, which the policies of these tests let go.
fn with_old_changes() -> Project {
    let project = Project::with_changes();
    project.run(
        "UPDATE threadline.audit_changes SET captured_at = captured_at - interval '100 days';
         UPDATE threadline.audit_transactions SET occurred_at = occurred_at - interval '100 days';
         UPDATE threadline.audited_tables SET capture_since = capture_since - interval '101 days';
         UPDATE users SET name = 'G. Hopper' WHERE id = 1",
    );
    project
}

/// A policy of all and one of a table; each is taken back by itself.
#[test]
fn retention() {
    let project = Project::with_changes();
    let kept = || {
        let policies = project.json(&["retention", "list"]);
        let kept = policies.as_array().unwrap().iter();
        kept.map(|policy| format!("{} {}", policy["table"], policy["keep"]).replace('"', ""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(kept(), "public.pairs forever, public.users forever");
    let set = project.said(&["retention", "set", "90 days"]);
    assert_eq!(set, "Done; `threadline purge` shows what it removes now\n");
    project.said(&["retention", "set", "forever", "--table", "users"]);
    assert_eq!(
        kept(),
        "(all others) 90 days, public.pairs 90 days, public.users forever"
    );
    project.said(&[
        "retention",
        "set",
        "1 year",
        "--table",
        "users",
        "--to-the-day",
    ]);
    let csv = project.said(&["retention", "list", "--format", "csv"]);
    assert!(
        csv.contains("public.users,1 year,false,") && csv.contains("public.pairs,90 days,true,"),
        "{csv}"
    );
    project.said(&["retention", "unset", "--table", "users"]);
    project.said(&["retention", "unset"]);
    assert_eq!(kept(), "public.pairs forever, public.users forever");

    for (arguments, why) in [
        (&["retention", "unset"][..], "there is no such policy"),
        (&["retention", "set", "1 hour"], "A day is the least."),
        (&["retention", "set", "soon"], "invalid input syntax"),
        (
            &["retention", "set", "1 day", "--table", "pg_class"],
            "pg_class is not audited",
        ),
        (&["retention", "set"], "KEEP"),
    ] {
        let refused = project.refused(arguments);
        assert!(refused.contains(why), "{refused}");
    }
}

/// A hold has a number, a reason, and somebody who placed it; both its ends are in the audit log.
#[test]
fn hold() {
    let project = Project::with_changes();
    let who = ["--actor", "user:law", "--reason", "case 7"];
    let place = |what: &[&str]| project.said(&[&["hold", "place"], what, &who].concat());
    assert_eq!(
        place(&["--table", "users", "--row-key", "1"]),
        "Hold 1 is placed\n"
    );
    assert_eq!(place(&["--for-actor", "user:ada"]), "Hold 2 is placed\n");
    assert_eq!(
        place(&["--table", "pairs", "--row-key", r#"[-1, "x, y"]"#]),
        "Hold 3 is placed\n"
    );
    let holds = project.json(&["hold", "list"]);
    assert_eq!(
        (
            &holds[0]["table"],
            &holds[0]["row_key"],
            &holds[0]["reason"]
        ),
        (&json!("public.users"), &json!("1"), &json!("case 7"))
    );
    assert_eq!(holds[1]["actor"], json!({"type": "user", "id": "ada"}));
    let released = project.said(&[&["hold", "release", "2"], &who[..]].concat());
    assert_eq!(released, "Hold 2 is released\n");
    let csv = project.said(&["hold", "list", "--format", "csv"]);
    assert!(
        csv.lines().count() == 3 && csv.contains("1,public.users,1,,case 7,"),
        "{csv}"
    );
    project.run(
        "DO $$ BEGIN ASSERT (SELECT array_agg(name ORDER BY occurred_at) = '{threadline.hold_placed,threadline.hold_placed,threadline.hold_placed,threadline.hold_released}'
           AND bool_and(actor_ref->>'id' = 'law') FROM threadline.audit_actions); END $$",
    );

    for (what, why) in [
        (&["hold", "release", "2"][..], "there is no hold 2"),
        (
            &["hold", "place", "--table", "users", "--row-key", "9"],
            "no recorded change of public.users has the key '9'",
        ),
        (&["hold", "place", "--table", "nowhere"], "does not exist"),
        (&["hold", "place", "--row-key", "1"], "--table"),
        (&["hold", "place"], "--table"),
    ] {
        let refused = project.refused(&[what, &who].concat());
        assert!(refused.contains(why), "{refused}");
    }
    let nameless = project.refused(&["hold", "place", "--table", "users", "--reason", "case 7"]);
    assert!(nameless.contains("--actor"), "{nameless}");
}

/// A purge tells what it would remove, and removes it only when told to; what is held stays.
#[test]
fn purge() {
    let project = with_old_changes();
    assert_eq!(
        project.said(&["purge"]),
        "Nothing to purge: `threadline retention list` shows the policies\n"
    );
    project.said(&["retention", "set", "30 days", "--to-the-day"]);
    let who = ["--actor", "user:law", "--reason", "case 7"];
    project.said(
        &[
            &["hold", "place", "--table", "users", "--row-key", "2"],
            &who[..],
        ]
        .concat(),
    );

    let plan = project.json(&["purge"]);
    assert_eq!(
        plan[1],
        json!({"partition": plan[1]["partition"], "schema": "public", "table": "users", "before": plan[1]["before"],
               "how": "delete", "changes": 2, "kept": plan[1]["kept"]})
    );
    assert!(
        project
            .said(&["purge"])
            .ends_with("Nothing was changed: --apply removes them\n")
    );
    assert_eq!(project.json(&["timeline"])["returned_count"], 6);

    let batches = ["--batch-size", "1", "--pause", "0ms"];
    let one = ["purge", "--apply", "--max-batches", "1"];
    let first = project.threadline(&[&one[..], &batches].concat());
    assert_eq!(
        (
            first.status.code(),
            String::from_utf8(first.stderr).unwrap()
        ),
        (Some(0), "There is more: run it again\n".to_owned())
    );
    let purged = project.json(
        &[
            &["purge", "--apply", "--actor", "job:nightly"],
            &batches[..],
        ]
        .concat(),
    );
    assert_eq!(
        (&purged[0]["changes"], &purged[0]["partitions_dropped"]),
        (&json!(2), &json!(""))
    );
    assert_eq!(project.json(&["timeline"])["returned_count"], 3);
    project.run(
        "DO $$ BEGIN ASSERT 1 = (SELECT count(*) FROM threadline.audit_actions WHERE name = 'threadline.purge' AND reason = 'retention policy' AND actor_ref->>'id' = 'nightly'); END $$",
    );
    assert_eq!(project.said(&["purge", "--format", "json"]), "[]\n");
    project.refused(&["purge", "--apply", "--batch-size", "0"]);
}

/// Without --apply it is a dry run; with it, it needs somebody and a reason.
#[test]
fn redact() {
    let project = Project::with_changes();
    let of_grace = [
        "redact",
        "users",
        "1",
        "77",
        "--mask",
        "name",
        "--substitute",
        "balance=0",
    ];
    let output = project.threadline(&of_grace);
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("| name    | 3      |"), "{stdout}");
    assert!(
        stderr.contains("1 rows and 2 changes would be redacted")
            && stderr.contains("Nothing is recorded of: 77")
            && stderr.contains("--apply"),
        "{stderr}"
    );
    let grace = || project.said(&["history", "users", "1", "--format", "csv"]);
    assert!(grace().contains("Grace Hopper"));

    let execute = [&of_grace[..], &["--apply"]].concat();
    assert!(project.refused(&execute).contains("--actor <ACTOR>"));
    let execute = [
        &execute[..],
        &["--actor", "admin:dpo", "--reason", "erasure request 12"],
    ]
    .concat();
    assert_eq!(project.json(&execute)[0]["values"], "5");
    assert!(!grace().contains("Grace"));
    // An erasure of nothing is not recorded as done.
    let again = project.threadline(&execute);
    let stderr = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("There is nothing to redact"), "{stderr}");
    let unknown = ["redact", "users", "77", "--mask", "name"];
    assert_eq!(project.threadline(&unknown).status.code(), Some(1));
    let refused = project.refused(&["redact", "users", "seven", "--mask", "name"]);
    assert!(
        refused.contains("'seven' is no key of public.users")
            && refused.contains("The primary key is id "),
        "{refused}"
    );
    let refused = project.refused(&["redact", "users", "1", "--mask", "balance"]);
    assert!(refused.contains("cannot hold the placeholder"), "{refused}");
}
