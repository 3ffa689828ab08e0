//! What gets in the way of an erasure: a trigger that keeps a row, and a user who may not see or change
//! what the plan would. Nothing is written then.

use super::super::oracle::{At, Verdict, World};
use super::super::{Database, Denial, Dump, quoted};
use super::{Random, followers};
use crate::message::{Action, Step};
use crate::silo::Erasure;

/// Puts something in the way of a request that could be carried out, for a while. Returns what it was.
pub(super) fn hinder<D: Database>(
    database: &D,
    world: &World,
    verdict: &Verdict,
    request: &Erasure,
    wanted: &Dump,
    random: &mut Random,
    story: &impl Fn() -> String,
) -> Option<&'static str> {
    let denies = D::can().denies;
    match random.place(4) {
        0 => keep(database, world, verdict, request, random, story),
        1 | 2 if !denies.is_empty() => {
            let denial = denies[random.place(denies.len())];
            deny(database, world, verdict, request, wanted, denial, random, story)
        }
        _ => None,
    }
}

/// A trigger that keeps one of the rows that would go.
fn keep<D: Database>(
    database: &D,
    world: &World,
    verdict: &Verdict,
    request: &Erasure,
    random: &mut Random,
    story: &impl Fn() -> String,
) -> Option<&'static str> {
    let goes: Vec<At> =
        verdict.delete.iter().copied().filter(|at| !world.tables[at.0].natural).collect();
    let (place, id) = *goes.get(random.place(goes.len().max(1)))?;
    let name = quoted(&world.tables[place].name);
    database.run(&D::keeps(&name, id));
    let before = database.dump();
    for dry_run in [true, false] {
        let done = database.erase(&Erasure { dry_run, ..request.clone() });
        assert!(done.is_err(), "{name} {id} was kept\n{}", story());
        assert_eq!(database.dump(), before, "{}", story());
    }
    database.run(&D::keeps_no_more(&name));
    Some("a trigger that keeps a row")
}

/// A user who may not do something with the rows of one table.
#[expect(clippy::too_many_arguments, reason = "what is compared, and what with")]
fn deny<D: Database>(
    database: &D,
    world: &World,
    verdict: &Verdict,
    request: &Erasure,
    wanted: &Dump,
    denial: Denial,
    random: &mut Random,
    story: &impl Fn() -> String,
) -> Option<&'static str> {
    let deleted = |place: usize| verdict.delete.iter().any(|at| at.0 == place);
    let changed = |place: usize| {
        let nulled = verdict.null.iter().map(|(_, at)| *at);
        let stays = |at: &At| !verdict.delete.contains(at);
        let mut all = nulled.chain(verdict.mask.iter().copied());
        all.any(|at| at.0 == place)
            || followers(world, verdict).filter(stays).any(|at| at.0 == place)
    };
    let needed = |place: &usize| match denial {
        Denial::See | Denial::Hidden => deleted(*place) || changed(*place),
        Denial::Delete => deleted(*place),
        Denial::Update => changed(*place),
    };
    let places: Vec<usize> = (0..world.tables.len()).filter(needed).collect();
    let place = *places.get(random.place(places.len().max(1)))?;
    let name = &world.tables[place].name;
    let before = database.dump();
    let form = database.deny(&quoted(name), denial);
    let plan = database.plan_by(&form, request);
    let done = database.erase_by(&form, request);
    database.deny_no_more(&quoted(name));
    let story = || format!("{denial:?} of {name} was denied\n{}", story());
    // Without a sight of the very store that was named there is no plan.
    if let Ok(plan) = plan {
        let named = |step: &Step| step.schema_name == *name;
        let mut denied = plan.steps.iter().filter(|step| step.action == Action::Denied);
        assert!(denied.any(named), "{:?}\n{}", plan.steps, story());
    }
    assert!(done.is_err(), "{}", story());
    let after = database.dump();
    assert_eq!(after, before, "{}", story());
    assert_ne!(after, *wanted, "{}", story());
    Some(denial.word())
}
