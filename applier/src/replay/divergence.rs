//! Rows that the target should have and hasn't, or the other way round (A8): found one by one, dealt with as the task's policy
//! says, counted and logged once the group that met them is committed.

use std::collections::BTreeMap;

use super::lane::{Careful, ER_DATA_OUT_OF_RANGE, ER_DUP_ENTRY, has_code};
use crate::config::OnDivergence;
use crate::error::{Error, Place, Side};
use crate::snapshot::Context;
use crate::statement::{Effect, LENIENT, STRICT, Single, Text};
use crate::status::DivergenceKind;
use crate::target::Target;

/// Rows of one table and kind that get a line each in the log; after them there is one each time that their number has doubled.
const LOGGED: usize = 20;
/// Bytes of statements per round trip, about, and no more than half of what the target takes.
const TRIP: usize = 256 * 1024;

/// What was found in a group that is not committed yet.
#[derive(Debug, Default)]
pub(super) struct Findings {
    tables: BTreeMap<(String, DivergenceKind), Found>,
}

#[derive(Debug, Default)]
struct Found {
    rows: u64,
    first: Vec<Finding>,
    last: Place,
}

/// One change that met other rows than it should have.
#[derive(Debug)]
struct Finding {
    place: Place,
    key: String,
    done: &'static str,
}

impl Findings {
    fn add(&mut self, table: &str, kind: DivergenceKind, rows: u64, finding: Finding) {
        if rows == 0 {
            return;
        }
        let found = self.tables.entry((table.to_owned(), kind)).or_default();
        found.rows += rows;
        found.last = finding.place.clone();
        if found.first.len() < LOGGED {
            found.first.push(finding);
        }
    }

    /// Takes what was found in a later part of the group.
    pub(super) fn extend(&mut self, later: Self) {
        for (key, more) in later.tables {
            let found = self.tables.entry(key).or_default();
            let room = LOGGED - found.first.len();
            found.rows += more.rows;
            found.last = more.last;
            found.first.extend(more.first.into_iter().take(room));
        }
    }

    /// Whether the group is committed is not known, and may never be: shows what was found.
    pub(super) fn doubt(self, context: &Context) {
        for ((table, kind), found) in self.tables {
            let (task, what) = (&context.config.name, kind.name());
            for Finding { place, key, done } in found.first {
                tracing::warn!(task, table, kind = what, %place, key, done, "divergence, if its commit took effect before the connection broke");
            }
        }
    }

    /// The group is committed: counts and shows what was found.
    pub(super) fn publish(self, context: &Context) {
        for ((table, kind), found) in self.tables {
            let before = count(context, &table, kind, found.rows, &found.last);
            let (task, what) = (&context.config.name, kind.name());
            let room = LOGGED.saturating_sub(usize::try_from(before).unwrap_or(usize::MAX));
            for Finding { place, key, done } in found.first.into_iter().take(room) {
                tracing::warn!(task, table, kind = what, %place, key, done, "divergence");
            }
            let total = before + found.rows;
            let line = |count: u64| (count / u64::try_from(LOGGED).unwrap_or(1)).checked_ilog2();
            if line(total) != line(before) {
                tracing::warn!(task, table, kind = what, place = %found.last, total, "divergences so far");
            }
        }
    }
}

/// Counts rows; returns how many of the kind there were before.
fn count(context: &Context, table: &str, kind: DivergenceKind, rows: u64, place: &Place) -> u64 {
    context.metrics.diverged(table, kind, rows);
    context.status.diverged(table, kind, rows, place)
}

/// The task stops for a row: counts it.
pub(super) fn stopped(context: &Context, error: &Error) {
    if let Error::Divergence {
        table, place, kind, ..
    } = error
    {
        count(context, table, *kind, 1, place);
    }
}

/// Executes changes one after the other; each that does not find what it expects is dealt with before the next.
pub(super) async fn execute(target: &mut Target, careful: &Careful) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    let trip = TRIP.min(target.capabilities().max_allowed_packet / 2);
    let mut rest = careful.singles.as_slice();
    while !rest.is_empty() {
        let (sql, count) = write_trip(rest.iter().map(|single| &single.text), trip);
        let (affected, ended) = target.run(&sql).await;
        let sent = rest[..count].iter().map(|single| (single, &single.text));
        let Some((at, met)) = judge(sent, &affected, ended)? else {
            rest = &rest[count..];
            continue;
        };
        let single = &rest[at];
        rest = &rest[at + 1..];
        let kind = match met {
            Met::Rows(kind) => kind,
            Met::Computed => match leniently(target, single).await? {
                Some(kind) => kind,
                None => continue,
            },
        };
        fail::fail_point!("divergence", |_| outrigger_storage::failpoint::kill());
        settle(target, single, kind, careful.policy, &mut findings).await?;
    }
    Ok(findings)
}

/// The statements of as many changes as fit, each followed by a check that ends the trip where it fails.
fn write_trip<'a>(texts: impl Iterator<Item = &'a Text>, most: usize) -> (Vec<u8>, usize) {
    let mut sql = Vec::new();
    let mut count = 0;
    for Text { sql: all, expects } in texts {
        if count > 0 && sql.len() + all.len() > most {
            break;
        }
        let mut from = 0;
        for expect in expects {
            let text = all.get(from..expect.end).unwrap_or_default();
            if !sql.is_empty() && from == 0 {
                sql.push(b';');
            }
            sql.extend_from_slice(text);
            from = expect.end;
            expect.write_check(&mut sql);
        }
        count += 1;
    }
    (sql, count)
}

/// What a change met that was not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// Other rows than it expects.
    Rows(DivergenceKind),
    /// What the target computes of its row does not fit.
    Computed,
}

/// Which change was not executed, if one wasn't.
fn judge<'a>(
    sent: impl Iterator<Item = (&'a Single, &'a Text)>,
    affected: &[u64],
    ended: Result<(), mysql_async::Error>,
) -> Result<Option<(usize, Met)>, Error> {
    let mut answers = affected.iter();
    let mut last = None;
    for (at, (single, text)) in sent.enumerate() {
        last = Some(single);
        for expect in &text.expects {
            let counted = expect.table.is_some();
            if answers.next().is_none() {
                if counted && has_code(&ended, ER_DUP_ENTRY) {
                    return Ok(Some((at, Met::Rows(DivergenceKind::ExtraRow))));
                }
                if counted
                    && ended
                        .as_ref()
                        .is_err_and(|refused| single.table.computes(refused))
                {
                    return Ok(Some((at, Met::Computed)));
                }
                return Err(failed(single, ended));
            }
            if expect.rows.is_some() && answers.next().is_none() {
                // The check behind it found another number, which for one row can only be none.
                if counted && has_code(&ended, ER_DATA_OUT_OF_RANGE) {
                    return Ok(Some((at, Met::Rows(DivergenceKind::MissingRow))));
                }
                return Err(failed(single, ended));
            }
        }
    }
    match (ended, last) {
        (Err(cause), Some(last)) => Err(failed(last, Err(cause))),
        _ => Ok(None),
    }
}

fn failed(single: &Single, ended: Result<(), mysql_async::Error>) -> Error {
    match ended {
        Err(cause) => Error::server(
            Side::Target,
            format!("writing a row of {}", single.table.quoted),
            cause,
        ),
        Ok(()) => Error::Unsuitable {
            side: Side::Target,
            what: "it answered fewer statements than it was sent".to_owned(),
        },
    }
}

/// Executes a change of which the target computes something that does not fit: it is cut, as it was on the source. What is written fits:
/// it would have been refused first.
async fn leniently(target: &mut Target, single: &Single) -> Result<Option<DivergenceKind>, Error> {
    target.execute(LENIENT, "setting the session up").await?;
    let (sql, _) = write_trip(std::iter::once(&single.text), usize::MAX);
    let (affected, ended) = target.run(&sql).await;
    target.execute(STRICT, "setting the session up").await?;
    rows_met(
        judge(std::iter::once((single, &single.text)), &affected, ended)?,
        single,
    )
}

/// What rows a change met; anything else is an error by now.
fn rows_met(met: Option<(usize, Met)>, single: &Single) -> Result<Option<DivergenceKind>, Error> {
    match met {
        None => Ok(None),
        Some((_, Met::Rows(kind))) => Ok(Some(kind)),
        Some((_, Met::Computed)) => Err(Error::Unsuitable {
            side: Side::Target,
            what: format!(
                "what it computes of a row of {} does not fit its column or index, even where it may be cut",
                single.table.quoted
            ),
        }),
    }
}

/// Does what the policy says about a change that was not executed.
async fn settle(
    target: &mut Target,
    single: &Single,
    kind: DivergenceKind,
    policy: OnDivergence,
    findings: &mut Findings,
) -> Result<(), Error> {
    let table = &single.table.quoted;
    // It may have ended between a lenient statement and the way back.
    target.execute(STRICT, "setting the session up").await?;
    let kind = match &single.by_key {
        Some(by_key) if kind == DivergenceKind::MissingRow => change_by_key(target, single, by_key).await?,
        _ => kind,
    };
    let key = match kind {
        DivergenceKind::MissingRow | DivergenceKind::DifferentRow => &single.before,
        DivergenceKind::ExtraRow => &single.after,
    };
    let key = key.clone().unwrap_or_default();
    let finding = |done| Finding {
        place: single.place.clone(),
        key: key.clone(),
        done,
    };
    let policy = match single.effect {
        // What should have followed in other tables can't be made good, nor left out.
        Effect::Followed => OnDivergence::Stop,
        Effect::Plain | Effect::Repairable => policy,
    };
    match (policy, &single.repair) {
        (policy, _) if kind == DivergenceKind::DifferentRow => {
            let done = changed(target, single, policy).await?;
            findings.add(table, kind, 1, finding(done));
            Ok(())
        }
        (OnDivergence::Overwrite, Some(repair)) => {
            let mut sql = Vec::new();
            let mut at = repair.replaces_at;
            if kind == DivergenceKind::ExtraRow && !repair.remove.is_empty() {
                sql.extend_from_slice(&repair.remove);
                sql.push(b';');
                at += 1;
            }
            sql.extend_from_slice(&repair.replace);
            let mut in_the_way = 0;
            if !repair.replace.is_empty() {
                let (affected, ended) = target.run(&sql).await;
                if ended.is_err() {
                    return Err(failed(single, ended));
                }
                // REPLACE counts the new row and each that it removed, but not one that is the same already.
                in_the_way = affected.get(at).map_or(0, |rows| rows.saturating_sub(1));
            }
            match kind {
                DivergenceKind::MissingRow => {
                    let done = match single.after {
                        Some(_) => "inserted as it is after the change",
                        None => "was to be deleted",
                    };
                    findings.add(table, kind, 1, finding(done));
                    findings.add(table, DivergenceKind::ExtraRow, in_the_way, finding("replaced"));
                }
                DivergenceKind::ExtraRow | DivergenceKind::DifferentRow => {
                    findings.add(table, kind, in_the_way.max(1), finding("replaced"));
                }
            }
            Ok(())
        }
        (OnDivergence::Ignore, _) => {
            findings.add(table, kind, 1, finding("its change was left out"));
            Ok(())
        }
        (OnDivergence::Stop | OnDivergence::Overwrite, _) => Err(Error::Divergence {
            table: table.clone(),
            place: single.place.clone(),
            what: match (kind, &single.before) {
                (DivergenceKind::MissingRow | DivergenceKind::DifferentRow, _) => {
                    format!("a change affected 0 rows instead of 1, its row is missing (key: {key})")
                }
                (DivergenceKind::ExtraRow, None) => {
                    format!("a row to be inserted has a key that the target holds already (key: {key})")
                }
                (DivergenceKind::ExtraRow, Some(_)) => {
                    format!("a row gets a key by an update that the target holds already (key: {key})")
                }
            } + unknown(single),
            kind,
        }),
    }
}

/// Changes a row of which only the key may be as expected; says what is wrong with it.
async fn change_by_key(target: &mut Target, single: &Single, by_key: &Text) -> Result<DivergenceKind, Error> {
    let (sql, _) = write_trip(std::iter::once(by_key), usize::MAX);
    let (affected, ended) = target.run(&sql).await;
    let found = rows_met(
        judge(std::iter::once((single, by_key)), &affected, ended)?,
        single,
    )?;
    if found.is_some() {
        target.execute(STRICT, "setting the session up").await?;
    }
    Ok(found.unwrap_or(DivergenceKind::DifferentRow))
}

/// Deals with a row that had other values than expected and was changed by its key, as it is where nobody looks; says what was done.
async fn changed(target: &mut Target, single: &Single, policy: OnDivergence) -> Result<&'static str, Error> {
    let whole = match (policy, &single.repair) {
        (OnDivergence::Overwrite, Some(repair)) => repair.replace.as_slice(),
        _ => &[],
    };
    if !whole.is_empty() {
        let (_, ended) = target.run(whole).await;
        if ended.is_err() {
            return Err(failed(single, ended));
        }
    }
    Ok(match (&single.after, whole) {
        (None, _) => "deleted",
        (Some(_), []) => "changed where the change says so",
        (Some(_), _) => "written as it is after the change",
    })
}

/// Why a row is not written over although it should be.
fn unknown(single: &Single) -> &'static str {
    match (single.effect, &single.repair) {
        (Effect::Repairable, None) => "; it can't be written over, for the source logged a part of it only",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: u64) -> Findings {
        let mut findings = Findings::default();
        for n in 0..rows {
            let place = Place {
                offset: n,
                file: None,
            };
            let finding = Finding {
                place,
                key: String::new(),
                done: "",
            };
            findings.add("t", DivergenceKind::MissingRow, 1, finding);
        }
        findings
    }

    #[test]
    fn a_group_of_any_size_keeps_a_few_rows_and_counts_all() {
        let mut findings = found(15);
        findings.extend(found(1000));
        let found = &findings.tables[&("t".to_owned(), DivergenceKind::MissingRow)];
        assert_eq!(
            (found.rows, found.first.len(), found.last.offset),
            (1015, LOGGED, 999)
        );
    }
}
