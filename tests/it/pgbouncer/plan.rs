//! What a client is to do in a transaction, and what the audit log must say of it then.

use std::panic::resume_unwind;

use diesel::prelude::*;
use diesel::result::Error;
use proptest::prelude::*;
use serde_json::{Value, json};
use threadline::prelude::*;

diesel::table! {
    work (client, slot) {
        client -> Int4,
        slot -> Int4,
        number -> Int4,
        part -> Int4,
        meant -> Nullable<Text>,
    }
}

/// A row says whose it is, so that each change can be held against the row that it is about. `backend` is the server
/// connection. Slot 0 is there from the start, to be updated.
pub(super) const WORK: &str = "
    CREATE TABLE work (client int, slot int, number int NOT NULL, part int NOT NULL, meant text, backend int, PRIMARY KEY (client, slot));
    INSERT INTO work SELECT client, 0, -1, 0 FROM generate_series(0, 99) AS client;
    CREATE FUNCTION note_backend() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.backend := pg_backend_pid(); RETURN NEW; END';
    CREATE TRIGGER note_backend BEFORE INSERT OR UPDATE ON work FOR EACH ROW EXECUTE FUNCTION note_backend();
    SELECT threadline.audit_table('work')";

#[derive(AsChangeset, Clone, Debug, Insertable)]
#[diesel(table_name = work, treat_none_as_null = true, treat_none_as_default_value = false)]
pub(super) struct Work {
    pub(super) client: i32,
    pub(super) slot: i32,
    number: i32,
    part: i32,
    meant: Option<String>,
}

impl Work {
    /// What is recorded beside an update that is the first part of a transaction and has an actor.
    pub(super) fn action(&self) -> Option<NewAction> {
        let meta = json!({"client": self.client, "number": self.number, "part": self.part});
        let action = NewAction::new("work.updated").meta(meta);
        (self.meant.is_some() && self.part == 0).then_some(action)
    }
}

/// Who acts in a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    /// The client, in a transaction of its own that gets its context before this part.
    Late(usize),
    /// The client, and in this part someone else.
    Nested { part: usize, fails: bool },
    /// Nobody, in a plain transaction.
    Nobody,
    /// The client.
    Own,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// Dropped, should it not have finished, after so many polls; and a while after the last, so that what it sent
    /// goes out.
    Cancel {
        polls: usize,
        yields: usize,
    },
    Commit,
    /// A statement that fails before this part.
    Duplicate(usize),
    /// An error that is returned before this part.
    Error(usize),
    Panic(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Insert,
    Update,
}

/// A transaction of a client.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) who: Who,
    pub(super) steps: Vec<Step>,
    pub(super) ending: Ending,
}

/// Any plan. `cancel` is how many of a hundred are cancelled: few, as each costs a server connection, and a new one is
/// ten times as dear as a transaction.
pub(super) fn plans(cancel: u32) -> impl Strategy<Value = Plan> {
    let step = prop_oneof![Just(Step::Insert), Just(Step::Update)];
    let count = prop_oneof![4 => Just(1_usize), 1 => Just(2), 1 => Just(3)];
    let steps = count.prop_flat_map(move |count| prop::collection::vec(step.clone(), count));
    steps.prop_flat_map(move |steps| {
        let part = 0..steps.len();
        let point = 0..=steps.len();
        let who = prop_oneof![
            60 => Just(Who::Own),
            20 => Just(Who::Nobody),
            12 => (part.clone(), any::<bool>()).prop_map(|(part, fails)| Who::Nested { part, fails }),
            8 => part.prop_map(Who::Late),
        ];
        let ending = prop_oneof![
            84 - cancel => Just(Ending::Commit),
            cancel => (1_usize..12, 0_usize..8).prop_map(|(polls, yields)| Ending::Cancel { polls, yields }),
            8 => point.clone().prop_map(Ending::Error),
            7 => point.clone().prop_map(Ending::Duplicate),
            1 => point.prop_map(Ending::Panic),
        ];
        let steps = Just(steps);
        (who, steps, ending).prop_map(|(who, steps, ending)| Plan { who, steps, ending })
    })
}

/// The plan with the names that its client gives to everything.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) client: i32,
    pub(super) number: i32,
    pub(super) plan: Plan,
}

impl Transaction {
    pub(super) fn context(&self) -> AuditContext {
        let (client, number) = (self.client, self.number);
        AuditContext::new(ActorRef::user(format!("client-{client}")))
            .correlation_id(format!("client-{client}/{number}"))
    }

    pub(super) fn nested_context(&self) -> AuditContext {
        let (client, number) = (self.client, self.number);
        AuditContext::new(ActorRef::user(format!("nested-{client}")))
            .correlation_id(format!("nested-{client}/{number}"))
    }

    /// Who is to be recorded for a part: `client`, `nested` or nobody.
    fn actor(&self, part: usize) -> Option<&'static str> {
        match self.plan.who {
            Who::Nested { part: nested, .. } if nested == part => Some("nested"),
            Who::Late(from) if part < from => None,
            Who::Nobody => None,
            Who::Late(_) | Who::Nested { .. } | Who::Own => Some("client"),
        }
    }

    /// Who is to be recorded for the transaction as a whole: whoever acted when it first changed something, and of
    /// nested ones the outermost.
    fn group_actor(&self) -> Option<&'static str> {
        match self.plan.who {
            Who::Late(0) | Who::Nested { .. } | Who::Own => Some("client"),
            Who::Late(_) | Who::Nobody => None,
        }
    }

    /// What a part writes.
    pub(super) fn row(&self, part: usize) -> Work {
        let number = i32::try_from(part).expect("there are few");
        Work {
            client: self.client,
            slot: match self.plan.steps[part] {
                Step::Insert => self.number * 4 + number + 1,
                Step::Update => 0,
            },
            number: self.number,
            part: number,
            meant: self
                .actor(part)
                .map(|name| format!("{name}-{}", self.client)),
        }
    }

    /// A row that is there already.
    pub(super) fn duplicate(&self) -> Work {
        Work {
            slot: 0,
            ..self.row(0)
        }
    }

    /// Does what is planned before a part, where that is no statement.
    pub(super) fn strike(&self, part: usize) -> QueryResult<()> {
        match self.plan.ending {
            Ending::Error(at) if at == part => Err(Error::RollbackTransaction),
            // Without a message, of which there would be a thousand.
            Ending::Panic(at) if at == part => resume_unwind(Box::new("as planned")),
            _ => Ok(()),
        }
    }

    /// What the audit log must say, with `outcome` as far as it is the transaction's that decides.
    pub(super) fn told(&self, outcome: Outcome) -> impl Iterator<Item = Value> + '_ {
        let name = |actor: Option<&str>| actor.map(|actor| format!("{actor}-{}", self.client));
        (0..self.plan.steps.len()).map(move |part| {
            let outcome = match self.plan.who {
                Who::Nested { part: nested, fails: true } if nested == part => Outcome::Failed,
                _ => outcome,
            };
            json!({
                "client": self.client, "number": self.number, "part": part, "outcome": format!("{outcome:?}"),
                "actor": name(self.actor(part)), "group_actor": name(self.group_actor()),
            })
        })
    }
}

/// What a client saw of its transaction.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Outcome {
    Cancelled,
    Committed,
    Failed,
    Panicked,
}
